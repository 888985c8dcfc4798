#!/usr/bin/env python3
"""Random schedules of hostile peers, commands and kill -9: two metadata backends and two data backends lie at once, at store, replace,
retrieve, rebuild, repair, scrub and reclaim.  Nothing is read wrong; when they are honest again everything that was acknowledged
is there and whole.  QSFS_SCHEDULES of them (4; 200 with QSFS_LONG=1), QSFS_SEED repeats the first one."""
# limit: 300
import os
import random
import re
import threading
import time

import libqsfs as q
from libproxy import Proxy

LONG = os.environ.get("QSFS_LONG") == "1"
SCHEDULES = int(os.environ.get("QSFS_SCHEDULES", 200 if LONG else 4))
SEED = int(os.environ.get("QSFS_SEED", random.randrange(1 << 30)))
READ = ("flip", "truncate", "lengthen", "swap", "replay", "nil")        # lies about what is there
ANY = ("error", "number", "garbage", "close", "drop", "refuse", "latency") + (("silence", "drip", "oversized", "endless", "line")
                                                                             if LONG else ())


class World:
    def __init__(self):
        self.real = q.start_backends(6)
        self.peers = [Proxy(b, seed=i) for i, b in enumerate(self.real)]
        self.z = q.Zstor(q.zstor_config(self.peers, minimal=2, expected=4, scrub_period=0, repair_delay=1, lease_seconds=5))
        self.z.start()
        self.dir = q.tmpdir("files")
        self.want = {}              # path -> contents that may be stored there
        self.acked = set()
        self.wrong = []
        self.n = 0

    def ask(self, *words, timeout=90):
        try:
            with self.z.client(timeout=timeout) as c:
                return c.cmd(*words)
        except (OSError, ConnectionError):
            return q.Error("broken off")

    def store(self, rng, again):
        if again and self.want:
            path = rng.choice(sorted(self.want))
        else:
            self.n += 1
            path = self.dir / f"i{self.n}"
        data = rng.randbytes(rng.choice((20, 3000, 60_000)))
        path.write_bytes(data)
        self.want.setdefault(path, []).append(data)
        if not isinstance(self.ask("STORE", str(path)), q.Error):
            self.want[path] = [data]
            self.acked.add(path)

    def read(self, path, must=False):
        out = q.tmpdir("out") / "got"
        p = self.z.cli("retrieve", "-f", path, "-o", out, timeout=200)
        if p.returncode == 0 and out.read_bytes() not in self.want[path]:
            self.wrong.append(f"{path.name}: a content that was never stored last")
        if must and p.returncode:
            self.wrong.append(f"{path.name}: {p.stderr.decode(errors='replace')[-160:]}")
        if out.exists():
            out.unlink()
        out.parent.rmdir()

    def lie(self, rng):
        """Two metadata backends and two data backends, in one way each; the first four are both."""
        for peer in rng.sample(self.peers[:4], 2):
            n = self.peers.index(peer)
            kind = rng.choice(READ + ANY)
            peer.fault(kind, "GET" if kind in READ else "*", ns=self.real[n].meta_ns, p=rng.choice((0.3, 1.0)), delay=0.3)
        for peer in rng.sample(self.peers, 2):
            n = self.peers.index(peer)
            kind = rng.choice(READ + ANY + ("lost",))
            command = "GET" if kind in READ else "SET" if kind == "lost" else "*"
            peer.fault(kind, command, ns=self.real[n].data_ns, p=rng.choice((0.3, 1.0)), delay=0.3)

    def step(self, rng):
        kind = rng.choice(("store", "replace", "replace", "read", "read", "rebuild", "scrub", "drain", "undrain"))
        if kind in ("store", "replace"):
            self.store(rng, kind == "replace")
        elif not self.want:
            pass
        elif kind == "read":
            self.read(rng.choice(sorted(self.want)))
        elif kind == "rebuild":
            self.ask("REBUILD", "FILE", str(rng.choice(sorted(self.want))))
        elif kind == "scrub":
            self.ask("SCRUB", "FRACTION", "300")
        else:
            b = self.peers[rng.choice((4, 5))]
            self.ask("BACKEND", kind.upper(), f"{b.host}:{b.port} {b.backend.data_ns}")

    def honest(self):
        for p in self.peers:
            p.clear()
        for b in self.peers[4:]:
            self.ask("BACKEND", "UNDRAIN", f"{b.host}:{b.port} {b.backend.data_ns}")

    def whole(self):
        p = self.z.cli("rebuild", "--all", timeout=200)
        self.left = p.stderr
        return p.returncode == 0

    def end(self):
        q.same(self.z.stop(), 0, "exit")
        for p in self.peers:
            p.close()
        for b in self.real:
            b.stop()


def schedule(w, seed):
    rng = random.Random(seed)
    w.lie(rng)
    kill = rng.random() < 0.4
    if kill:
        stop = threading.Event()

        def work():
            while not stop.is_set():
                w.step(rng)
        t = threading.Thread(target=work)
        t.start()
        time.sleep(random.Random(seed).random() * 2)
        w.z.kill9()
        stop.set()
        t.join()
        w.honest() if rng.random() < 0.5 else None     # it starts among liars, too
        w.z.start()
    for _ in range(rng.randrange(2, 7)):
        w.step(rng)
    w.honest()
    text = f"seed {seed}{', killed' if kill else ''}"
    q.wait_for(w.whole, 90, f"{text}: all is whole again", step=0.5)
    for path in w.want:
        w.read(path, must=path in w.acked)
    q.same(w.wrong, [], text)


def test_schedules():
    print(f"# QSFS_SEED={SEED}", flush=True)
    w = World()
    for i in range(SCHEDULES):
        schedule(w, SEED + i)
    with q.case(f"{SCHEDULES} schedules: nothing was read wrong, nothing lost, all whole"):
        q.check(len(w.acked) > 0, "nothing was acknowledged")
        q.check(w.z.rss_kib() < 400 * 1024 * q.SLOWDOWN, f"{w.z.rss_kib()} KiB")
        done = {}
        for p in w.peers:
            for k, n in p.done.items():
                done[k] = done.get(k, 0) + n
        print(f"# {len(w.acked)} of {len(w.want)} objects acknowledged, faults {done}", flush=True)
    with q.case("dead shards are gone when the queue is empty"):
        def quiet():
            return w.ask("QUEUE", "LIST") == []
        q.wait_for(quiet, 90, "empty queue")
        leaked = len(re.findall(r"old values could not be deleted|only takes space", w.z.log.read_text(errors="replace")))
        print(f"# {leaked} lines of values that were left", flush=True)
    w.end()


if __name__ == "__main__":
    q.main()

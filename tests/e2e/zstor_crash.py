#!/usr/bin/env python3
"""kill -9 of zstor at random moments under store, replace, store --delete, evict and restore: what was acknowledged can
be read, and no shard of a live object is gone.  QSFS_KILLS kills (slow_zstor_crash.py: 300), QSFS_SEED repeats a run."""
# limit: 300
import os
import random
import re
import threading
import time

import libqsfs as q

KILLS = int(os.environ.get("QSFS_KILLS", 12))
SEED = int(os.environ.get("QSFS_SEED", random.randrange(1 << 30)))
MIB = 1 << 20


class World:
    """.want: path -> contents that may be stored there; one of them has to be, once anything was acknowledged."""

    def __init__(self, rng):
        self.rng = rng
        self.backends = q.start_backends(8)
        self.dir = q.tmpdir("data")
        (self.dir / "ns").mkdir()
        self.files = q.tmpdir("files")
        self.z = q.Zstor(q.zstor_config(self.backends[:4], meta_backends=self.backends[4:], zdb_data_dir_path=self.dir,
                                        max_zdb_data_dir_size=3, evict_proof_age=1))
        self.want, self.acked, self.segments = {}, set(), 0
        self.counts = {}

    def ask(self, *words):
        """True: acknowledged; False: refused or broken off."""
        try:
            with self.z.client(timeout=60) as c:
                reply = c.cmd(*words)
        except (OSError, ConnectionError):
            return False
        return not isinstance(reply, q.Error)

    def put(self, path, content):
        tmp = self.files / "tmp"
        tmp.write_bytes(content)
        os.rename(tmp, path)

    def store(self, path, content, *words):
        self.want.setdefault(path, []).append(content)
        if self.ask("STORE", str(path), *words):
            self.want[path] = [content]
            self.acked.add(path)

    def step(self):
        kind = self.rng.choice(("segment", "segment", "replace", "replace", "queue", "delete", "restore"))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        content = self.rng.randbytes(self.rng.choice((10, 3000, 200_000)))
        if kind == "segment":
            f = self.dir / "ns" / f"d{self.segments}"
            self.segments += 1
            content = self.rng.randbytes(600_000)
            f.write_bytes(content)
            os.utime(f, ns=((time.time_ns() - 10**12), f.stat().st_mtime_ns))
            self.store(f, content, *(["NOTBLOCKING"] if self.rng.random() < 0.5 else []))
        elif kind in ("replace", "queue"):
            f = self.files / f"i{self.rng.randrange(5)}"
            self.put(f, content)
            self.store(f, content, *(["NOTBLOCKING"] if kind == "queue" else []))
        elif kind == "delete":
            f = self.files / f"gone{self.counts[kind]}"
            self.put(f, content)
            self.store(f, content, "DELETE", *(["NOTBLOCKING"] if self.rng.random() < 0.7 else []))
        else:
            gone = [f for f in self.want if f.parent.name == "ns" and not f.exists()]
            if gone:
                self.ask("RETRIEVE", str(self.rng.choice(gone)))

    def check(self):
        """All that was acknowledged, and all that is not here any more."""
        bad = []
        for f, contents in self.want.items():
            if f not in self.acked and f.exists():
                if f.read_bytes() not in contents:
                    bad.append(f"{f.name}: local content")
                continue
            out = q.tmpdir("o") / "out"
            p = self.z.cli("retrieve", "-f", f, "-o", out)
            if p.returncode:
                bad.append(f"{f.name}: {p.stderr.decode()[-80:]}")
            elif out.read_bytes() not in contents:
                bad.append(f"{f.name}: wrong content")
            if out.exists():
                out.unlink()
            out.parent.rmdir()
        q.same(bad, [], f"objects that are lost (QSFS_SEED={SEED})")


def test_kills():
    rng = random.Random(SEED)
    w = World(rng)
    print(f"# QSFS_SEED={SEED}", flush=True)
    for kill in range(KILLS):
        w.z.start()
        stop = threading.Event()

        def work():
            while not stop.is_set():
                w.step()
        t = threading.Thread(target=work)
        t.start()
        time.sleep(rng.random() * 1.2)
        w.z.kill9()
        stop.set()
        t.join()
        if kill % 4 == 3 or kill == KILLS - 1:
            w.z.start()
            q.same(w.z.cli("wait", "-t", 120 * q.SLOWDOWN).returncode, 0, f"wait after kill {kill} (QSFS_SEED={SEED})")
            w.check()
            w.z.stop()
    with q.case(f"{KILLS} kills: nothing acknowledged is lost"):
        q.check(w.segments > KILLS / 2 and len(w.acked) > 5, w.counts)
    w.z.start()
    print(f"# {w.counts}, {len(w.acked)} objects acknowledged", flush=True)
    with q.case("every object is whole, no shard had to be restored but what a store has left to a later job"):
        for f in w.want:                        # of what was never acknowledged any part may be there
            if f not in w.acked and f.exists():
                q.check(w.ask("STORE", str(f)), f"store {f.name} again")
        p = w.z.cli("rebuild", "--all")
        q.same(p.returncode, 0, p.stderr)
        restored = int(re.search(rb" (\d+) shards restored", p.stdout).group(1))
        left_out = sum(map(int, re.findall(r"(\d+) of \d+ shards are not stored yet", w.z.log.read_text(errors="replace"))))
        if restored > left_out:
            print(w.z.log.read_text(errors="replace")[-20000:], flush=True)
        q.check(restored <= left_out, f"{restored} shards restored, {left_out} were not stored at first")
    with q.case("the limit of the cache held, and nothing is left aside"):
        left = [f.name for d in (w.dir / "ns", w.files) for f in d.iterdir() if f.name.startswith(".")]
        q.same(left, [], "files")
        here = len(list((w.dir / "ns").iterdir()))
        q.check(here < w.segments, f"{here} of {w.segments} segments are here")
    w.z.stop()


if __name__ == "__main__":
    q.main()

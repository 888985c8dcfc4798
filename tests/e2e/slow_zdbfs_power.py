#!/usr/bin/env python3
# limit: 1200
"""Power cuts under a mount: zdb's file operations are recorded while programs write and fsync through the mount; states
that a power cut may leave of them are made, each is mounted, what had been promised must be there, and the volume must pass
the check.  See tests/crash/.

    slow_zdbfs_power.py [--seed N] [--states N] [--seconds N]"""
import argparse
import bisect
import collections
import os
import pathlib
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import record  # noqa: E402
import volume  # noqa: E402
from verify import q  # noqa: E402
from libzdbfs import Writer, broken, fsync, read_everything  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=int(os.environ.get("QSFS_SEED", "1")))
parser.add_argument("--states", type=int, default=120)
parser.add_argument("--seconds", type=float, default=4)
A = parser.parse_args()
sys.argv[1:] = []
DATASIZE = 1 << 20
top = record.memory_dir("power")
rec = None


class Churn(threading.Thread):
    """Names only: directories are made, filled, renamed, emptied, without any fsync."""

    def __init__(self, base, seed):
        super().__init__(daemon=True)
        self.base, self.r, self.stopped, self.error = base, random.Random(seed), threading.Event(), None

    def run(self):
        try:
            os.mkdir(self.base)
            for n in range(10 ** 9):
                if self.stopped.is_set():
                    return
                d = os.path.join(self.base, f"d{n}")
                os.mkdir(d)
                for i in range(self.r.randrange(6)):
                    with open(os.path.join(d, f"f{i}"), "wb") as f:
                        f.write(self.r.randbytes(self.r.choice((0, 100, 140000))))
                    if self.r.random() < 0.3:
                        os.link(os.path.join(d, f"f{i}"), os.path.join(self.base, f"l{n}-{i}"))
                if self.r.random() < 0.5:
                    os.rename(d, os.path.join(self.base, f"r{n}"))
                elif self.r.random() < 0.7:
                    shutil.rmtree(d)
        except OSError as e:
            self.error = e


class Recording:
    def __init__(self):
        self.dir = top / "run"
        data, index, log = self.dir / "data", self.dir / "index", self.dir / "record"
        for d in (data, index):
            d.mkdir(parents=True)
        self.zdb = q.Zdb("--datasize", DATASIZE, unix=True, mode="seq", dir=self.dir, data=data, index=index,
                         env=record.shim_env(log, data, index, delay_us=2000))
        self.zdb.start()
        mount = q.mount_zdbfs(self.zdb, opts="autons,flush=1")
        self.root = mount.path

        def clock():
            return os.stat(log).st_size
        self.writers = [Writer(str(mount.path / f"w{k}"), f"{A.seed} {k}", clock) for k in range(2)]
        churn = Churn(str(mount.path / "churn"), A.seed)
        for t in (*self.writers, churn):
            t.start()
        time.sleep(A.seconds)              # how long the load lasts
        for t in (*self.writers, churn):
            t.stopped.set()
        for t in (*self.writers, churn):
            t.join(60 * q.SLOWDOWN)
            q.check(not t.is_alive() and not t.error, f"load: {t.error}")
        q.same(mount.unmount(), 0, "exit code of zdbfs")
        self.zdb.stop()
        self.events = volume.read_log(log)
        ends, at = [], 0
        for e in self.events:
            at += volume.HEADER.size + len(e.data) + len(e.data2)
            ends.append(at)
        self.ends = ends                   # the log's size behind each event
        self.volume = volume.Volume(self.events, {"data": str(data), "index": str(index)})
        want = volume.read_tree(data, "data") | volume.read_tree(index, "index")
        q.check(self.volume.end() == want, "the record does not give the files that are there")
        self.positions = [i + 1 for i, e in enumerate(self.events) if e.type in "wtxonum"]
        self.promises = sorted({bisect.bisect_right(ends, at) for w in self.writers for at, _, v in w.history
                                if not isinstance(v, set)})

    def allowed(self, position):
        size = self.ends[position - 1] if position else 0
        out = {}
        for w in self.writers:
            out |= w.allowed(size)
        return out

    def choose(self, rng):
        """Often right after something was promised."""
        if rng.random() < 0.5 and self.promises:
            return min(rng.choice(self.promises) + rng.choice((0, 1, rng.randrange(30))), len(self.events))
        return rng.choice(self.positions)


def try_state(n):
    rng = random.Random(f"{A.seed}/{n}")
    pos, kind = rec.choose(rng), rng.choice(volume.KINDS)
    where = top / f"state{n}"
    where.mkdir()
    volume.write_tree(rec.volume.cut(pos, kind, rng), where)
    text = f"state {n} (seed {A.seed}), position {pos} of {len(rec.events)}, {kind}"
    z = q.start_zdb("--datasize", DATASIZE, unix=True, mode="seq", dir=where)
    m = q.mount_zdbfs(z)
    try:
        broken(text, rec.allowed(pos), m.path, rec.root)
        read_everything(m.path)
        (m.path / "new").write_bytes(b"x" * 1000)
        fsync(m.path / "new")
        q.same(m.unmount(), 0, f"{text}: exit code of zdbfs")
        p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={z.socket}")
        q.same(p.returncode, 0, f"{text}: check: {p.stdout.decode()[:300]}")
    finally:
        if m.alive():
            m.kill9()
            q.unmount(m.path)
        if z.alive():
            z.stop()
    shutil.rmtree(where)
    m.path.rmdir()
    return kind


def test_power_recording():
    global rec
    rec = Recording()
    print(f"# {len(rec.events)} events, {sum(w.n for w in rec.writers)} operations, {len(rec.promises)} moments of promises, "
          f"seed {A.seed}", flush=True)
    q.check(len(rec.promises) > 20, "too little was promised")


def test_power_states():
    q.check(rec, "nothing was recorded")
    kinds, wrong = collections.Counter(), []
    for n in range(A.states // q.SLOWDOWN):
        try:
            kinds[try_state(n)] += 1
        except (q.Failure, q.Died, OSError) as e:
            wrong.append(str(e))
            print(f"# {e}", flush=True)
    print(f"# {sum(kinds.values())} states clean: {dict(kinds)}", flush=True)
    q.check(not wrong, f"{len(wrong)} of {A.states} states: {wrong[:2]}")


if __name__ == "__main__":
    try:
        q.main()
    finally:
        shutil.rmtree(top, ignore_errors=True)

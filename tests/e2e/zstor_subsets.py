#!/usr/bin/env python3
"""Lose any n-k backends, wiped: without a command there are n good shards of every object on distinct backends again, and once more
while that is under way.  2 of 4: two pairs, with QSFS_LONG=1 all six; 4 of 6: one, all fifteen."""
# limit: 300
import itertools
import os
import random
import re

import libqsfs as q

LONG = os.environ.get("QSFS_LONG") == "1"
SEED = int(os.environ.get("QSFS_SEED", random.randrange(1 << 30)))


class World:
    """n backends of data alone; the metadata has its own four."""

    def __init__(self, k, n, files=5):
        self.k, self.n = k, n
        self.backends = q.start_backends(n)
        self.meta = [q.Backend(20 + i).start() for i in range(4)]
        self.z = q.Zstor(q.zstor_config(self.backends, minimal=k, expected=n, meta_backends=self.meta, repair_delay=1, scrub_period=0))
        self.z.start()
        self.dir = q.tmpdir("files")
        self.want = {}
        for i in range(files):
            path = self.dir / f"f{i}"
            path.write_bytes(os.urandom(2000 + 30_000 * i))
            self.want[path] = path.read_bytes()
            self.z.cli("store", "-f", path, check_exit=0)
            path.unlink()
        self.settled()

    def entries(self, i):
        with self.backends[i].client() as c:
            return int(c.info(self.backends[i].data_ns)["entries"])

    def lists(self):
        with self.z.client() as c:
            return c.cmd("QUEUE", "LIST")

    def kept(self):
        """What zstor remembers of each backend: at least half of what it has."""
        return [int(x) for x in re.findall(r"^values .* (\d+)$", (self.z.dir / "state" / "care").read_text(), re.M)]

    def settled(self):
        """One value of each object at each backend, and no job is left."""
        q.wait_for(lambda: all(self.entries(i) == len(self.want) for i in range(self.n)) and self.lists() == [], 120,
                   f"{len(self.want)} shards at each of {self.n} backends")

    def lose(self, which):
        for i in which:
            self.backends[i].kill9()
            self.backends[i].wipe()
        for i in which:
            self.backends[i].start()

    def all_read(self):
        for path, data in self.want.items():
            out = q.tmpdir("out") / "got"
            self.z.cli("retrieve", "-f", path, "-o", out, check_exit=0)
            q.check(out.read_bytes() == data, f"content of {path}")

    def end(self):
        q.same(self.z.stop(), 0, "exit")
        for b in self.backends + self.meta:
            b.stop()


def subsets(k, n, short):
    every = list(itertools.combinations(range(n), n - k))
    return every if LONG else random.Random(SEED).sample(every, short)


def lose_each(k, n, short):
    w = World(k, n)
    for which in subsets(k, n, short):
        with q.case(f"{k} of {n}: {which} are lost (QSFS_SEED={SEED})"):
            w.lose(which)
            w.settled()
            w.all_read()
    with q.case(f"{k} of {n}: one is lost again while it is repaired"):
        which = random.Random(SEED).sample(range(n), n - k)
        w.lose(which)
        q.wait_for(lambda: sum(w.entries(i) for i in which) > 0, 60, "begin of the repair", step=0.01)
        w.lose(which[:1])
        w.settled()
        w.all_read()
    for how, end in (("stopped", w.z.stop), ("killed", w.z.kill9)):
        with q.case(f"{k} of {n}: lost while zstor was {how}"):
            q.wait_for(lambda: sum(2 * x > len(w.want) for x in w.kept()) == n, 30, "what each backend has, on disk")
            end()
            w.lose(random.Random(SEED + 1).sample(range(n), n - k))
            w.z.start()
            w.settled()
            w.all_read()
    w.end()


def test_two_of_four():
    lose_each(2, 4, 2)


def test_four_of_six():
    lose_each(4, 6, 1)


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
"""HANDOVER: what of the local zdb is only here, told from the files and their records and from nothing else."""
# limit: 300
import json
import os
import time

import libqsfs as q
from libproxy import Proxy

MIB = 1 << 20


class Local:
    """A real zdb with the real hook beside zstor, and four backends."""

    def __init__(self, behind=None, **zstor):
        """behind: Proxy, to have one before each backend: .peers"""
        self.backends = q.start_backends(4)
        self.peers = [behind(b) if behind else b for b in self.backends]
        self.dir = q.tmpdir("local")
        self.z = q.start_zstor(q.zstor_config(self.peers, zdb_data_dir_path=self.dir / "data",
                                              zdb_index_dir_path=self.dir / "index", max_zdb_data_dir_size=1000, **zstor)
                               ) if self.made() else None
        self.zdb = q.start_zdb(unix=True, dir=self.dir, mode="seq", datasize=MIB, hook=q.HOOK,
                               env={"ZSTOR_BIN": q.BIN / "zstor", "ZSTOR_CONFIG": self.z.config_file})
        with self.zdb.client() as c:
            c.ok("NSNEW", "vol")
        self.values = {}

    def made(self):
        for d in ("data", "index"):
            (self.dir / d).mkdir()
        return True

    def write(self, n, size=60000):
        with self.zdb.client("vol") as c:
            for _ in range(n):
                v = os.urandom(size)
                self.values[c.ok("SET", "", v)] = v

    def ask(self, *words):
        with self.z.client() as c:
            flat = c.ok("HANDOVER", *words)
        return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}

    def settle(self):
        with self.zdb.client("vol") as c:
            c.ok("NSJUMP")
            q.wait_for(lambda: c.ok("HOOKS", "PENDING") == 0, 60, "end of the hooks")
        q.same(self.z.cli("handover", "--wait", 60 * q.SLOWDOWN).returncode, 0, "handover --wait")

    def end(self):
        if self.zdb.alive():
            self.zdb.stop()
        if self.z.alive():
            q.same(self.z.stop(), 0, "exit of zstor")
        for b in self.backends:
            if b.alive():
                b.stop()


def stored(s, path):
    out = q.tmpdir("out") / "f"
    p = s.z.cli("retrieve", "-f", path, "-o", out)
    return p.returncode == 0 and out.read_bytes() == path.read_bytes()


def test_open_segments_and_changes_are_told():
    s = Local()
    with q.case("everything stored: nothing is only here"):
        s.write(40)
        s.settle()
        a = s.ask()
        q.same((a["files"] - a["open_files"], a["complete"], a["error"]), (0, 1, b""))
    with q.case("megabytes in an open segment are counted, though no job waits"):
        s.write(12)
        a = s.ask()
        with s.z.client() as c:
            q.wait_for(lambda: c.cmd("QUEUE") == 0, 60, "empty queue")
        q.check(a["open_files"] >= 2 and a["open_bytes"] >= 12 * 60000, a)
        q.check(any(b"d3" in i or b"/d" in i for i in a["items"]), a)
        p = s.z.cli("handover")
        q.same(p.returncode, 0, p.stdout)
        q.check(b"open" in p.stdout, p.stdout)
        j = json.loads(s.z.cli("handover", "--json").stdout)
        q.check(j["open_bytes"] == a["open_bytes"] and j["items"][0]["state"] in ("not stored", "changed"), j)
        q.check(s.z.cli("handover", "--closed").returncode == 1, "closed: it has to be stored")
    with q.case("an index that is changed in place is told, and handed over"):
        s.settle()
        with s.zdb.client("vol") as c:
            c.ok("SET", next(iter(s.values)), b"overwritten" * 100)
            c.ok("SYNC")        # zdb changes the entry in place after it
        q.wait_for(lambda: any(b"/i0: changed" in i for i in s.ask()["items"]), 60, "change of i0 in the answer")
        q.same(s.z.cli("handover", "--wait", 60 * q.SLOWDOWN).returncode, 0)
        q.check(stored(s, s.dir / "index" / "vol" / "i0"), "i0 at the backends is not the one here")
    s.end()


def test_what_no_hook_brought():
    s = Local()
    s.write(20)
    s.settle()
    with q.case("zstor down while segments rotate: the files are told and handed over when it is back"):
        s.z.kill9()
        s.write(70)             # four rotations whose hooks fail
        s.zdb.stop()
        s.z.start()
        p = s.z.cli("handover", "--closed", "--wait", 90 * q.SLOWDOWN)
        q.same(p.returncode, 0, p.stdout)
        for kind, letter in (("data", "d"), ("index", "i")):
            files = sorted((s.dir / kind / "vol").glob(letter + "*"))
            q.check(len(files) >= 4, files)
            for f in files:
                q.check(stored(s, f), f"{f} is not stored as it is here")
        q.check(stored(s, s.dir / "index" / "vol" / "zdb-namespace"), "descriptor")
    with q.case("a zdb that was killed leaves an open segment: told and handed over"):
        s.zdb.start()
        s.write(10)
        s.zdb.kill9()
        a = s.ask("CLOSED")
        q.check(a["files"] >= 2 and a["bytes"] >= 10 * 60000, a)
        q.same(s.z.cli("handover", "--closed", "--wait", 60 * q.SLOWDOWN).returncode, 0)
        last = max((s.dir / "data" / "vol").glob("d*"), key=lambda f: int(f.name[1:]))
        q.check(stored(s, last), last)
        a = s.ask("CLOSED")
        q.same(a["files"], 0, a)
    s.end()


def test_with_backends_down():
    s = Local()
    s.write(20)
    s.settle()
    s.write(20)
    s.zdb.stop()
    with q.case("too few backends: it says what stays behind, within its bound"):
        for b in s.backends[:3]:
            b.stop()
        begun = time.monotonic()
        p = s.z.cli("handover", "--closed", "--wait", 600, "--stall", 3)
        q.check(time.monotonic() - begun < 120 * q.SLOWDOWN, "not within its bound")
        q.same(p.returncode, 1, p.stdout)
        q.check(b"only here" in p.stdout and b"/vol/" in p.stdout, p.stdout)
        a = s.ask("CLOSED")
        q.check(a["unknown_files"] > 0 and a["complete"] == 0 and a["error"], a)
    with q.case("and everything is handed over when they are back"):
        for b in s.backends[:3]:
            b.start()
        q.same(s.z.cli("handover", "--closed", "--wait", 120 * q.SLOWDOWN).returncode, 0)
        q.same(s.ask("CLOSED")["files"], 0)
    s.end()


def test_what_is_not_on_stable_storage_is_not_stored():
    s = Local(behind=Proxy)
    s.write(20)
    s.settle()
    with q.case("a record that can be read, but whose backends have not synced it, is none: its job is waited for"):
        for b, p in zip(s.backends, s.peers):
            p.fault("silence", "SYNC", ns=b.meta_ns)
        s.write(20)
        s.zdb.stop()
        with s.z.client() as c:
            stored = q.wait_for(lambda: all(p.done.get("silence") for p in s.peers) and
                                [x.split()[2] for x in c.cmd("QUEUE", "LIST") if b", running" in x], 60, "records without a sync")
            items = s.ask("CLOSED")["items"]
            still = [x.split()[2] for x in c.cmd("QUEUE", "LIST")]
        wrong = [f for f in stored if f in still and not any(f in i for i in items)]
        q.same(wrong, [], "called stored while their jobs run")
        for p in s.peers:
            p.clear()
        q.same(s.z.cli("handover", "--closed", "--wait", 120 * q.SLOWDOWN).returncode, 0)
    s.end()
    for p in s.peers:
        p.close()


if __name__ == "__main__":
    q.main()

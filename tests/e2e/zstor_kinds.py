#!/usr/bin/env python3
"""zstor over backends that are not 0-dbs: shards and metadata on every kind, mixed in one stripe."""
# limit: 300
import os
import shutil

import libqsfs as q
from libkinds import Directory, RedisServer, Zdb


class Setup:
    def __init__(self, data, meta, minimal=4, expected=6, **extra):
        self.data, self.meta = data, meta
        self.z = q.Zstor(q.zstor_config(data, minimal=minimal, expected=expected, meta_backends=meta,
                                        **{"repair_delay": 3600, "scrub_period": 0, **extra}))
        self.z.start()
        self.dir = q.tmpdir("files")
        self.want = {}

    def store(self, name, size):
        path = self.dir / name
        path.write_bytes(os.urandom(size))
        self.want[path] = path.read_bytes()
        return self.z.cli("store", "-f", path, check_exit=0)

    def all_read(self):
        for path, data in self.want.items():
            out = q.tmpdir("out") / "got"
            self.z.cli("retrieve", "-f", path, "-o", out, check_exit=0)
            q.same(out.read_bytes() == data, True, f"content of {path}")

    def repeat(self, *command):
        """Until it is done: what was away is not asked again at once."""
        q.wait_for(lambda: self.z.cli(*command).returncode == 0, 120, " ".join(map(str, command)), step=0.5)

    def end(self):
        q.same(self.z.stop(), 0, "exit of zstor")
        for b in {id(b): b for b in self.data + self.meta}.values():
            b.stop()


def zdbs(n):
    return [Zdb(i + 1).start() for i in range(n)]


def test_mark():
    with q.case("a directory is used only when it is marked, and marked only when it is empty"):
        d = Directory()
        again = q.run(q.BIN / "zstor", "--log_file", d.base / "cli.log", "mark", d.address)
        q.check(again.returncode == 1 and b"marked already" in again.stderr, again.stderr)
        full = q.tmpdir("full")
        (full / "letter").write_text("mine")
        r = q.run(q.BIN / "zstor", "--log_file", d.base / "cli.log", "mark", f"dir:{full}")
        q.check(r.returncode == 1 and b"not empty" in r.stderr, r.stderr)
        r = q.run(q.BIN / "zstor", "--log_file", d.base / "cli.log", "mark", "127.0.0.1:9900")
        q.check(r.returncode == 1 and b"only a directory" in r.stderr, r.stderr)


def test_mixed():
    two = zdbs(2)
    dirs = [Directory(weight=3), *(Directory() for _ in range(5))]
    redis = RedisServer(password="hush").start()
    s = Setup(two + [redis] + dirs, two[:1] + [redis] + dirs[:2])
    with q.case("a stripe over 0-dbs and directories: stored, read, metadata on both"):
        for i in range(4):
            s.store(f"f{i}", 5000 + 700000 * i)
        s.all_read()
        q.check(sum(b.count() for b in s.data) >= 4 * 6, "values")
        q.check(all(len(d.files("names")) >= 4 for d in dirs[:2]) and len(redis.keys(b"qsfs:n:")) >= 4, "names")
    with q.case("what is not mounted is down and nothing is written there; any two may be lost"):
        for a, b in ((dirs[0], dirs[1]), (two[0], dirs[2]), (redis, two[1])):
            a.gone()
            b.gone()
            s.all_read()
            a.back()
            b.back()
    with q.case("two are lost for good: repaired onto the spare ones, then two others may go"):
        gone = sorted((b for b in s.data if b not in s.meta), key=lambda b: -b.count())[:2]
        for b in gone:
            if b in two:
                two.remove(b)
            b.gone()
        for path in s.want:
            s.repeat("rebuild", "-f", path)
        left = [b for b in s.data if b not in gone and b not in s.meta]
        for b in left[:2]:
            b.gone()
        s.all_read()
        for b in left[:2]:
            b.back()
        for b in gone:
            b.back()
    with q.case("values that go bad on a directory are found by a scrub, and made again"):
        victim = max(dirs, key=lambda d: d.count())
        bad = victim.files()
        for p in bad:
            raw = bytearray(p.read_bytes())
            raw[len(raw) // 2] ^= 1
            p.write_bytes(raw)
        s.repeat("scrub")
        s.all_read()
    with q.case("links and other kinds of file in a directory are not read"):
        victim = max(dirs, key=lambda d: d.count())
        p = victim.files()[0]
        p.unlink()
        p.symlink_to("/dev/zero")
        for p in victim.files()[1:2]:
            p.unlink()
            os.mkfifo(p)
        s.all_read()
    s.end()


def test_same_medium_twice():
    two = zdbs(2)
    dirs = [Directory() for _ in range(3)]
    alias = Directory()
    shutil.rmtree(alias.path)
    alias.path.symlink_to(dirs[0].path)
    s = Setup(two + dirs + [alias], two + dirs[:2], minimal=2, expected=5)
    with q.case("one directory under two names counts once"):
        s.store("f", 100000)
        s.all_read()
        with s.z.client() as c:
            c.ok("STATUS")
        q.check(sum(b.count() for b in two + dirs) == 5, "five shards on five places")
    s.end()


def test_capacity():
    two = zdbs(2)
    dirs = [Directory(capacity=1), Directory()]
    s = Setup(two + dirs, two + dirs, minimal=2, expected=3)
    with q.case("a directory holds no more than its capacity, what does not fit goes elsewhere"):
        for i in range(8):
            s.store(f"f{i}", 600000)
        q.check(sum(p.stat().st_size for p in dirs[0].files()) <= 1 << 20, "bytes")
        s.all_read()
    s.end()


def test_no_zdb():
    dirs = [Directory() for _ in range(4)]
    s = Setup(dirs, dirs, minimal=2, expected=4)
    with q.case("without any 0-db"):
        s.store("f", 3 << 20)
        s.all_read()
        dirs[0].gone()
        dirs[3].gone()
        s.all_read()
        dirs[0].back()
        dirs[3].back()
    s.end()


def test_redis():
    s = None
    full = RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").start()
    good = [RedisServer().start() for _ in range(2)]
    with q.case("only redis: stored, read, listed; one that throws keys away gets nothing; no SYNC is sent"):
        s = Setup(good + [full] + zdbs(1), good + zdbs(1) + [Directory()], minimal=2, expected=3)
        s.store("f", 5 << 20)
        s.all_read()
        q.same(full.count(), 0, "values where they are thrown away")
        s.z.cli("rebuild", "--all", check_exit=0)
        for r in good:
            with r.client() as c:
                stats = c.ok("INFO", "commandstats").decode() + c.ok("INFO", "stats").decode()
            q.check("cmdstat_sync" not in stats and "sync_full:0" in stats, "SYNC")
    with q.case("a wrong password is one clear line, and nothing is lost"):
        s.z.stop()
        s.z.config["groups"][0]["backends"][0]["password"] = "wrong"
        s.z.write_config()
        r = s.z.cli("test")
        q.check(r.returncode == 1 and b"the server says" in r.stderr, r.stderr)
        del s.z.config["groups"][0]["backends"][0]["password"]
        s.z.write_config()
        s.z.start()
        s.all_read()
    with q.case("a replica is read, and not written to"):
        with good[0].client() as c:
            c.ok("REPLICAOF", "127.0.0.1", "1")
        s.all_read()
        with good[0].client() as c:
            c.ok("REPLICAOF", "NO", "ONE")
    s.end()


q.main()

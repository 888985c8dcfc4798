#!/usr/bin/env python3
"""metadata_log: the records are as durable as the data.  All four metadata stores are wiped, everything comes back from any data
backend and the key."""
# limit: 300
import hashlib
import os
import pathlib
import random
import time

import libqsfs as q
from libkinds import Directory, RedisServer


def anchors(b):
    """How many values of a 0-db are anchors."""
    n, cursor = 0, ()
    with b.client(b.data_ns, b.password) as c:
        while True:
            page = c.cmd("RSCAN", *cursor)
            if isinstance(page, q.Error):
                return n
            n += sum(c.ok("GET", row[0]).startswith(b"QZA\1") for row in page[1])
            cursor = (page[0],)


class Log:
    def __init__(self, data=None, **extra):
        self.backends = q.start_backends(4)
        self.dir = q.tmpdir("files")
        self.z = q.start_zstor(q.zstor_config(data or self.backends, meta_backends=self.backends, metadata_log=True, **extra))
        self.want = {}

    def write(self, name, size=None, again=False):
        f = self.dir / name
        f.write_bytes(os.urandom(random.randrange(1, 60000) if size is None else size))
        self.z.cli("store", "-f", f, check_exit=0)
        self.want[f] = hashlib.sha256(f.read_bytes()).digest()

    def logged(self, z=None):
        """Until everything is in the log: then there is no mark that it is behind."""
        state = pathlib.Path((z or self.z).config["state_dir"])
        q.wait_for(lambda: (state / "metadata-log").exists() and not (state / "metadata-log.behind").exists()
                   and not (state / "metadata-log.other").exists(), 60, "log that has everything")

    def wipe(self):
        """All four metadata stores lose everything."""
        for b in self.backends[:4]:
            with b.client(b.meta_ns, b.password) as c:
                c.ok("FLUSH")

    def all_there(self, z=None):
        for f, digest in self.want.items():
            out = q.tmpdir("out") / "f"
            (z or self.z).cli("retrieve", "-f", f, "-o", out, check_exit=0)
            q.check(hashlib.sha256(out.read_bytes()).digest() == digest, f"content of {f}")

    def recover(self, z, *options, check_exit=0):
        return z.cli("meta", "recover", *options, check_exit=check_exit, timeout=120)

    def end(self, *others):
        for z in (self.z, *others):
            if z.alive():
                q.same(z.stop(), 0, "exit")
        for b in self.backends:
            if b.alive():
                b.stop()


def other_machine(s):
    """The configuration on a machine that knows nothing."""
    d = q.tmpdir("machine")
    conf = {**s.z.config, "state_dir": str(d / "state"), "socket": str(d / "z.sock"), "pid_file": str(d / "z.pid")}
    return q.Zstor(conf, dir=d)


def test_all_four_metadata_stores_are_lost():
    s = Log()
    for n in range(20):
        s.write(f"i{n}")
    s.logged()
    for n in range(0, 20, 3):
        s.write(f"i{n}")                    # changes behind the whole part
    gone = s.dir / "gone"
    gone.write_bytes(b"gone")
    s.z.cli("store", "-f", gone, check_exit=0)
    s.logged()
    with q.case("one anchor at each backend"):
        q.wait_for(lambda: [anchors(b) for b in s.backends] == [1] * 4, 30, "one anchor at each")
    q.same(s.z.stop(), 0, "exit")
    s.z.cli("forget", "-f", gone, check_exit=0)      # by a command beside the log: it is told of it
    s.z.start()
    s.logged()
    with q.case("a daemon over empty metadata stores does not replace the log"):
        s.write("i1", 70_000)
        s.z.kill9()                         # the log is behind: all of it is to be written anew
        s.wipe()
        s.z.start()
        s.write("new")
        q.wait_for(lambda: "nothing is replaced: zstor meta recover" in (s.z.dir / "zstor.log").read_text(), 60, "refusal")
        del s.want[s.dir / "i1"]            # it was not in the log yet
    with q.case("the same machine: recovered, every object is read"):
        q.same(s.z.stop(), 0, "exit")
        p = s.recover(s.z)
        q.check(b" records restored" in p.stdout, p.stdout)
        s.z.start()
        s.all_there()
        q.same(s.z.cli("check", "-f", gone).stdout, b"", "what was deleted")
        s.logged()
    with q.case("again: nothing is written twice"):
        q.same(s.z.stop(), 0, "exit")
        p = s.recover(s.z)
        q.check(p.stdout.startswith(b"0 records restored, 2"), p.stdout)
    with q.case("another machine, two data backends lost as well: refused, then taken over"):
        s.wipe()
        z = other_machine(s)
        for b in s.backends[2:]:
            with b.client(b.data_ns, b.password) as c:
                c.ok("FLUSH")
        p = s.recover(z, check_exit=1)
        q.check(b"another machine" in p.stderr, p.stderr)
        p = z.cli("monitor", timeout=30)
        q.check(p.returncode == 1 and b"meta recover" in p.stderr, (p.returncode, p.stderr))
        s.recover(z, "--takeover")
        z.start()
        s.all_there(z)
        q.same(z.cli("check", "-f", gone).stdout, b"", "what was deleted")
        s.logged(z)
    with q.case("the former machine is refused"):
        p = s.z.cli("monitor", timeout=60)
        q.check(p.returncode == 1 and b"belongs to" in p.stderr, (p.returncode, p.stderr))
    s.end(z)


def test_data_backends_of_other_kinds():
    redis = RedisServer().start()
    dirs = [Directory() for _ in range(2)]
    s = Log(data=[redis, *dirs], minimal=1, expected=3, repair_delay=3600)
    for n in range(5):
        s.write(f"i{n}")
    s.logged()
    with q.case("found by name at a directory alone"):
        q.same(s.z.stop(), 0, "exit")
        s.wipe()
        redis.stop()
        dirs[0].gone()
        z = other_machine(s)
        s.recover(z, "--takeover")
        z.start()
        s.all_there(z)
    s.end(z)


def test_killed_at_any_time_the_log_has_what_was_stored():
    s = Log()
    rng = random.Random(os.environ.get("QSFS_SEED", "7"))
    for n in range(30 if os.environ.get("QSFS_LONG") else 6):
        for k in range(3):
            s.write(f"i{rng.randrange(30)}", 3000)
        time.sleep(rng.random() * 2.5)
        s.z.kill9()
        s.z.start()
    s.logged()
    with q.case("recovered after kills in the middle of it"):
        s.z.kill9()
        s.wipe()
        s.recover(s.z)
        s.z.start()
        s.all_there()
    with q.case("nothing is left of the kills here"):
        s.logged()
        names = [f for f in (pathlib.Path(s.z.config["state_dir"])).iterdir() if f.name.startswith("metadata-log")]
        q.same([f.name for f in names], ["metadata-log"], "files")
    s.end()


if __name__ == "__main__":
    q.main()

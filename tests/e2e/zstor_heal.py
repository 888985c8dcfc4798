#!/usr/bin/env python3
"""zstor heals by itself: lost, wiped, drained and replaced backends, scrub; and what a hostile peer may cost."""
# limit: 300
import os
import time

import libqsfs as q
from libproxy import Proxy

KIB = 1024


class Setup:
    """n data backends; the metadata is on the first four of them, or on four of their own."""

    def __init__(self, n=6, own_meta=False, files=6, **extra):
        self.backends = q.start_backends(n)
        self.meta = [q.Backend(20 + i).start() for i in range(4)] if own_meta else []
        extra["meta_backends"] = self.meta or self.backends[:4]
        self.z = q.Zstor(q.zstor_config(self.backends, minimal=2, expected=4, **{"repair_delay": 1, "scrub_period": 0, **extra}))
        self.z.start()
        self.dir = q.tmpdir("files")
        self.want = {}
        for i in range(files):
            self.store(f"f{i}", os.urandom(3000 + 40000 * i))

    def store(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        self.z.cli("store", "-f", path, check_exit=0)
        self.want[path] = data

    def all_read(self):
        for path, data in self.want.items():
            out = q.tmpdir("out") / "got"
            self.z.cli("retrieve", "-f", path, "-o", out, check_exit=0)
            q.same(out.read_bytes() == data, True, f"content of {path}")

    def repair(self):
        with self.z.client() as c:
            running, bad, text = c.ok("BACKEND")
            return running, bad, text.decode()

    def entries(self, i):
        with self.backends[i].client() as c:
            return int(c.info(self.backends[i].data_ns)["entries"])

    def holders(self):
        return [i for i, b in enumerate(self.backends) if b.alive() and self.entries(i)]

    def healed(self, seconds=60):
        """Nothing runs, nothing is left, and it is so for two rounds of asking the backends."""
        def quiet():
            running, bad, text = self.repair()
            return not running and not bad and text
        return q.wait_for(quiet, seconds, "end of the repair", step=0.2)

    def whole(self):
        """Every object has four shards on four backends that answer."""
        total = sum(self.entries(i) for i, b in enumerate(self.backends) if b.alive())
        return total >= 4 * len(self.want)

    def end(self):
        q.same(self.z.stop(), 0, "exit of zstor")
        for b in self.backends + self.meta:
            if b.alive():
                b.stop()


def test_lost_and_wiped():
    s = Setup(own_meta=True)
    with q.case("a backend that is down longer than the delay is repaired without a command"):
        s.healed()
        gone = s.holders()[0]
        s.backends[gone].stop()
        q.wait_for(s.whole, 60, "four shards of every object")
        s.healed()
        q.check("down for" in (s.z.dir / "zstor.log").read_text())
    with q.case("then any two others may go, too"):
        others = s.holders()[:2]
        for i in others:
            s.backends[i].stop()
        s.all_read()
        for i in others + [gone]:
            s.backends[i].start()
    with q.case("a backend that comes back empty is found out"):
        s.healed()
        def known():
            with s.z.client() as c:
                return c.ok("STATUS")[0] == 0
        q.wait_for(known, 30, "all backends up")
        i = max(s.holders(), key=s.entries)
        had = s.entries(i)
        q.check(had >= 2, f"{had} values")
        b = s.backends[i]
        b.stop()
        b.wipe()
        b.start()
        q.wait_for(lambda: s.whole() and s.healed(), 60, "repair of what was wiped")
        s.all_read()
    s.end()


def test_drain_and_replace():
    s = Setup(5)
    with q.case("drain empties a backend, says how far it is, and nothing more goes there"):
        s.healed()
        i = s.holders()[0]
        b = s.backends[i]
        p = s.z.cli("backend", "drain", f"{b.host}:{b.port}", check_exit=0)
        q.check(b"drained: 1" in p.stdout, p.stdout)
        q.wait_for(lambda: s.entries(i) == 0, 60, "values that are left")
        s.store("later", os.urandom(50000))
        q.same(s.entries(i), 0, "values that came")
        s.all_read()
    with q.case("leaving fewer than the geometry needs is refused"):
        o = s.backends[(i + 1) % 5]
        p = s.z.cli("backend", "drain", f"{o.host}:{o.port}")
        q.same(p.returncode, 1)
        q.check(b"not enough" in p.stderr, p.stderr)
        p = s.z.cli("backend", "drain", "127.0.0.1:1")
        q.check(p.returncode == 1 and b"no such data backend" in p.stderr, p.stderr)
    with q.case("it is drained still after a restart, until it is taken back"):
        q.same(s.z.stop(), 0)
        s.z.start()
        s.store("still", os.urandom(1000))
        q.same(s.entries(i), 0)
        s.z.cli("backend", "undrain", f"{b.host}:{b.port}", check_exit=0)
        p = s.z.cli("backend", check_exit=0)
        q.check(b"drained" not in p.stdout, p.stdout)
    with q.case("a damaged file of what is drained and scrubbed is set aside, and everything is looked at again"):
        q.same(s.z.stop(), 0)
        state = s.z.dir / "state"
        (state / "care").write_bytes(b"zstor-care 1\nscrub x y z\n")
        s.z.start()
        q.check((state / "care.bad").exists())
        s.healed()
        q.wait_for(lambda: "whole " in (state / "care").read_text(), 20, "a new one")
    with q.case("replace: what lay on a backend that is configured no longer moves to the others"):
        j = s.holders()[0]
        new = q.Backend(9).start()
        old = s.backends[j]
        conf = s.z.config
        conf["groups"] = [{"backends": [x.entry("data") for x in s.backends if x is not old] + [new.entry("data")]}]
        s.z.write_config()
        q.same(s.z.stop(), 0)
        s.z.start()
        s.backends.append(new)
        p = s.z.cli("backend", "replace", f"{old.host}:{old.port}", f"{new.host}:{new.port}", check_exit=0)
        q.wait_for(lambda: s.entries(j) == 0, 60, "values that are left")
        s.all_read()
    s.end()


def test_scrub():
    s = Setup(4)
    with q.case("scrub finds a value that is gone and a metadata value that is gone, and restores them"):
        s.healed()
        with s.backends[0].client(s.backends[0].data_ns, "secret1") as c:
            c.ok("DEL", (0).to_bytes(8, "little"))
        with s.backends[1].client(s.backends[1].meta_ns, "secret2") as c:
            _, rows = c.ok("SCAN")
            lost = next(r[0] for r in rows if b"/meta/" in r[0])
            c.ok("DEL", lost)
        p = s.z.cli("scrub", check_exit=0)
        q.same(p.stdout, b"6 objects read and whole, 1 shards restored\n")
        with s.backends[1].client(s.backends[1].meta_ns, "secret2") as c:
            q.check(c.ok("GET", lost) is not None, "the metadata value is not back")
        p = s.z.cli("scrub", "--all", check_exit=0)
        q.same(p.stdout, b"6 objects read and whole, 0 shards restored\n")
    with q.case("a part goes on where the last one ended; status tells the age of the oldest unverified byte"):
        p = s.z.cli("scrub", "--fraction", "0.34", check_exit=0)
        q.same(p.stdout, b"3 objects read and whole, 0 shards restored\n")
        p = s.z.cli("backend", check_exit=0)
        q.check(b"oldest unverified byte 0.0 hours, this pass 3 of 6" in p.stdout, p.stdout)
        q.same(s.z.stop(), 0)
        s.z.start()
        p = s.z.cli("scrub", "--fraction", "0.5", check_exit=0)
        p = s.z.cli("status", check_exit=0)
        q.check(b"oldest unverified byte 0.0 hours" in p.stdout, p.stdout)
        q.same(s.z.cli("scrub", "--fraction", "2").returncode, 1)
    s.end()


def test_one_store_under_two_names():
    b = q.start_backends(4)
    twin = Proxy(b[0])
    z = q.Zstor(q.zstor_config(b, minimal=2, expected=4, groups=[b + [twin]], scrub_period=0))
    z.start()
    for i in range(8):
        path = q.tmpdir("files") / "f"
        path.write_bytes(os.urandom(2000))
        z.cli("store", "-f", path, check_exit=0)
    with b[0].client() as c:
        q.same(int(c.info("data1")["entries"]), 8, "values on the store that has two names")
    q.same(z.stop(), 0)
    twin.close()
    for x in b:
        x.stop()


def test_gray():
    """INFO answers and SET hangs: the stores go on, status says it, and it ends by itself."""
    real = q.start_backends(5)
    p = [Proxy(b) for b in real]
    z = q.Zstor(q.zstor_config(p, minimal=2, expected=4, scrub_period=0, meta_backends=real[:4]))
    z.start()
    d = q.tmpdir("files")
    with q.case("a backend that hangs on writes alone costs its time twice, then nothing is sent there"):
        p[0].fault("silence", "SET", ns="data1")
        def status():
            with z.client() as c:
                risk, text = c.ok("STATUS")
                return risk and b"no writes for now" in text
        for i in range(40):
            (d / f"f{i}").write_bytes(os.urandom(3000))
            z.cli("store", "-f", d / f"f{i}", check_exit=0)
            if p[0].done.get("silence", 0) >= 2:
                break
        q.wait_for(status, 20, "status of the gray backend")
        before = p[0].done["silence"]
        for i in range(5):
            (d / f"g{i}").write_bytes(os.urandom(3000))
            z.cli("store", "-f", d / f"g{i}", check_exit=0)
        q.check(p[0].done["silence"] <= before + 1, f"{p[0].done['silence']} writes, {before} before")  # one may try again
    with q.case("writes go there again when they work"):
        p[0].clear()
        def works():
            path = d / f"h{time.monotonic_ns()}"
            path.write_bytes(os.urandom(2000))
            z.cli("store", "-f", path, check_exit=0)
            with z.client() as c:
                return c.ok("STATUS")[0] == 0
        q.wait_for(works, 60, "writes to the backend", step=0.2)
    q.same(z.stop(), 0)
    for x in p:
        x.close()
    for b in real:
        b.stop()


def test_hostile_peers():
    """One data backend and one metadata backend lie in every way: nothing is read wrong, nothing is lost, nothing takes long."""
    real = q.start_backends(6)
    p = [Proxy(b, seed=i) for i, b in enumerate(real)]
    z = q.Zstor(q.zstor_config(p, minimal=2, expected=4, scrub_period=0, repair_delay=3600))
    z.start()
    want, d, n = {}, q.tmpdir("files"), 0

    def store():
        nonlocal n
        n += 1
        path = d / f"f{n}"
        data = os.urandom(70000)
        path.write_bytes(data)
        z.cli("store", "-f", path, check_exit=0)
        want[path] = data

    def read(path):
        out = q.tmpdir("out") / "got"
        z.cli("retrieve", "-f", path, "-o", out, check_exit=0)
        q.same(out.read_bytes() == want[path], True, f"content of {path}")

    store()
    for kind, command in (("flip", "GET"), ("truncate", "GET"), ("lengthen", "GET"), ("swap", "GET"), ("replay", "GET"),
                          ("nil", "GET"), ("error", "*"), ("number", "*"), ("garbage", "*"), ("oversized", "GET"),
                          ("endless", "GET"), ("line", "*"), ("close", "*"), ("drop", "*"), ("silence", "SET"),
                          ("drip", "*"), ("refuse", "*")):
        with q.case(f"{kind} for {command}"):
            for x in (p[0], p[4]):
                x.fault(kind, command)
            begin = time.monotonic()
            store()
            read(d / f"f{n}")
            read(d / f"f{max(n - 1, 1)}")
            took = time.monotonic() - begin
            q.check(took < 30 * q.SLOWDOWN, f"{took:.0f} s")
            for x in (p[0], p[4]):
                x.clear()
    with q.case("all is whole again when they are honest"):
        def whole():
            return z.cli("rebuild", "--all").returncode == 0
        q.wait_for(whole, 60, "rebuild of all", step=0.5)
        for path in want:
            read(path)
        q.check(z.rss_kib() < 400 * 1024 * q.SLOWDOWN, f"{z.rss_kib()} KiB")
    q.same(z.stop(), 0)
    for x in p:
        x.close()
    for b in real:
        b.stop()


if __name__ == "__main__":
    q.main()

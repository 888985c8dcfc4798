#!/usr/bin/env python3
"""The cleaner of zdb gives the space of dead records back while it serves: nothing that is live is lost, and the count of live
bytes is what a start counts, too."""
import os
import pathlib
import random
import threading

import libqsfs as q

KIB, MIB = 1 << 10, 1 << 20
SEED = int(os.environ.get("QSFS_SEED", "1"))


class Model:
    """What is in a namespace, and random changes of it."""

    def __init__(self, c, mode, rng):
        self.c, self.mode, self.rng, self.want, self.serial = c, mode, rng, {}, 0

    def change(self, n, size=8000):
        requests = []
        for _ in range(n):
            self.serial += 1
            value = b"%d:" % self.serial + self.rng.randbytes(self.rng.randrange(size))
            kind = self.rng.random()
            if kind < 0.25 and self.want:
                key = self.rng.choice(list(self.want))
                requests.append((("DEL", key), key, None))
                self.want.pop(key)
            elif self.mode == "user":
                key = b"k%d" % self.rng.randrange(200)
                requests.append((("SET", key, value), key, value))
                self.want[key] = value
            elif kind < 0.6 and self.want:
                key = self.rng.choice(list(self.want))
                requests.append((("SET", key, value), key, value))
                self.want[key] = value
            else:
                key = self.c.cmd("SET", "", value)
                self.want[key] = value
        for (request, key, value), got in zip(requests, self.c.pipeline([r[0] for r in requests])):
            q.check(not isinstance(got, q.Error), f"{request[:2]}: {got}")

    def verify(self, c, what):
        keys = list(self.want)
        for key, got in zip(keys, c.pipeline([("GET", k) for k in keys])):
            q.same(got, self.want[key], f"{what}: {key}")
        q.same(c.cmd("DBSIZE"), len(keys), f"{what}: DBSIZE")


def segments(c):
    return [s.decode().split() for s in c.cmd("SEGMENTS")]


def bytes_here(zdb, ns):
    return sum(f.stat().st_size for f in (zdb.data / ns).glob("d*"))


def live(c):
    return {s[0]: int(s[2]) for s in segments(c)}


def start(**options):
    return q.start_zdb("--datasize", str(512 * KIB), "--admin", "secret", **options)


def open_ns(zdb, name, mode):
    c = zdb.client()
    c.ok("AUTH", "secret")
    if c.cmd("NSINFO", name) == q.Error("Namespace not found"):
        c.ok("NSNEW", name)
        c.ok("NSSET", name, "mode", mode)
        c.ok("NSSET", name, "policy", "reclaim 60")
    c.ok("SELECT", name)
    return c


def test_what_it_says_when_asked_wrongly():
    zdb = start()
    with zdb.client() as c:
        c.ok("AUTH", "secret")
        c.ok("NSNEW", "n")
        for value in ("", "keep ", "reclaim", "reclaim 0", "reclaim 100", "reclaim -1", "reclaim 5x", "window 3"):
            q.same(c.cmd("NSSET", "n", "policy", value or "x"),
                   q.Error("Invalid property value (expected: keep, reclaim PERCENT with 1 to 99)"), value)
        c.ok("SELECT", "n")
        q.same(c.cmd("CLEAN"), q.Error("Namespace keeps everything (see NSSET policy)"), "CLEAN")
        q.check("policy" not in c.info("n"), "keep is the default")
        c.ok("NSSET", "n", "policy", "reclaim 30")
        q.same(c.info("n")["policy"], "reclaim 30", "the policy")
        c.ok("CLEAN")
    with zdb.client() as c:
        q.check(isinstance(c.cmd("CLEAN"), q.Error), "only an admin cleans")


def random_changes(mode):
    rng = random.Random(f"{SEED}/{mode}")
    zdb = start()
    c = open_ns(zdb, "n", mode)
    m = Model(c, mode, rng)
    for round_ in range(8):
        m.change(300)
        if round_ % 2:
            c.ok("CLEAN")
            q.check(bytes_here(zdb, "n") < 3 * sum(live(c).values()) + 1200 * KIB, f"{bytes_here(zdb, 'n')} bytes are left")
        m.verify(c, f"round {round_}")
        if round_ in (2, 5):
            counted = live(c)
            c.close()
            zdb.stop() if round_ == 2 else zdb.kill9()
            zdb.start()
            c = m.c = open_ns(zdb, "n", mode)
            q.same(live(c), counted, "live bytes of each segment after a start")
            m.verify(c, "after a start")
    c.ok("RELOAD", "n")
    m.verify(c, "after RELOAD")
    for key in list(m.want):
        c.cmd("DEL", key)
    m.want.clear()
    c.ok("NSJUMP")
    c.ok("CLEAN")
    q.same([s[3] for s in segments(c)][:-1], ["missing"] * (len(segments(c)) - 1), "all is dead")
    q.check(bytes_here(zdb, "n") < 40 * KIB, f"{bytes_here(zdb, 'n')} bytes are left of nothing")
    m.change(50)
    m.verify(c, "in the end")
    zdb.stop()
    q.run(q.BIN / "zdb", "--check", "--data", zdb.data, "--index", zdb.index, check_exit=0)


def test_user_mode():
    random_changes("user")


def test_sequential_mode():
    random_changes("seq")


def test_it_cleans_without_being_asked():
    zdb = start()
    with open_ns(zdb, "n", "user") as c:
        for _ in range(40):
            c.pipeline([("SET", f"k{i}", os.urandom(8000)) for i in range(64)])
        q.wait_for(lambda: bytes_here(zdb, "n") < 3 * MIB, what="old segments to go")
        q.same(c.cmd("DBSIZE"), 64, "keys")


def test_the_hook_is_told_before_the_file_goes():
    d = q.tmpdir()
    hook = d / "hook.sh"
    hook.write_text(f"""#!/bin/sh
[ "$1" = retire-data ] || exit 0
[ -e "$3" ] && echo "$3" >>{d}/told
exit 1
""")
    hook.chmod(0o755)
    zdb = start(hook=hook)
    with open_ns(zdb, "n", "user") as c:
        for _ in range(10):
            c.pipeline([("SET", f"k{i}", os.urandom(8000)) for i in range(64)])
        c.ok("CLEAN")
        gone = {f"d{s[0]}" for s in segments(c) if s[3] == "missing"}
    q.check(len(gone) >= 5, f"only {gone} went")
    told = {pathlib.Path(line).name for line in (d / "told").read_text().split()}
    q.check(gone <= told, f"{gone - told} went without a word")


def test_a_segment_that_cannot_be_read_keeps_its_file():
    zdb = start()
    with open_ns(zdb, "n", "user") as c:
        for i in range(128):
            c.cmd("SET", f"k{i}", os.urandom(8000))
        for i in range(1, 128):
            c.cmd("DEL", f"k{i}")
        c.ok("NSSET", "n", "policy", "keep")
        c.ok("NSJUMP")
    zdb.stop()
    first = zdb.data / "n" / "d0"
    raw = bytearray(first.read_bytes())
    raw[28 + 18 + 2 + 500] ^= 1            # the payload of k0
    first.write_bytes(raw)
    second = zdb.data / "n" / "d1"
    second.unlink()                         # evicted
    zdb.start()
    with open_ns(zdb, "n", "user") as c:
        c.ok("NSSET", "n", "policy", "reclaim 90")
        q.wait_for(lambda: "segment 0 is not cleaned" in zdb.tail(20000), what="a word about it")
        q.check(first.exists(), "the file of a live record that is damaged")
        q.same(bytes(raw), first.read_bytes(), "its bytes")
        q.same([s[3] for s in segments(c)][:2], ["here", "missing"], "segments")


def test_kill_9_at_any_moment():
    rng = random.Random(f"{SEED}/kill")
    zdb = start()
    for mode in ("user", "seq"):
        c = open_ns(zdb, mode, mode)
        m = Model(c, mode, rng)
        m.change(600)
        for _ in range(6):
            m.change(200)
            m.c.send("CLEAN")
            with open_ns(zdb, mode, mode) as other:
                for _ in range(rng.randrange(60)):
                    other.cmd("PING")
            zdb.kill9()
            zdb.start()
            m.c = open_ns(zdb, mode, mode)
            m.verify(m.c, f"{mode} after kill -9")
        m.c.ok("CLEAN")
        m.verify(m.c, f"{mode} cleaned")


def test_flush_reload_and_jumps_beside_it():
    zdb = start()
    rng = random.Random(f"{SEED}/beside")
    c = open_ns(zdb, "n", "user")
    c.ok("NSSET", "n", "password", "p")
    c.ok("NSSET", "n", "public", "0")
    stop = threading.Event()
    answers = set()

    def cleaning():
        with zdb.client() as d:
            d.ok("AUTH", "secret")
            d.ok("SELECT", "n", "p")
            while not stop.is_set():
                answers.add(str(d.cmd("CLEAN")))

    c.ok("SELECT", "n", "p")
    t = threading.Thread(target=cleaning)
    t.start()
    try:
        m = Model(c, "user", rng)
        for _ in range(40):
            m.change(100)
            kind = rng.randrange(4)
            if kind == 0:
                c.ok("FLUSH")
                m.want.clear()
            elif kind == 1:
                c.ok("RELOAD", "n")
            elif kind == 2:
                c.ok("NSJUMP")
            m.verify(c, "beside FLUSH, RELOAD and jumps")
    finally:
        stop.set()
        t.join()
    q.same(answers, {"OK"}, "answers of CLEAN")


if __name__ == "__main__":
    q.main()

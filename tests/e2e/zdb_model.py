#!/usr/bin/env python3
# limit: 300
"""zdb against a model: long random sequences of commands, over several namespaces of both modes, with quotas, worm mode,
locks, jumps, reloads, flushes and restarts.  The model knows the layout of the files, so cursors are compared byte for byte.

    zdb_model.py [--seed N] [--seeds N] [--steps N] [TEST...]     QSFS_LONG=1: more of them"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import record  # noqa: E402
import verify  # noqa: E402
import zfiles  # noqa: E402
from verify import q  # noqa: E402

LONG = os.environ.get("QSFS_LONG") == "1"
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=int(os.environ.get("QSFS_SEED", "1")))
parser.add_argument("--seeds", type=int, default=40 if LONG else max(1, 8 // q.SLOWDOWN))
parser.add_argument("--steps", type=int, default=20000 if LONG else 4000)
parser.add_argument("tests", nargs="*")
A = parser.parse_args()
sys.argv[1:] = A.tests
E = q.Error
FROZEN = E("Namespace is temporarily frozen (read-write disabled)")
LOCKED = E("Namespace is temporarily locked (read-only)")
READ_ONLY = E("Namespace is in read-only mode")
OK = q.Status("OK")


class Record:
    """Index record."""

    def __init__(self, key, file, at, data, value, when, parent, deleted=False):
        self.key, self.file, self.at, self.data, self.value, self.when = key, file, at, data, value, when
        self.parent, self.deleted = parent, deleted

    def cursor(self):
        return struct.pack("<BIIII", len(self.key), self.file, len(self.value), self.at, zfiles.crc(self.value))

    def entry(self):
        return [self.key, len(self.value), struct.unpack("<i", struct.pack("<I", self.when))[0]]


class Namespace:
    def __init__(self, name, datasize):
        self.name, self.datasize = name, datasize
        self.mode, self.public, self.password, self.worm, self.maxsize = "user", True, b"", False, 0
        self.lock = None
        self.clear()

    def clear(self):
        self.segments = []      # of each: [index records], bytes of the index file, bytes of the data file
        self.live = {}          # user: key -> record; seq: id -> slot, deleted ones too
        self.raw = {}           # (segment, offset) -> (key, value or None, time)
        self.ranks = 0          # records in all index files
        self.used = False
        self.dirty, self.maybe = set(), set()
        self.jump(first=True)

    def forget_dirty(self):
        """Rewrites that are still to be written make their file dirty again: a copy that was taken before lacks them."""
        self.maybe |= self.dirty
        self.dirty = set()

    def jump(self, first=False):
        self.segments.append([[], zfiles.INDEX_HEADER, zfiles.DATA_HEADER])
        self.used = self.used or not first

    n = property(lambda self: len(self.segments) - 1)

    def find(self, key):
        r = self.live.get(key)
        return r if r and not r.deleted else None

    def entries(self):
        if self.mode == "seq":
            return [self.live[k] for k in sorted(self.live, key=lambda k: struct.unpack("<Q", k)) if not self.live[k].deleted]
        return [r for s in self.segments for r in s[0] if not r.deleted]

    def data_size(self):
        return sum(len(r.value) for r in self.entries())

    def put_data(self, key, value, when):
        s = self.segments[-1]
        at = s[2]
        s[2] += 18 + len(key) + len(value or b"")
        self.raw[self.n, at] = (key, value, when)
        self.used = True
        return self.n, at

    def put_index(self, key, data, value, when, parent, deleted=False):
        s = self.segments[-1]
        r = Record(key, self.n, s[1], data, value, when, parent, deleted)
        s[0].append(r)
        s[1] += 34 + len(key)
        self.ranks += 1
        return r

    # --- commands: the reply -----------------------------------------------------------------------

    def set(self, key, value, when, writable):
        if len(key) > 255:
            return E("Key too large")
        if not writable:
            return READ_ONLY
        if self.lock:
            return FROZEN if self.lock == "freeze" else LOCKED
        old = self.find(key)
        if self.worm and old:
            return E("Namespace is protected by worm mode")
        if self.maxsize and self.data_size() + len(value) > self.maxsize + (len(old.value) if old else 0):
            return E("No space left on this namespace")
        if self.segments[-1][2] + len(value) > self.datasize:
            self.jump()
        if self.mode == "user":
            if not key:
                return E("Invalid argument, key needed")
        elif key and not old:
            return E("Invalid key, only update authorized")
        if old and old.value == value:
            return None
        if self.mode == "user":
            data = self.put_data(key, value, when)
            if old:
                old.deleted = True
                self.dirty.add(old.file)
            self.live[key] = self.put_index(key, data, value, when, (old.file, old.at) if old else (0, 0))
            return key
        if not key:
            key = struct.pack("<Q", self.ranks)
            data = self.put_data(key, value, when)
            self.live[key] = self.put_index(key, data, value, when, (0, 0))
            return key
        data = self.put_data(key, value, when)
        copy = self.put_index(key, old.data, old.value, old.when, old.parent, deleted=True)
        old.data, old.value, old.when, old.parent = data, value, when, (copy.file, copy.at)
        self.dirty.add(old.file)
        return key

    def delete(self, key, when, writable):
        if not key:
            return E("Invalid argument")
        if len(key) > 255:
            return E("Invalid key")
        if not writable:
            return READ_ONLY
        if self.lock:
            return FROZEN if self.lock == "freeze" else LOCKED
        old = self.find(key)
        if not old:
            return E("Key not found")
        if self.worm:
            return E("Cannot delete a key when namespace is in worm mode")
        self.put_data(key, None, when)
        old.deleted = True
        self.dirty.add(old.file)
        if self.mode == "user":
            del self.live[key]
        return OK

    def read(self, word, key):
        if not key:
            return E("Invalid argument")
        if len(key) > 255:
            return E("Invalid key")
        if self.lock == "freeze":
            return FROZEN
        r = self.find(key)
        if word == "EXISTS":
            return int(r is not None)
        if not r:
            return None
        return {"GET": r.value, "LENGTH": len(r.value), "KEYTIME": r.when, "CHECK": 1}[word]

    def mget(self, keys):
        if any(len(k) > 255 for k in keys):
            return E("Invalid key")
        if self.lock == "freeze":
            return FROZEN
        return [self.find(k).value if self.find(k) else None for k in keys]

    def keycur(self, key):
        if not key:
            return E("Invalid argument")
        if self.lock == "freeze":
            return FROZEN
        return self.find(key).cursor() if self.find(key) else E("Key not found")

    def version(self, file, at):
        for r in self.segments[file][0] if file < len(self.segments) else ():
            if r.at == at:
                return r
        return None

    def history(self, key, cursor=None):
        if self.lock == "freeze":
            return FROZEN
        if cursor is None:
            r = self.find(key)
            if not r:
                return E("Key not found")
        else:
            if len(cursor) != 8:
                return E("Invalid arguments")
            file, at = struct.unpack("<II", cursor)
            if not file and not at:
                return E("No more history")
            r = self.version(file, at)
            if not r:
                return E("Invalid arguments (index query)")
            if r.key != key:
                return E("Invalid arguments (invalid key)")
        return [None if r.parent == (0, 0) else struct.pack("<II", *r.parent), b"%d" % r.when, r.value]

    def flush(self, writable):
        if self.public or not self.password:
            return E("Flushing public namespace denied")
        if not writable:
            return READ_ONLY
        if self.lock:
            return FROZEN if self.lock == "freeze" else LOCKED
        if self.worm:
            return E("Namespace is protected by worm mode")
        self.segments = []
        self.clear()
        return OK

    def nsset(self, prop, value, single_mode):
        if prop == "mode":
            if single_mode:
                return E("This server instance is configured to use a single runtime mode")
            if self.used:
                return E("Cannot change mode of used namespace")
            if value not in ("user", "seq"):
                return E("Invalid property value (expected: user, seq)")
            self.mode = value
        elif prop in ("lock", "freeze"):
            self.lock = prop if value[0] == "1" else None
        elif self.name == "default":
            return E("Cannot update default namespace")
        elif prop == "maxsize":
            self.maxsize = int(value)
        elif prop == "password":
            self.password = b"" if value == "*" else value.encode()
        elif prop == "public":
            self.public = value[0] == "1"
        elif prop == "worm":
            self.worm = value[0] == "1"
        else:
            return E("Invalid property")
        return OK

    def info(self, root):
        entries = self.entries()
        want = {"name": self.name, "entries": len(entries), "public": yes(self.public), "worm": yes(self.worm),
                "locked": yes(self.lock), "password": yes(self.password), "data_size_bytes": self.data_size(),
                "data_limits_bytes": self.maxsize, "index_size_bytes": sum(64 + len(r.key) for r in entries),
                "mode": "sequential" if self.mode == "seq" else "userkey", "data_current_id": self.n,
                "data_current_offset": self.segments[-1][2], "data_active": f"{root}/data/{self.name}/d{self.n}",
                "index_active": f"{root}/index/{self.name}/i{self.n}", "stats_data_io_errors": 0,
                "stats_index_io_errors": 0}
        if self.mode == "seq":
            want["next_internal_id"] = "0x%08x" % int.from_bytes(struct.pack("<Q", self.ranks), "big")
        return {k: str(v) for k, v in want.items()}


def yes(v):
    return "yes" if v else "no"


class Driver:
    def __init__(self, seed, mode=None):
        self.rng = random.Random(seed)
        self.here = SHM / seed.replace("/", "-")
        self.here.mkdir()
        self.single = mode
        self.server = verify.Server(self.here, *(["--mode", mode] if mode else []))
        self.ns = {"default": Namespace("default", verify.DATASIZE)}
        self.ns["default"].mode = mode or "user"
        self.trace = []
        self.cursors, self.ever = [], []
        self.clock = 1600000000
        self.open()

    def open(self):
        self.server.start()
        self.c = self.server.client()
        self.current, self.writable = self.ns["default"], True

    def expect(self, want, *args):
        self.trace.append(args)
        got = self.c.cmd(*args)
        if type(got) is not type(want) or got != want:
            last = "; ".join(" ".join(text(a) for a in t) for t in self.trace[-6:])
            raise q.Failure(f"{' '.join(text(a) for a in args)} in {self.current.name} ({self.current.mode}) answers {got!r:.80}, "
                            f"not {want!r:.80}; step {len(self.trace)}, last: {last}")
        return got

    # --- arguments -----------------------------------------------------------------------------------

    def key(self):
        n, rng = self.current, self.rng
        kind = rng.random()
        if kind < 0.02:
            return b"x" * rng.choice((255, 256, 300))
        if kind < 0.03:
            return b""
        if n.mode == "seq":
            if n.ranks and kind < 0.9:
                return struct.pack("<Q", rng.randrange(n.ranks + 2))
            return rng.choice((b"1", b"12345678", struct.pack("<Q", 1 << 40)))
        return b"key-%d" % rng.randrange(40) if kind < 0.97 else rng.choice((b"k", b"key-", b"\x00\r\n", b"key-1\x00"))

    def value(self):
        kind = self.rng.random()
        size = 0 if kind < 0.05 else self.rng.randrange(200) if kind < 0.9 else self.rng.randrange(20000) if kind < 0.985 \
            else self.rng.randrange(300000)
        return self.rng.randbytes(size)

    # --- one step ------------------------------------------------------------------------------------

    def step(self):
        words = (("set", 30), ("delete", 9), ("read", 14), ("mget", 3), ("scan", 4), ("keycur", 4), ("history", 6),
                 ("dbsize", 2), ("info", 3), ("jump", 1.2), ("reload", 0.6), ("flush", 0.8), ("restart", 0.25), ("select", 4),
                 ("nsset", 3), ("nsnew", 0.5), ("nsdel", 0.3), ("dirty", 2), ("raw", 3), ("sync", 1))
        word = self.rng.choices([w for w, _ in words], [p for _, p in words])[0]
        getattr(self, "do_" + word)()

    def do_set(self):
        n, rng = self.current, self.rng
        key = b"" if n.mode == "seq" and rng.random() < 0.5 else self.key()
        old = n.find(key)
        value = old.value if old and rng.random() < 0.08 else self.value()
        self.clock += rng.randrange(3)
        when = self.clock if rng.random() < 0.97 else rng.choice((0, 0xffffffff, 1 << 31))
        self.expect(n.set(key, value, when, self.writable), rng.choice(("SET", "SETX", "set")), key, value, when)

    def do_delete(self):
        key = self.key()
        self.clock += 1
        want = self.current.delete(key, self.clock, self.writable)
        if not key:
            want = self.current.delete(b"\xff" * 9, self.clock, self.writable)  # with a time nothing is checked before
        self.expect(want, "DEL", key, self.clock)

    def do_read(self):
        word, key = self.rng.choice(("GET", "GET", "EXISTS", "LENGTH", "KEYTIME", "CHECK")), self.key()
        self.expect(self.current.read(word, key), word, key)

    def do_mget(self):
        keys = [self.key() for _ in range(self.rng.randrange(1, 12))]
        self.expect(self.current.mget(keys), "MGET", *keys)

    def do_scan(self):
        n, rng = self.current, self.rng
        word = rng.choice(("SCAN", "RSCAN", "SCANX"))
        if n.lock == "freeze":
            self.expect(FROZEN, word)
            return
        back = word == "RSCAN"
        want, cursor = [r for r in n.entries()], []
        if back:
            want.reverse()
        kind = rng.random()
        if kind < 0.1:
            bad = rng.choice((b"x", b"y" * 16, b"z" * 17, struct.pack("<BIIII", 3, 0, 10, 29, 99)))
            self.expect(E("Invalid key format"), word, bad)
            return
        if kind < 0.4 and want:
            at = rng.randrange(len(want))
            cursor, want = [want[at].cursor()], want[at + 1:]
        elif kind < 0.55 and self.cursors:
            name, old, r = rng.choice(self.cursors)
            if name == n.name and n.version(r.file, r.at) is r:
                at = (r.file, r.at)                 # stays the place of a record that was changed or deleted since
                cursor = [old]
                want = [w for w in want if ((w.file, w.at) < at if back else (w.file, w.at) > at)]
        got = []
        while True:
            self.trace.append((word, *cursor))
            reply = self.c.cmd(word, *cursor)
            if isinstance(reply, E):
                q.same(reply, E("No more data"), f"end of {word} in {n.name} after {len(got)} of {len(want)}")
                break
            got += reply[1]
            q.check(reply[1] and len(got) <= len(want), f"{word} in {n.name} gives {len(got)} of {len(want)}")
            q.same(reply[0], want[len(got) - 1].cursor(), f"cursor of {word} in {n.name}, step {len(self.trace)}")
            cursor = [reply[0]]
        q.same(got, [r.entry() for r in want], f"{word} in {n.name} ({n.mode}), step {len(self.trace)}")

    def do_keycur(self):
        key = self.key()
        got = self.expect(self.current.keycur(key), "KEYCUR", key)
        if type(got) is bytes:
            self.cursors = self.cursors[-20:] + [(self.current.name, got, self.current.live[key])]

    def do_history(self):
        n, rng = self.current, self.rng
        kind = rng.random()
        if kind < 0.15:
            cursor = rng.choice((bytes(8), b"short", struct.pack("<II", 9999, 29), struct.pack("<II", 0, 30)))
            key = self.key()
            self.expect(n.history(key, cursor), "HISTORY", key, cursor)
            return
        if kind < 0.3 and n.ranks:
            r = rng.choice(rng.choice([s[0] for s in n.segments if s[0]]))
            key = r.key if rng.random() < 0.7 else self.key()
            cursor = struct.pack("<II", r.file, r.at)
            self.expect(n.history(key, cursor), "HISTORY", key, cursor)
            return
        key = self.key()
        reply = self.expect(n.history(key), "HISTORY", key)
        while isinstance(reply, list) and reply[0] is not None:
            reply = self.expect(n.history(key, reply[0]), "HISTORY", key, reply[0])

    def do_dbsize(self):
        self.expect(len(self.current.entries()), "DBSIZE")

    def do_info(self):
        name = self.rng.choice(sorted(self.ns))
        self.trace.append(("NSINFO", name))
        got = self.c.info(name)
        for k, v in self.ns[name].info(self.here).items():
            q.same(got.get(k), v, f"NSINFO {name}: {k}, step {len(self.trace)}")

    def do_jump(self):
        self.current.jump()
        self.expect(OK, "NSJUMP")

    def do_reload(self):
        name = self.rng.choice(sorted(self.ns))
        self.ns[name].forget_dirty()
        self.expect(OK, "RELOAD", name)

    def do_flush(self):
        self.expect(self.current.flush(self.writable), "FLUSH")

    def do_sync(self):
        self.expect(OK, "SYNC")

    def do_dirty(self):
        n = self.current
        if self.rng.random() < 0.2:
            n.forget_dirty()
            self.expect(OK, "INDEX", "DIRTY", "RESET")
            return
        self.trace.append(("INDEX", "DIRTY"))
        got = self.c.cmd("INDEX", "DIRTY")
        q.check(got == sorted(got) and n.dirty <= set(got) <= n.dirty | n.maybe,
                f"INDEX DIRTY in {n.name} answers {got}, not {sorted(n.dirty)} (perhaps with {sorted(n.maybe)}), step "
                f"{len(self.trace)}")

    def do_raw(self):
        n, rng = self.current, self.rng
        if not n.raw or rng.random() < 0.1:
            seg = rng.randrange(len(n.segments))
            self.expect(E("EOF"), "DATA", "RAW", seg, n.segments[seg][2] + rng.choice((0, 100)))
            return
        (seg, at), (key, value, when) = rng.choice(list(n.raw.items()))
        self.trace.append(("DATA", "RAW", seg, at))
        got = self.c.cmd("DATA", "RAW", seg, at)
        q.check(isinstance(got, list) and len(got) == 6, f"DATA RAW {seg} {at} in {n.name} answers {got!r:.80}")
        crc = b"0x%08x" % zfiles.crc(value or b"")
        signed = struct.unpack("<i", struct.pack("<I", when))[0]
        q.check(got[4] in (when, signed), f"DATA RAW: time {got[4]}, not {when}")
        q.same([got[0], got[2], got[3], got[5]], [key, crc, int(value is None), value], f"DATA RAW {seg} {at} in {n.name}")

    def do_nsnew(self):
        if self.single and len(self.ns) > 5:
            return
        name = f"ns{self.rng.randrange(4)}"
        if name in self.ns:
            self.expect(E("This namespace is not available"), "NSNEW", name)
            return
        self.expect(OK, "NSNEW", name)
        self.ns[name] = Namespace(name, verify.DATASIZE)
        self.ns[name].mode = self.single or "user"
        mode = self.rng.choice(("user", "seq"))
        self.expect(self.ns[name].nsset("mode", mode, self.single), "NSSET", name, "mode", mode)

    def do_nsdel(self):
        name = self.rng.choice(sorted(self.ns))
        if name == "default":
            self.expect(E("Cannot remove default namespace"), "NSDEL", name)
        elif name == self.current.name:
            self.expect(E("Cannot remove namespace you're currently using."), "NSDEL", name)
        elif self.rng.random() < 0.5:
            self.expect(OK, "NSDEL", name)
            del self.ns[name]
            self.cursors = [x for x in self.cursors if x[0] != name]

    def do_select(self):
        name = self.rng.choice(sorted(self.ns) + ["ns0", "absent"])
        n = self.ns.get(name)
        if not n:
            self.expect(E("Namespace not found"), "SELECT", name)
            return
        kind = self.rng.random()
        if not n.password or kind < 0.7:
            self.expect(OK, "SELECT", name, *([n.password] if n.password else []))
            self.current, self.writable = n, True
        elif kind < 0.85:
            self.expect(E("Access denied"), "SELECT", name, n.password + b"x")
        elif n.public:
            self.expect(OK, "SELECT", name)
            self.current, self.writable = n, False
        else:
            self.expect(E("Namespace protected and private"), "SELECT", name)

    def do_nsset(self):
        rng = self.rng
        name = rng.choice(sorted(self.ns))
        n = self.ns[name]
        prop, value = rng.choice((
            ("maxsize", str(rng.choice((0, 0, n.data_size() + 500, max(n.data_size() - 100, 1))))), ("worm", "1"),
            ("worm", "0"), ("worm", "0"), ("lock", "1"), ("lock", "0"), ("freeze", "1"), ("freeze", "0"), ("lock", "0"),
            ("password", "secret"), ("password", "*"), ("public", "0"), ("public", "1"), ("mode", "seq"), ("mode", "odd"),
            ("colour", "red")))
        self.expect(n.nsset(prop, value, self.single), "NSSET", name, prop, value)
        if n.lock and rng.random() < 0.6:       # not for long, or nothing else would happen
            self.expect(n.nsset("lock", "0", self.single), "NSSET", name, "lock", "0")

    def do_restart(self):
        sig = self.rng.choice((signal.SIGTERM, signal.SIGKILL))
        self.trace.append(("restart", sig.name))
        self.c.close()
        q.same(self.server.stop(sig), -9 if sig == signal.SIGKILL else 128 + sig, "exit code")
        if sig == signal.SIGTERM:
            for n in self.ns.values():
                q.same(zfiles.original_reads(f"{self.here}/index/{n.name}", f"{self.here}/data/{n.name}"),
                       {r.key: r.value for r in n.entries()}, f"what the original would serve of {n.name}")
        for n in self.ns.values():
            n.lock = None
            n.forget_dirty()
        self.cursors = []
        self.open()
        self.everything()

    def everything(self):
        self.expect_names()
        for name, n in sorted(self.ns.items()):
            self.c.ok("SELECT", name, *([n.password] if n.password else []))
            problems = []
            if n.lock == "freeze":
                continue
            seen = verify.look(self.c, name, {}, problems) if not n.password else None
            q.check(not problems, f"{problems[:3]}")
            if seen is not None:
                q.same(seen, {r.key: r.value for r in n.entries()}, f"all of {name}, step {len(self.trace)}")
        self.c.ok("SELECT", "default")
        self.current, self.writable = self.ns["default"], True

    def expect_names(self):
        q.same(sorted(n.decode() for n in self.c.ok("NSLIST")), sorted(self.ns), "NSLIST")

    def close(self):
        self.c.close()
        self.server.stop(signal.SIGKILL)
        shutil.rmtree(self.here)


def text(a):
    a = a if isinstance(a, str) else str(a) if isinstance(a, int) else repr(a)[1:]
    return a if len(a) < 40 else a[:30] + f"...({len(a)})"


def many(mode):
    start = time.monotonic()
    for n in range(A.seeds):
        seed = f"{A.seed}/{mode or 'mixed'}/{n}"
        d = Driver(seed, mode)
        try:
            for _ in range(A.steps):
                d.step()
            d.do_restart()
        except q.Failure as e:
            raise q.Failure(f"seed {seed}: {e}") from None
        except zfiles.Bad as e:
            raise q.Failure(f"seed {seed}: the original would stumble after step {len(d.trace)}: {e}") from None
        finally:
            d.close()
    print(f"# {mode or 'mixed'}: {A.seeds} x {A.steps} steps, {time.monotonic() - start:.1f} s, seed {A.seed}", flush=True)


def test_mixed_modes():
    many(None)


def test_user_mode():
    many("user")


def test_sequential_mode():
    many("seq")


SHM = record.memory_dir("model")

if __name__ == "__main__":
    print(f"# seed {A.seed}", flush=True)
    try:
        q.main()
    finally:
        shutil.rmtree(SHM, ignore_errors=True)

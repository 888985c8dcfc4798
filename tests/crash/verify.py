"""verify - start zdb on files, look at everything it serves, compare with what is allowed, use it, look again."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
import libqsfs as q  # noqa: E402
import zfiles  # noqa: E402

DATASIZE = 524288
NO_MORE = "No more data"


class Refused(Exception):
    """The daemon ended instead of serving; its last lines are the text."""


class Server:
    """A zdb on a unix socket in `dir`, on data/ and index/ there; started and stopped often."""

    def __init__(self, dir, *args, env=None):
        self.dir, self.env = str(dir), q.environment(env)
        self.socket = os.path.join(self.dir, "s")
        self.log = os.path.join(self.dir, "log")
        self.argv = [str(q.BIN / "zdb"), "--data", f"{self.dir}/data", "--index", f"{self.dir}/index", "--socket",
                     self.socket, "--datasize", str(DATASIZE), *map(str, args)]
        self.p = None

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(self.log, "ab") as log:
            self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        deadline = time.monotonic() + 30 * q.SLOWDOWN
        pause = 0.001
        while True:
            if self.p.poll() is not None:
                raise Refused(f"exit {self.p.returncode}: {self.tail()}")
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(self.socket)
                    return self
                except OSError:
                    pass
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise Refused(f"does not listen after {30 * q.SLOWDOWN} s: {self.tail()}")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.02)

    def client(self, ns=None):
        c = q.Redis(path=self.socket)
        if ns:
            c.ok("SELECT", ns)
        return c

    def stop(self, sig=signal.SIGTERM):
        """Exit code.  The daemon must end by the signal or orderly; a crash shows here."""
        if self.p is None:
            return 0
        if self.p.poll() is None:
            self.p.send_signal(sig)
        try:
            code = self.p.wait(30 * q.SLOWDOWN)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            code = "none, it had to be killed"
        self.p = None
        return code

    def tail(self, n=400):
        with open(self.log, errors="replace") as f:
            return " | ".join(f.read()[-n:].splitlines())


# --- looking ---------------------------------------------------------------------------------------

def scan(c, word, problems, ns):
    """[(key, length, timestamp)]"""
    out, cursor, calls = [], [], 0
    while True:
        reply = c.cmd(word, *cursor)
        if isinstance(reply, q.Error):
            if reply != NO_MORE:
                problems.append(f"{ns}: {word} answers -{reply}")
            return out
        out += [tuple(e) for e in reply[1]]
        cursor = [reply[0]]
        calls += 1
        if calls > 100000:
            problems.append(f"{ns}: {word} does not end")
            return out


def look(c, ns, keys, problems):
    """{key: value} of everything that is served in the namespace; whatever does not agree goes into problems."""
    if c.info(ns)["password"] == "yes":
        c.ok("NSSET", ns, "password", "*")
    c.ok("SELECT", ns)
    forward, backward = scan(c, "SCAN", problems, ns), scan(c, "RSCAN", problems, ns)
    if backward != forward[::-1]:
        problems.append(f"{ns}: RSCAN ({len(backward)}) is not SCAN ({len(forward)}) backwards")
    listed = {e[0]: e for e in forward}
    if len(listed) != len(forward):
        problems.append(f"{ns}: SCAN lists a key twice")
    asked = sorted(set(keys) | set(listed))
    replies = c.pipeline([(word, key) for key in asked for word in ("GET", "CHECK", "EXISTS", "KEYTIME")])
    seen = {}
    for i, key in enumerate(asked):
        value, check, exists, when = replies[4 * i:4 * i + 4]
        if isinstance(value, q.Error):
            problems.append(f"{ns}: GET {short(key)} answers -{value}")
        if value is not None:
            seen[key] = value
        there = int(value is not None)
        if exists != there or (key in listed) != bool(there):
            problems.append(f"{ns}: {short(key)}: GET says {there}, EXISTS {exists}, SCAN {int(key in listed)}")
        elif there and (check != 1 or listed[key][1] != len(value) or when != listed[key][2] & 0xffffffff):
            problems.append(f"{ns}: {short(key)}: CHECK {check}, length {len(value)}, time {when}, SCAN {listed[key][1:]}")
    size, info = c.cmd("DBSIZE"), c.info(ns)
    if not size == len(listed) == int(info["entries"]):
        problems.append(f"{ns}: DBSIZE {size}, NSINFO {info['entries']}, SCAN {len(listed)}")
    if int(info["data_size_bytes"]) != sum(e[1] for e in forward):
        problems.append(f"{ns}: NSINFO data_size_bytes {info['data_size_bytes']}, SCAN {sum(e[1] for e in forward)}")
    return seen


def short(key):
    return key.hex() if len(key) == 8 and key[7] == 0 else repr(key[:20])[2:-1]


def histories(c, ns, allowed, seen, rng, problems):
    """Walk the versions of some keys: each was written to this key, newest first; complete when nothing was lost."""
    c.ok("SELECT", ns)
    cleaned = "policy" in c.info(ns)    # versions of the past may be gone
    keys = sorted(k for k in allowed if isinstance(seen.get(k), bytes) and seen[k] in allowed[k].versions())
    for key in rng.sample(keys, min(len(keys), 12)):
        a, cursor, at, steps = allowed[key], [], len(allowed[key].ops), 0
        first = True
        lost = seen[key] != a.ops[a.base].value if a.base >= 0 else True
        while steps < 1000:
            reply = c.cmd("HISTORY", key, *cursor)
            steps += 1
            if isinstance(reply, q.Error):
                if reply != "No more history" and (first or not (lost or cleaned)):
                    problems.append(f"{ns}: HISTORY {short(key)} answers -{reply} at version {steps}")
                break
            value = reply[2]
            if first and value != seen[key]:
                problems.append(f"{ns}: HISTORY {short(key)} begins with another value than GET")
                break
            older = [i for i in range(min(at + cleaned, len(a.ops))) if a.ops[i].value == value]    # cleaned: moved, it is there twice
            if not older:
                problems.append(f"{ns}: HISTORY {short(key)}: version {steps} was never written, or is not older")
                break
            at = older[-1]
            first = False
            if reply[0] is None:
                break
            cursor = [reply[0]]
        else:
            problems.append(f"{ns}: HISTORY {short(key)} does not end")


def compare(ns, allowed, orphans, seen, problems):
    loose = [op.value for op in orphans]
    for key, a in allowed.items():
        value = seen.get(key)
        if isinstance(value, q.Error):
            continue
        if value in a.values():
            continue
        if None in a.values() and value in loose:   # an id that was free
            loose.remove(value)
            continue
        kind = "foreign"
        if value is None:
            kind = "absent"
        elif value in a.versions():
            kind = "too old"
        want = [len(v) if v is not None else None for v in a.values()]
        problems.append(f"{ns}: {short(key)} is {kind} ({len(value) if value is not None else None} bytes); allowed: "
                        f"{want[:4]} bytes, operations {a.base}.. of {len(a.ops)}")
    for key, value in seen.items():
        if key not in allowed:
            if value in loose:
                loose.remove(value)
            else:
                problems.append(f"{ns}: {short(key)} was never written, or not with these {len(value)} bytes")


def use(c, ns, seen, rng, problems):
    """Read-write service: insert, update, delete; returns what has to be seen afterwards."""
    c.ok("SELECT", ns)
    seen = dict(seen)

    def want(reply, what, *args):
        if reply != what:
            problems.append(f"{ns}: after the start {args[0]} {short(args[1])} answers {reply!r:.60}")

    seq = c.info(ns)["mode"] == "sequential"
    for i in range(3):
        value = b"after %d " % i + rng.randbytes(rng.randrange(300))
        key = b"" if seq else b"after-%d" % i
        reply = c.cmd("SET", key, value)
        if not isinstance(reply, bytes) or isinstance(reply, q.Error) or (seq and (len(reply) != 8 or reply in seen)):
            problems.append(f"{ns}: after the start SET answers {reply!r:.60}")
            continue
        seen[reply] = value
    live = sorted(k for k, v in seen.items() if isinstance(v, bytes))
    for key in rng.sample(live, min(4, len(live))):
        value = b"changed " + rng.randbytes(rng.randrange(300))
        want(c.cmd("SET", key, value), key, "SET", key)
        seen[key] = value
    for key in rng.sample(live, min(3, len(live))):
        want(c.cmd("DEL", key), "OK", "DEL", key)
        del seen[key]
    for key in live:
        if rng.random() < 0.2:
            want(c.cmd("GET", key), seen.get(key), "GET", key)
    return seen


def bring_back(here, ns):
    """What was evicted and not asked for."""
    remote = f"{here}/remote/{ns}"
    for name in os.listdir(remote) if os.path.isdir(remote) else ():
        if not os.path.exists(f"{here}/data/{ns}/{name}"):
            shutil.copy(f"{remote}/{name}", f"{here}/data/{ns}/{name}")


def state(server, allowed, orphans, rng, kill=None, deep=True):
    """All problems of the files under server.dir, as texts, and what was seen at first."""
    problems, first = [], {}
    try:
        server.start()
    except Refused as e:
        return [f"zdb refuses: {e}"], {}
    try:
        with server.client() as c:
            have = {n.decode(errors="surrogateescape") for n in c.ok("NSLIST")}
            after = {}
            for ns in allowed:
                if ns not in have:
                    first[ns] = {}
                    compare(ns, allowed[ns], [], {}, problems)
                    continue
                first[ns] = look(c, ns, allowed[ns], problems)
                compare(ns, allowed[ns], orphans.get(ns, []), first[ns], problems)
                histories(c, ns, allowed[ns], first[ns], rng, problems)
            for ns in first:
                if ns in have:
                    after[ns] = use(c, ns, first[ns], rng, problems) if deep else first[ns]
        sig = kill or rng.choice((signal.SIGKILL, signal.SIGTERM))
        code = server.stop(sig)
        if code != (-signal.SIGKILL if sig == signal.SIGKILL else 128 + signal.SIGTERM):
            problems.append(f"exit {code} after signal {int(sig)}: {server.tail()}")
        if not deep:
            return problems, first
        server.start()
        with server.client() as c:
            for ns, want in after.items():
                again = look(c, ns, want, problems)
                for key in sorted(set(again) | set(want)):
                    if again.get(key) != want.get(key):
                        problems.append(f"{ns}: {short(key)} differs after the second start "
                                        f"({again.get(key)!r:.40}, not {want.get(key)!r:.40})")
        code = server.stop(signal.SIGTERM)
        if code != 128 + signal.SIGTERM:
            problems.append(f"exit {code} after SIGTERM: {server.tail()}")
        for ns, want in after.items():
            bring_back(server.dir, ns)
            try:
                got = zfiles.original_reads(f"{server.dir}/index/{ns}", f"{server.dir}/data/{ns}")
                if got != want:
                    problems.append(f"{ns}: the original would serve other values from these files: "
                                    f"{[short(k) for k in set(got) | set(want) if got.get(k) != want.get(k)][:5]}")
            except zfiles.Bad as e:
                problems.append(f"{ns}: the original would stumble: {e}")
    except Refused as e:
        problems.append(f"zdb refuses at the second start: {e}")
    except (q.Failure, ConnectionError, OSError) as e:
        code = server.p.poll() if server.p else None
        problems.append(f"{type(e).__name__}: {e} (exit {code}: {server.tail()})")
    finally:
        server.stop(signal.SIGKILL)
    return problems, first

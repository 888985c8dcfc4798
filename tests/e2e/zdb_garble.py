#!/usr/bin/env python3
# limit: 900
"""zdb on damaged files: one byte changed, or a cut, at every offset of small index, data and namespace files, or a file
gone.  No crash; never a value that was not written to that key; everything that was not hit is still served, which is:

    byte of an index record    every key but the one whose current state that record is
    byte of a data record      every key but the one whose current value it holds, or whose deletion it records
    index file cut or gone     every key that has a value: its data record is whole
    data file cut or gone      every key whose data record lies before the cut
    byte of a header           every key; a header that says another version, number or mode may be refused by name

Keys that were hit answer with any of their own former values, nil, or an error, until they are written again; a key without a
value may answer with an error when the key of another one was hit and became this one, and come back with a former value
only when the record that says so was hit.  Afterwards the namespace is read-write, and a restart changes nothing.

    zdb_garble.py [--seed N] [--only NAME] [TEST...]      QSFS_LONG=1: every bit, all sizes"""
import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import parallel  # noqa: E402
import record  # noqa: E402
import verify  # noqa: E402
import zfiles  # noqa: E402
from verify import q  # noqa: E402

LONG = os.environ.get("QSFS_LONG") == "1"
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=int(os.environ.get("QSFS_SEED", "1")))
parser.add_argument("--only")
parser.add_argument("tests", nargs="*")
A = parser.parse_args()
sys.argv[1:] = A.tests
SHM = record.memory_dir("garble")
BATCH = 150


class Volume:
    """A small volume made by zdb itself, and what was ever written to it."""

    def __init__(self, mode, segments):
        self.name, self.mode = f"{mode[0]}{segments}", mode
        self.ever, self.now = {}, {}
        here = SHM / f"make-{self.name}"
        here.mkdir()
        server = verify.Server(here).start()
        with server.client() as c:
            c.ok("NSNEW", "v")
            c.ok("NSSET", "v", "mode", mode)
            c.ok("SELECT", "v")
            rng = random.Random(f"{A.seed}/{self.name}")
            self.fill(c, rng, segments)
            now = verify.look(c, "v", self.ever, problems := [])
            q.check(now == self.now and not problems, f"the volume is wrong before it is damaged: {problems}")
        server.stop()
        self.files = {}
        for d in ("index", "data"):
            for p in (here / d / "v").iterdir():
                self.files[p.name] = record.volume.Content.read(p)
        shutil.rmtree(here)
        self.learn(segments)

    def learn(self, segments):
        """What the files have."""
        self.where = {}         # key: its current index record, or the deleted one
        self.records, self.data = {}, {}
        for n in range(segments):
            self.records[n] = zfiles.index_records(self.files[f"i{n}"], n)
            self.data[n] = zfiles.data_records(self.files[f"d{n}"], n)
        first = 0
        for n in range(segments):
            for rank, r in enumerate(self.records[n]):
                if self.mode == "user" or int.from_bytes(r.key, "little") == first + rank:
                    self.where[r.key] = r
            first += len(self.records[n])

    def set(self, c, key, value):
        key = c.ok("SET", key, value)
        self.ever.setdefault(key, set()).add(value)
        self.now[key] = value
        return key

    def fill(self, c, rng, segments):
        names = [b"a", b"k1", b"k2", b"k3", b"name-of-some-length", b"dir/file", b"k4", b"\x00\xff", b"k5"]
        keys = []
        for n in range(segments):
            for i in range(len(names) if n == 0 else 3):
                name = b"" if self.mode == "seq" else names[i] if n == 0 else b"later-%d-%d" % (n, i)
                value = b"" if i == 5 else b"%d.%d " % (n, i) + rng.randbytes(rng.randrange(24))
                keys.append(self.set(c, name, value))
            for key in rng.sample(sorted(self.now), 4):
                self.set(c, key, b"new %d " % n + rng.randbytes(rng.randrange(24)))
            for key in rng.sample(sorted(self.now), 2):
                c.ok("DEL", key)
                del self.now[key]
            if n + 1 < segments:
                c.ok("NSJUMP")

    def live_data(self, key):
        """(file, record) of the current value."""
        r = self.where[key]
        n = r.dataid if self.mode == "seq" else r.file
        return n, next(d for d in self.data[n] if d.at == r.offset)

    def deletion(self, key):
        """(file, record) of the last deletion of key."""
        return [(n, d) for n in self.data for d in self.data[n] if d.key == key and d.flags & 1][-1]

    def offsets(self, f, rng):
        return range(len(self.files[f]))

    def damages(self, rng):
        """(name, file, offset, kind) of everything to try; kind: a value to xor, "cut" or "gone"."""
        for f in sorted(self.files):
            if f == "zdb-namespace":
                continue
            if f == "zdb-watermark":
                yield from self.damages_of_the_watermark(f, rng)
                continue
            for at in self.offsets(f, rng):
                for x in sorted({*([1 << b for b in range(8)] + [0xff] if LONG else (1 << rng.randrange(8), rng.randrange(1, 256)))}):
                    yield f"{self.name}-{f}-{at}-x{x:02x}", f, at, x
                yield f"{self.name}-{f}-{at}-cut", f, at, "cut"
            yield f"{self.name}-{f}-0-gone", f, 0, "gone"

    def damages_of_the_watermark(self, f, rng):
        """Whatever it says is believed only when it fits."""
        for at in (*range(80), *range(4096, 4096 + 80)):
            yield f"{self.name}-{f.replace('-', '_')}-{at}-x01", f, at, 1 << rng.randrange(8)
            if at % 16 == 0:
                yield f"{self.name}-{f.replace('-', '_')}-{at}-cut", f, at, "cut"
        yield f"{self.name}-{f.replace('-', '_')}-0-gone", f, 0, "gone"

    def hit(self, f, at, kind):
        """(keys that may answer otherwise, the header may be refused)"""
        if f == "zdb-watermark":
            return set(), False
        n, index = int(f[1:]), f[0] == "i"
        out = set()
        if index:
            if kind in ("cut", "gone"):
                out = {key for key, r in self.where.items() if key not in self.now and r.file == n and r.end > at}
                return out, False
            for key, r in self.where.items():
                if r.file == n and r.at <= at < r.end:
                    out.add(key)
            return out, at < 8 or 24 <= at < zfiles.INDEX_HEADER
        for key in self.ever:
            file, r = self.live_data(key) if key in self.now else self.deletion(key)
            if file == n and (r.at <= at < r.end if isinstance(kind, int) else r.end > at):
                out.add(key)
        return out, 4 <= at < 8 and isinstance(kind, int)


class Golden(Volume):
    """A namespace that the original wrote.  Of large files all headers, and some of the values."""

    def __init__(self, case, ns):
        here = q.GOLDEN / "zdb" / case
        self.files = {p.name: record.volume.Content(p.read_bytes()) for d in ("index", "data")
                      for p in (here / d / ns).iterdir() if p.name[0] in "id"}
        segments = sum(f[0] == "i" for f in self.files)
        self.mode = "seq" if self.files["i0"][zfiles.INDEX_HEADER - 1] else "user"
        self.name = f"{case}/{ns}".replace("-", "_").replace("/", "_")
        self.learn(segments)
        self.now = zfiles.original_reads(here / "index" / ns, here / "data" / ns)
        self.ever = {}
        for n, records in self.data.items():
            for r in records:
                if not r.flags & 1:
                    self.ever.setdefault(r.key, set()).add(bytes(self.files[f"d{n}"][r.payload_at:r.end]))

    def offsets(self, f, rng):
        raw = self.files[f]
        if self.name == "namespaces_seqns" and f == "i0":   # two inserts: as good as two user keys, but for the mode byte
            return set(range(len(raw))) - {zfiles.INDEX_HEADER - 1}
        if len(raw) < 2000:
            return range(len(raw))
        out = set(range(zfiles.DATA_HEADER)) | set(rng.sample(range(len(raw)), 20))
        for r in self.data[int(f[1:])]:
            out |= set(range(r.at, r.payload_at))
        return sorted(rng.sample(sorted(out), min(len(out), 2000 if LONG else 60)))


def damaged(raw, at, kind):
    if kind == "cut":
        return raw[:at]
    raw = bytearray(raw)
    raw[at] ^= kind
    return bytes(raw)


# --- one batch: many damaged copies, each a namespace of one server --------------------------------------

def has_watermark(name):
    """Half of the copies have none, as files of the original."""
    return zlib.crc32(name.encode()) % 2 == 0


def write_batch(here, batch, volumes):
    (here / "index").mkdir(parents=True)
    (here / "data").mkdir()
    for name, f, at, kind in batch:
        v = volumes[name.split("-")[0]]
        for d, letter in (("index", "iz"), ("data", "d")):
            (here / d / name).mkdir(mode=0o700)
            for other, raw in v.files.items():
                if other == "zdb-watermark" and f != other and not has_watermark(name):
                    continue
                if other[0] in letter and not (other == f and kind == "gone"):
                    path = here / d / name / other
                    path.write_bytes(damaged(raw, at, kind) if other == f else raw)


def ask(c, known, hit):
    """{key: answer of GET}, and what does not agree.  CHECK goes by the sum in the data record, which may have been hit."""
    problems = []
    forward = [e[0] for e in verify.scan(c, "SCAN", problems, "")]
    backward = [e[0] for e in verify.scan(c, "RSCAN", problems, "")]
    asked = sorted(set(known) | set(forward))
    replies = c.pipeline([(w, k) for k in asked for w in ("GET", "EXISTS", "CHECK")] + [("DBSIZE",)])
    values = {k: replies[3 * i] for i, k in enumerate(asked)}
    if backward != forward[::-1]:
        problems.append(f"SCAN {[verify.short(k) for k in forward]}, RSCAN {[verify.short(k) for k in backward]}")
    if replies[-1] != len(forward):
        problems.append(f"DBSIZE {replies[-1]}, SCAN {len(forward)}")
    for i, k in enumerate(asked):
        if replies[3 * i + 1] != int(k in forward):
            problems.append(f"{verify.short(k)}: EXISTS {replies[3 * i + 1]}, SCAN {int(k in forward)}")
        if type(values[k]) is bytes and replies[3 * i + 2] != 1 and k not in hit:
            problems.append(f"{verify.short(k)}: GET gives a value, CHECK {replies[3 * i + 2]}")
    return values, problems


def error(v):
    return isinstance(v, q.Error)


def judge(v, hit, values):
    out = []
    for key, value in values.items():
        was = v.now.get(key)
        if key in hit:
            if value is not None and not error(value) and value not in v.ever[key]:
                out.append(f"{verify.short(key)}: a value that was never written: {value!r:.60}")
        elif key in v.ever:
            if value != was and not (was is None and error(value)):
                out.append(f"{verify.short(key)} was not hit and answers {value!r:.60}, not {was!r:.60}")
        elif value is not None and not error(value):
            out.append(f"{verify.short(key)} never existed and answers {value!r:.60}")
    return out


def history(c, v, keys, problems):
    for key in keys:
        cursor, steps = [], 0
        while steps < 20:
            reply = c.cmd("HISTORY", key, *cursor)
            steps += 1
            if error(reply):
                break
            if reply[2] not in v.ever.get(key, ()):
                problems.append(f"HISTORY {verify.short(key)}: {reply[2]!r:.60} was never written to it")
            if reply[0] is None:
                break
            cursor = [reply[0]]
        else:
            problems.append(f"HISTORY {verify.short(key)} does not end")


def use(c, v, values, problems):
    """The namespace takes writes; what has to be there afterwards."""
    after = dict(values)
    reply = c.cmd("SET", b"" if v.mode == "seq" else b"afterwards", b"written afterwards")
    if type(reply) is not bytes or (v.mode == "seq" and reply in v.now):
        problems.append(f"SET afterwards answers {reply!r:.60}")
    else:
        after[reply] = b"written afterwards"
    whole = [k for k in sorted(v.now) if type(values.get(k)) is bytes]
    for key in whole[:2]:
        if c.cmd("SET", key, b"changed afterwards") != key:
            problems.append(f"SET {verify.short(key)} afterwards is refused")
        after[key] = b"changed afterwards"
    if len(whole) > 2:
        if c.cmd("DEL", whole[2]) != "OK":
            problems.append(f"DEL {verify.short(whole[2])} afterwards is refused")
        after[whole[2]] = None
    return after


def refused(server, name, f):
    """The log has a line that names the file."""
    with open(server.log, errors="replace") as log:
        return any(f"/{name}/{f}" in line for line in log)


def run_batch(here, batch, volumes):
    """[(name, problems)].  A server that dies or does not start is tried again with each half of the batch."""
    out, after = [], {}
    here.mkdir()
    write_batch(here, batch, volumes)
    server = verify.Server(here)
    try:
        server.start()
        with server.client() as c:
            have = {n.decode(errors="replace") for n in c.ok("NSLIST")}
            for name, f, at, kind in batch:
                v = volumes[name.split("-")[0]]
                if name not in have:
                    may = v.hit(f, at, kind)[1]
                    if not may or not refused(server, name, f):
                        out.append((name, [f"refused{'' if may else ' needlessly'}: {line_about(server, name)}"]))
                    continue
                c.ok("SELECT", name)
                hit = v.hit(f, at, kind)[0]
                values, problems = ask(c, v.ever, hit)
                problems += judge(v, hit, values)
                history(c, v, sorted(v.ever)[:4], problems)
                for seg in range(2):
                    c.cmd("DATA", "RAW", seg, at)
                after[name] = hit, use(c, v, values, problems)
                if problems:
                    out.append((name, problems + [line_about(server, name)]))
        code = server.stop(signal.SIGTERM)
        q.same(code, 128 + signal.SIGTERM, "exit code")
        bad = {name for name, _ in out}
        server.start()
        with server.client() as c:
            for name, (hit, want) in after.items():
                c.ok("SELECT", name)
                values, problems = ask(c, want, hit)
                for key in sorted(want):
                    if values[key] != want[key] and not (error(want[key]) and type(values[key]) is not bytes):
                        problems.append(f"{verify.short(key)} changes with a second start: {want[key]!r:.60}, "
                                        f"{values[key]!r:.60}")
                if problems and name not in bad:
                    out.append((name, problems))
        q.same(server.stop(signal.SIGTERM), 128 + signal.SIGTERM, "exit code after the second start")
    except (verify.Refused, q.Failure, OSError) as e:
        code = server.stop(signal.SIGKILL)
        if len(batch) == 1:
            out = [(batch[0][0], [f"{e} (exit {code}): {server.tail()}"])]
        else:
            shutil.rmtree(here)
            half = len(batch) // 2
            return run_batch(here, batch[:half], volumes) + run_batch(here, batch[half:], volumes)
    finally:
        server.stop(signal.SIGKILL)
        shutil.rmtree(here, ignore_errors=True)
    return out


def line_about(server, name):
    with open(server.log, errors="replace") as log:
        lines = [line.strip()[-160:] for line in log if f"/{name}/" in line or f" {name}" in line]
    return " | ".join(lines[:3]) or "nothing in the log"


def every_damage(volumes):
    by_name = {v.name: v for v in volumes}
    rng = random.Random(A.seed)
    todo = [d for v in volumes for d in v.damages(rng)]
    if A.only:
        todo = [d for d in todo if re.fullmatch(A.only, d[0])]
    rng.shuffle(todo)
    if not A.only:
        todo = todo[:len(todo) // q.SLOWDOWN]   # under sanitizers a share of them, drawn by the seed
    batches = [(i, todo[at:at + BATCH]) for i, at in enumerate(range(0, len(todo), BATCH))]
    start, bad = time.monotonic(), []
    for result in parallel.results(lambda task: run_batch(SHM / f"batch-{task[0]}", task[1], by_name), batches):
        for name, problems in result:
            bad.append(f"{name}: {problems[0]}")
            if len(bad) <= 25:
                print(f"{name}: " + "\n    ".join(p[:300] for p in problems[:6]), file=sys.stderr, flush=True)
    print(f"# {len(todo)} damages, {time.monotonic() - start:.1f} s, seed {A.seed}", flush=True)
    if bad:
        raise q.Failure(f"{len(bad)} of {len(todo)} damages, seed {A.seed}: {bad[0]}")


# --- the tests ----------------------------------------------------------------------------------------------

def test_user_mode():
    every_damage([Volume("user", n) for n in ((1, 2, 3) if LONG else (1, 3))])


def test_sequential_mode():
    every_damage([Volume("seq", n) for n in ((1, 2, 3) if LONG else (1, 3))])


def test_files_of_the_original():
    cases = [("user-segments", "default"), ("seq-segments", "default"), ("seq-basic", "default"), ("user-basic", "default")]
    every_damage([Golden(*c) for c in cases + [("namespaces", ns) for ns in ("default", "limited", "pub", "seqns", "worm")]])


class Small:
    """A namespace v of one server, whose files are changed between two starts."""

    def __init__(self, mode):
        self.dir = SHM / "small"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.server = verify.Server(self.dir).start()
        with self.server.client() as c:
            c.ok("NSNEW", "v")
            c.ok("NSSET", "v", "mode", mode)

    def path(self, f):
        return self.dir / ("index" if f[0] == "i" else "data") / "v" / f

    def others(self):
        """Names beside the files of the namespace."""
        return sorted(p.name for d in ("index", "data") for p in (self.dir / d / "v").iterdir()
                      if not re.fullmatch("[id][0-9]+|zdb-namespace|zdb-watermark", p.name))

    def records(self):
        return zfiles.data_records(self.path("d0").read_bytes(), 0)

    def change(self, f, at, x):
        raw = bytearray(self.path(f).read_bytes())
        raw[at] ^= x
        with open(self.path(f), "r+b") as out:
            out.write(raw)

    def answers(self, keys):
        """After a start, and the same after another one."""
        first = None
        for _ in range(2):
            self.server.start()
            with self.server.client("v") as c:
                now = {k: c.cmd("GET", k) for k in keys}
            q.same(self.server.stop(), 128 + signal.SIGTERM, "exit code")
            q.check(first is None or now == first, f"the second start answers {now}, the first one {first}")
            first = now
        return first

    def end(self):
        self.server.stop(signal.SIGKILL)
        shutil.rmtree(self.dir)


def test_deletion_record_that_covers_the_next():
    """Its key gets longer by one bit: the record behind it, in which it then ends, is still served and not written over."""
    for mark in (False, True):
        v = Small("seq")
        with v.server.client("v") as c:
            keys = [c.ok("SET", "", f"value {i}") for i in range(3)]
            c.ok("DEL", keys[0])
            keys.append(c.ok("SET", "", "behind"))
        v.server.stop()
        v.change("d0", next(r.at for r in v.records() if r.flags & 1), 0x10)
        if not mark:
            (v.dir / "index/v/zdb-watermark").unlink()
        raw = v.path("d0").read_bytes()
        q.same(v.answers(keys), {keys[0]: None, keys[1]: b"value 1", keys[2]: b"value 2", keys[3]: b"behind"}, "answers")
        q.same(v.path("d0").read_bytes(), raw, "the data file")
        v.end()


def test_a_synced_deletion_that_ends_in_another_sector():
    """Its id ends in zeros, which is also what a sector that never reached the disk has; the flag in the index may still wait."""
    for inside in range(1, 8):      # bytes of the id before the end of the sector
        v = Small("seq")
        mark = v.dir / "index/v/zdb-watermark"
        before = mark.read_bytes()
        with v.server.client("v") as c:
            key = c.ok("SET", "", "x" * (1024 - 28 - 26 - (26 + 7) - (18 + inside)))
            c.ok("SYNC")
            slot = v.path("i0").read_bytes()[29:29 + 42]
            c.ok("SET", key, "updated")
            c.ok("DEL", key)
            c.ok("SYNC")
        v.server.stop(signal.SIGKILL)
        q.same(v.records()[-1].payload_at - 8 + inside, 1024, "where the sector ends")
        with open(v.path("i0"), "r+b") as f:
            f.seek(29)
            f.write(slot)
        mark.write_bytes(before)
        q.same(v.answers([key]), {key: None}, f"answer, {inside} bytes")
        v.end()


def test_what_a_start_cuts_is_kept():
    """Behind the mark the first record that is not whole ends history; what comes after it is kept, each time under another
    name.  One torn record and zeros are not."""
    for mode in ("user", "seq"):
        v = Small(mode)
        kept = []
        for n in range(3):
            with v.server.client("v") as c:
                first = c.ok("SET", "" if mode == "seq" else "a", f"before {n}")
                c.ok("SYNC")
                new = [c.ok("SET", "" if mode == "seq" else f"n{i}", f"{n} value {i}") for i in range(3)]
            v.server.stop(signal.SIGKILL)
            records = v.records()[-3:]
            v.change("d0", records[0].payload_at, 0x40)
            raw = v.path("d0").read_bytes()
            kept.append((f"d0.at-{records[0].at}.lost", raw[records[0].at:]))
            q.same(v.answers([first, *new]), {first: b"before %d" % n, new[0]: None, new[1]: None, new[2]: None}, "answers")
            q.same(v.path("d0").read_bytes(), raw[:records[0].at], "what is left")
            for name, bytes_of_it in kept:
                q.same(v.path(name).read_bytes(), bytes_of_it, name)
            v.server.start()
        q.check(all(any(o.startswith(f"d0.at-{r[0].split('-')[1]}") for o in v.others()) for r in kept), str(v.others()))
        # the same place twice
        with v.server.client("v") as c:
            c.ok("SYNC")
        at = len(v.path("d0").read_bytes())
        for n in range(2):
            with v.server.client("v") as c:
                for i in range(2):
                    c.ok("SET", "" if mode == "seq" else f"n{i}", f"again {n}")
            v.server.stop(signal.SIGKILL)
            v.change("d0", v.records()[-2].payload_at, 0x40)
            v.answers([])
            v.server.start()
        q.check({f"d0.at-{at}.lost", f"d0.at-{at}.1.lost"} <= set(v.others()), str(v.others()))
        # a torn record; zeros
        others = v.others()
        for tail in (b"torn", b"zeros"):
            with v.server.client("v") as c:
                c.ok("SYNC")
                c.ok("SET", "" if mode == "seq" else "torn", "a value that is torn")
            v.server.stop(signal.SIGKILL)
            raw = v.path("d0").read_bytes()
            with open(v.path("d0"), "r+b") as out:
                if tail == b"torn":
                    out.truncate(len(raw) - 3)
                else:
                    out.seek(v.records()[-1].at)
                    out.write(bytes(5000))
            v.answers([])
            q.same(v.others(), others, f"files beside, {tail}")
            v.server.start()
        v.end()


def test_namespace_descriptor():
    """Every byte changed, every cut: served or refused by name; a cut never opens what had a password."""
    here = SHM / "ns"
    here.mkdir()
    server = verify.Server(here).start()
    with server.client() as c:
        c.ok("NSNEW", "plain")
        c.ok("NSNEW", "secret")
        for ns in ("plain", "secret"):
            c.ok("SELECT", ns)
            c.ok("SET", "key", f"value of {ns}")
        c.ok("SELECT", "default")
        c.ok("NSSET", "secret", "password", "hunter2")
        c.ok("NSSET", "secret", "public", "0")
    server.stop()
    raw = {ns: (here / "index" / ns / "zdb-namespace").read_bytes() for ns in ("plain", "secret")}
    cases = {}
    rng = random.Random(A.seed)
    for ns, content in raw.items():
        for at in range(len(content)):
            cases[f"{ns}-{at}-cut"] = (ns, content[:at])
            for x in [1 << b for b in range(8)] if LONG else (1 << rng.randrange(8), 0xff):
                cases[f"{ns}-{at}-x{x:02x}"] = (ns, damaged(content, at, x))
    for name, (ns, content) in cases.items():
        for d in ("index", "data"):
            shutil.copytree(here / d / ns, here / d / name)
        (here / "index" / name / "zdb-namespace").write_bytes(content)
    bad = []
    server.start()
    with server.client() as c:
        have = {n.decode(errors="replace") for n in c.ok("NSLIST")}
        for name, (ns, content) in cases.items():
            c.ok("SELECT", "default")
            cut = name.endswith("cut")
            if name not in have:
                if not refused(server, name, "zdb-namespace"):
                    bad.append(f"{name}: left out, and the log does not say why")
                continue
            reply = c.cmd("SELECT", name)
            if ns == "secret" and cut and reply == "OK":
                bad.append(f"{name}: open without its password")
            if reply != "OK":
                reply = c.cmd("SELECT", name, "hunter2")
            if reply == "OK" and c.cmd("GET", "key") != b"value of %s" % ns.encode():
                bad.append(f"{name}: GET answers {c.cmd('GET', 'key')!r}")
            if ns == "plain" and reply != "OK" and not name[6:].startswith(("4-", "5-")):
                bad.append(f"{name}: SELECT answers {reply!r}")     # all but the lengths
    q.same(server.stop(), 128 + signal.SIGTERM, "exit code")
    print(f"# {len(cases)} descriptors", flush=True)
    q.check(not bad, f"{len(bad)} of {len(cases)}: {'; '.join(bad[:4])}")


def test_default_namespace():
    """Its damage is not left out: the server starts and repairs, or ends with exit 1 and one line that names the file."""
    rng = random.Random(A.seed)
    v = Volume("user", 2)
    todo = rng.sample([d for d in v.damages(rng)], 400 if LONG else 60)
    header = [d for d in v.damages(rng) if d[1] == "i0" and d[2] < 8]
    bad = []
    for name, f, at, kind in todo + header:
        here = SHM / "default"
        here.mkdir()
        write_batch(here, [(name, f, at, kind)], {v.name: v})
        for d in ("index", "data"):
            (here / d / name).rename(here / d / "default")
        server = verify.Server(here)
        try:
            server.start()
            with server.client() as c:
                hit = v.hit(f, at, kind)[0]
                values, problems = ask(c, v.ever, hit)
                problems += judge(v, hit, values)
            if (code := server.stop()) != 128 + signal.SIGTERM:
                problems.append(f"exit {code}")
        except verify.Refused as e:
            lines = [line for line in open(server.log, errors="replace") if f"/default/{f}" in line]
            problems = [] if v.hit(f, at, kind)[1] and "exit 1:" in str(e) and len(lines) == 1 else [f"refused: {e}"]
        except (q.Failure, OSError) as e:
            problems = [f"{e} (exit {server.stop(signal.SIGKILL)}): {server.tail()}"]
        bad += [f"{name}: {p}" for p in problems]
        shutil.rmtree(here)
    print(f"# {len(todo) + len(header)} damages of the default namespace", flush=True)
    q.check(not bad, f"{len(bad)}: {'; '.join(bad[:4])}")


if __name__ == "__main__":
    print(f"# seed {A.seed}", flush=True)
    try:
        q.main()
    finally:
        shutil.rmtree(SHM, ignore_errors=True)

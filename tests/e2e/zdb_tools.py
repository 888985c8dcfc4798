#!/usr/bin/env python3
# limit: 600
"""zdb's offline tools: --check says what is wrong and changes nothing, --dump FILE prints records and survives any bytes,
--compact gives space back, loses nothing, and can be killed anywhere.     QSFS_LONG=1: all power cuts of the latter"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import record   # noqa: E402
import verify   # noqa: E402
import volume   # noqa: E402
import zfiles   # noqa: E402
from verify import q  # noqa: E402

ZDB = q.BIN / "zdb"
LONG = os.environ.get("QSFS_LONG") == "1"
SEED = os.environ.get("QSFS_SEED", "1")


def copy_golden(case, to):
    for d in ("data", "index"):
        shutil.copytree(q.GOLDEN / "zdb" / case / d, to / d)
    for p in to.rglob("*"):
        p.chmod(0o700 if p.is_dir() else 0o600)
    return to


def state(d):
    """All that --check may not change."""
    return {str(p.relative_to(d)): (p.lstat().st_size, p.lstat().st_mtime_ns, p.lstat().st_ino,
                                    p.read_bytes() if p.is_file() else None) for p in sorted(pathlib.Path(d).rglob("*"))}


def check(d, want=None, json_=False):
    """(exit code, lines or objects); nothing is changed."""
    before = state(d)
    p = q.run(ZDB, "--check", "--data", d / "data", "--index", d / "index", *(["--json"] if json_ else []))
    q.check(p.returncode in (0, 1, 2), f"exit {p.returncode}: {p.stderr!r}")
    q.check(state(d) == before, "--check changed something")
    if want is not None:
        q.same(p.returncode, want, f"exit code of --check ({(p.stdout + p.stderr).decode(errors='replace')[:300]})")
    lines = p.stdout.decode().splitlines()
    return p.returncode, [json.loads(x) for x in lines] if json_ else lines + p.stderr.decode().splitlines()


def findings(d, want=None):
    return [o for o in check(d, want, True)[1] if o["type"] == "finding"]


def in_order(d):
    code, objects = check(d, json_=True)
    found = [o for o in objects if o["type"] == "finding" and o["severity"] != "note"]
    q.check(code == 0 and not found, f"--check: exit {code}, {found[:3]}")
    q.same(objects[-1]["verdict"], "in order", "verdict")
    return objects[-1]


def fill(d, mode="user", segments=3, seed=1, **options):
    """{key: value} of a namespace v with dead values, several segments, closed in order."""
    rng, live = random.Random(seed), {}
    zdb = q.start_zdb(dir=d, datasize=524288, **options)
    with zdb.client() as c:
        c.ok("NSNEW", "v")
        c.ok("NSSET", "v", "mode", mode)
        c.ok("NSSET", "v", "password", "geheim")
        c.ok("SELECT", "v", "geheim")
        for n in range(segments):
            for i in range(40):
                value = rng.randbytes(rng.choice((0, 3, 100, 3000)))
                key = b"" if mode == "seq" else b"%d/%d" % (n, i)
                live[c.ok("SET", key, value)] = value
            for key in rng.sample(sorted(live), 30):
                if rng.random() < 0.4:
                    c.ok("DEL", key)
                    del live[key]
                else:
                    live[key] = rng.randbytes(rng.choice((0, 50, 2000)))
                    c.ok("SET", key, live[key])
            if n + 1 < segments:
                c.ok("NSJUMP")
    q.same(zdb.stop(), 143, "exit code")
    zdb.log.unlink()
    return live


# --- check -----------------------------------------------------------------------------------------

GOLDEN_FINDINGS = {     # code, file, offset, severity: what the manifests say is wrong
    "crash-mid-update": [("not-indexed", "d0", 112, "unclean")],
    "missing-index-record": [("not-indexed", "d0", 84, "unclean")],
    "trunc-seq-index": [("torn-index", "i0", 113, "unclean"), ("not-indexed", "d0", 92, "unclean")],
    "trunc-user-data": [("torn-data", "d0", 84, "unclean")],
    "trunc-user-index": [("torn-index", "i0", 105, "unclean"), ("not-indexed", "d0", 84, "unclean")],
}


def test_check_golden_directories():
    for case in sorted(p.name for p in (q.GOLDEN / "zdb").iterdir() if p.is_dir()):
        d = copy_golden(case, q.tmpdir(case))
        got = [(f["code"], f["file"].rsplit("/", 1)[1], f["offset"], f["severity"]) for f in findings(d, 0)]
        q.same(got, GOLDEN_FINDINGS.get(case, []), case)
        manifest = json.loads((q.GOLDEN / "zdb" / case / "manifest.json").read_text())
        for o in check(d, 0, True)[1]:
            if o["type"] == "namespace" and case not in GOLDEN_FINDINGS:
                info = manifest["namespaces"][o["namespace"]]["nsinfo"]
                q.same((str(o["keys"]), str(o["live_bytes"])), (info["entries"], info["data_size_bytes"]), f"{case}: totals")
        if case in GOLDEN_FINDINGS:
            p = q.run(ZDB, "--repair", "--data", d / "data", "--index", d / "index", timeout=30)
            q.same(p.returncode, 0, "--repair")
            in_order(d)


def test_check_after_kill_and_after_stop():
    for mode in ("user", "seq"):
        d = q.tmpdir(mode)
        fill(d, mode)
        in_order(d)
        zdb = q.start_zdb(dir=d)
        with zdb.client() as c:
            c.ok("SELECT", "v", "geheim")
            key = c.ok("SET", "" if mode == "seq" else "k", "one")
            c.ok("SYNC")
            for i in range(20):     # these rewrite the index when they are durable: not before the kill
                c.ok("SET", key, f"value {i}")
        q.same(zdb.kill9(), -9, "exit code")
        found = findings(d, 0)
        q.check(all(f["severity"] == "unclean" for f in found), f"{mode}: {found[:3]}")
        q.start_zdb(dir=d).stop()
        in_order(d)


def damage(file, at, byte=None):
    raw = bytearray(file.read_bytes())
    raw[at] = raw[at] ^ 0x55 if byte is None else byte
    file.write_bytes(raw)


def damaged(what, mode, change, code, **fields):
    """One damage; the finding that has to be there."""
    d = q.tmpdir(what)
    fill(d, mode)
    change(d / "index" / "v", d / "data" / "v")
    found = [f for f in findings(d, 1) if f["severity"] == "fault"]
    hits = [f for f in found if f["code"] == code and all(f.get(k) == v for k, v in fields.items())]
    q.check(hits, f"{what}: no {code} {fields} in {found[:3]}")
    return hits


def live_record(index, data, n=0, least=20):
    """A live record of segment n with a value: (index record, data record)."""
    for r in zfiles.index_records((index / f"i{n}").read_bytes(), n):
        if not r.deleted and r.length > least:
            return r, zfiles.data_record((data / f"d{n}").read_bytes(), n, r.offset)
    raise q.Failure("no live record")


def test_check_finds_damage():
    def value(i, d):
        _, data = live_record(i, d)
        damage(d / "d0", data.payload_at + 5)

    def index_crc(i, d):
        r, _ = live_record(i, d)
        damage(i / "i0", r.at + 22)

    def key(i, d):
        r, _ = live_record(i, d)
        damage(d / "d0", r.offset + 18)

    hits = damaged("value", "user", value, "crc")
    q.check("key" in hits[0] and "remedy" in hits[0], str(hits))
    damaged("index-crc", "user", index_crc, "mismatch")
    damaged("key", "user", key, "mismatch")
    damaged("chain", "user", lambda i, d: damage(i / "i1", 29 + 9), "index-chain", offset=29)
    damaged("index-magic", "user", lambda i, d: damage(i / "i1", 0), "index-header", offset=0)
    damaged("data-magic", "user", lambda i, d: damage(d / "d1", 0), "data-header", offset=0)
    damaged("index-version", "user", lambda i, d: damage(i / "i0", 4), "index-header")
    damaged("data-cut", "user", lambda i, d: os.truncate(d / "d0", 500), "no-data")
    damaged("index-gone", "user", lambda i, d: (i / "i1").unlink(), "no-index")
    damaged("segment-gone", "user", lambda i, d: ((i / "i1").unlink(), (d / "d1").unlink()), "gap")
    damaged("index-cut", "user", lambda i, d: os.truncate(i / "i0", 400), "not-indexed")
    damaged("descriptor", "user", lambda i, d: (i / "zdb-namespace").unlink(), "descriptor")
    damaged("descriptor-version", "user", lambda i, d: damage(i / "zdb-namespace", 0), "descriptor")
    damaged("index-directory", "user", lambda i, d: shutil.rmtree(i), "no-index-directory")
    damaged("seq-id", "seq", lambda i, d: damage(i / "i0", 29 + 34), "index-slot", offset=29)
    damaged("seq-keylen", "seq", lambda i, d: damage(i / "i1", 29 + 2 * 42, 3), "index-slot", offset=29 + 2 * 42)
    damaged("seq-cut", "seq", lambda i, d: os.truncate(d / "d0", 500), "no-data")


def test_check_every_byte_of_small_files():
    """No crash, no hang, and a value that is not right any more is a fault."""
    for mode in ("user", "seq"):
        d = q.tmpdir(f"bytes-{mode}")
        zdb = q.start_zdb(dir=d, mode=mode)
        with zdb.client() as c:
            keys = [c.ok("SET", "" if mode == "seq" else f"k{i}", f"value {i}" * 3) for i in range(3)]
            c.ok("SET", keys[0], "changed")
            c.ok("DEL", keys[2])
        zdb.stop()
        for name in ("index/default/i0", "data/default/d0"):
            path = d / name
            good = path.read_bytes()
            for at in range(0, len(good), 1 if q.SLOWDOWN == 1 else 5):
                raw = bytearray(good)
                raw[at] ^= 0xff
                path.write_bytes(raw)
                p = q.run(ZDB, "--check", "--data", d / "data", "--index", d / "index")
                q.check(p.returncode in (0, 1) and not p.stderr, f"{name} byte {at}: exit {p.returncode}, {p.stderr!r}")
                q.check(b"total: " in p.stdout, f"{name} byte {at}: no totals")
            path.write_bytes(good)
        in_order(d)


def test_check_absent_data_is_no_fault():
    d = q.tmpdir("absent")
    fill(d)
    (d / "data/v/d0").unlink()
    (d / "data/v/d1").unlink()
    found = findings(d, 0)
    q.same([(f["code"], f["severity"]) for f in found], [("not-here", "note")], "findings")
    q.same(check(d, 0, True)[1][-1]["segments_absent"], 2, "absent segments")


def test_check_refuses():
    zdb = q.start_zdb()
    p = q.run(ZDB, "--check", "--data", zdb.data, "--index", zdb.index)
    q.check(p.returncode == 2 and b"in use by a running zdb" in p.stderr, f"{p.returncode} {p.stderr!r}")
    zdb.stop()
    d = q.tmpdir("empty")
    p = q.run(ZDB, "--check", "--data", d / "no", "--index", d)
    q.check(p.returncode == 2 and str(d / "no").encode() in p.stderr, f"{p.returncode} {p.stderr!r}")
    p = q.run(ZDB, "--check", "--data", d, "--index", d)
    q.check(p.returncode == 2 and b"the same" in p.stderr, f"{p.returncode} {p.stderr!r}")
    q.same(list(d.iterdir()), [], "files made")
    p = q.run(ZDB, "--check", "--namespace", "x")
    q.check(p.returncode == 2 and b"--namespace" in p.stderr, f"{p.returncode} {p.stderr!r}")


# --- dump ------------------------------------------------------------------------------------------

def dump(*files, json_=False, want=0):
    p = q.run(ZDB, "--dump", *files, *(["--json"] if json_ else []))
    q.same(p.returncode, want, f"--dump {files}: exit code ({p.stderr!r})")
    lines = p.stdout.decode().splitlines()
    return ([json.loads(x) for x in lines] if json_ else lines), p.stderr.decode()


def test_dump_files():
    for mode in ("user", "seq"):
        d = q.tmpdir(mode)
        fill(d, mode)
        for n in range(3):
            index, data = d / f"index/v/i{n}", d / f"data/v/d{n}"
            (head, *got), _ = dump(index, json_=True)
            q.same((head["type"], head["file"], head["version"], head["mode"]),
                   ("index", n, 4, "sequential" if mode == "seq" else "user"), "index header")
            q.same([(g["offset"], bytes.fromhex(g["key"]), g["data_offset"], g["length"], g["previous"], g["deleted"],
                     g["data_file"], g["timestamp"], int(g["crc"], 16), g["parent_file"], g["parent_offset"]) for g in got],
                   [(r.at, r.key, r.offset, r.length, r.previous, r.deleted, r.dataid, r.timestamp, r.crc, r.parentid, r.parentoff)
                    for r in zfiles.index_records(index.read_bytes(), n)], "index records")
            (head, *got), _ = dump(data, json_=True)
            q.same((head["type"], head["file"], head["version"]), ("data", n, 3), "data header")
            q.same([(g["offset"], bytes.fromhex(g["key"]), g["length"], g["previous"], g["flags"], g["timestamp"],
                     int(g["crc"], 16), g["crc_ok"]) for g in got],
                   [(r.at, r.key, r.length, r.previous, r.flags, r.timestamp, r.crc, True)
                    for r in zfiles.data_records(data.read_bytes(), n)], "data records")
        lines, _ = dump(d / "index/v/zdb-namespace", d / "index/v/i0", d / "data/v/d0")
        q.check("password: yes" in lines[0] and "geheim" not in "".join(lines), lines[0])
        q.check(any(x.startswith("29 key ") for x in lines) and any(x.startswith("28 key ") for x in lines), "records")
        (o,), _ = dump(d / "index/v/zdb-namespace", json_=True)
        q.same((o["type"], o["name"], o["password"], o["public"]), ("descriptor", "v", True, True), "descriptor")


def test_dump_hostile_files():
    d = q.tmpdir("hostile")
    fill(d, segments=1)
    rng = random.Random(5)
    cases = [b"", b"IDX", b"IDX0", b"DAT0" + bytes(10), bytes(500), b"\xff" * 500, b"\x01\0\0\0" + b"\xff" * 20]
    for name in ("index/v/i0", "data/v/d0", "index/v/zdb-namespace"):
        good = (d / name).read_bytes()
        cases += [good[:n] for n in (3, 14, 20, 28, 29, 30, len(good) - 1)]
        for _ in range(40):
            raw = bytearray(good[:rng.randrange(1, 2000)])
            for _ in range(rng.randrange(1, 4)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            cases.append(bytes(raw))
    for i, raw in enumerate(cases):
        f = d / "file"
        f.write_bytes(raw)
        p = q.run(ZDB, "--dump", f, *(["--json"] if i % 2 else []))
        q.check(p.returncode in (0, 1), f"case {i}: exit {p.returncode}")
        err = p.stderr.decode()
        if p.returncode:
            q.check(err.startswith(f"zdb: {f}: ") and " at " in err and err.count("\n") == 1, f"case {i}: {err!r}")
        q.check("geheim" not in p.stdout.decode() + err, f"case {i}: the password is shown")
    cut = d / "i0"
    cut.write_bytes((d / "index/v/i0").read_bytes()[:-3])
    last = zfiles.index_records((d / "index/v/i0").read_bytes(), 0)[-1]
    q.check(f"torn index record at {last.at}" in dump(cut, want=1)[1], "offset of the torn record")
    os.mkfifo(d / "fifo")
    for f in (d / "fifo", d, d / "absent"):
        q.check(str(f) in dump(f, want=1)[1], f"{f}")


# --- compact ---------------------------------------------------------------------------------------

def compact(d, *args, want=0, env=None):
    p = q.run(ZDB, "--compact", "--data", d / "data", "--index", d / "index", *args, env=env)
    q.same(p.returncode, want, f"exit code of --compact ({p.stdout!r} {p.stderr!r})")
    return p.stdout.decode(), p.stderr.decode()


def keys_of(zdb, ns="v"):
    """{key: (value, length, time)} of a running zdb, and that everything about it agrees."""
    with zdb.client() as c:
        c.ok("SELECT", ns, *(["geheim"] if ns == "v" else []))
        out, cursor = {}, []
        while not isinstance(reply := c.cmd("SCAN", *cursor), q.Error):
            cursor = [reply[0]]
            for key, length, when in reply[1]:
                out[key] = (c.ok("GET", key), length, when)
                q.same((c.ok("CHECK", key), len(out[key][0])), (1, length), f"CHECK and length of {key!r}")
        q.same(c.ok("DBSIZE"), len(out), "DBSIZE")
        return out


def quiet_start(d, what="", **options):
    """zdb started on d, without a word of repair in its log."""
    log = d / "zdb.log"
    if log.exists():
        log.unlink()
    zdb = q.start_zdb(dir=d, datasize=524288, **options)
    text = log.read_text()
    q.check("WARN" not in text and "ERROR" not in text, f"{what}: log of the start: {text[-400:]}")
    return zdb


def drop_marks(d):
    for p in (d / "index").rglob("zdb-watermark"):
        p.unlink()


def original_reads(d, ns="v"):
    return zfiles.original_reads(d / "index" / ns, d / "data" / ns)


def sizes(d):
    return sum(p.stat().st_size for p in (d / "data/v").iterdir())


def test_compact_gives_space_back_and_loses_nothing():
    for mode in ("user", "seq"):
        for seed in range(3):
            d = q.tmpdir(f"{mode}{seed}")
            live = fill(d, mode, seed=seed, segments=1 + 2 * seed)
            zdb = q.start_zdb(dir=d)
            before = keys_of(zdb)
            zdb.stop()
            q.same({k: v[0] for k, v in before.items()}, live, "keys before")
            dead, size = in_order(d)["dead_bytes"], sizes(d)
            out, _ = compact(d)
            q.check(f"{dead} bytes given back" in out, f"{dead} dead bytes: {out}")
            q.same(sizes(d), size - dead, "size of the data files")
            total = in_order(d)
            q.same((total["dead_bytes"], total["keys"], total["live_bytes"]), (0, len(live), sum(map(len, live.values()))), "--check")
            q.same(original_reads(d), live, "what the original reads")
            for marks in (True, False):
                if not marks:
                    drop_marks(d)
                files = state(d / "data/v"), state(d / "index/v")
                zdb = quiet_start(d, f"{mode} {seed} marks {marks}")
                q.same(keys_of(zdb), before, "keys after")
                q.same(zdb.stop(), 143, "exit code")
                q.check({k: v[3] for k, v in files[0].items()} == {k: v[3] for k, v in state(d / "data/v").items()} and
                        {k: v[3] for k, v in files[1].items() if "watermark" not in k} ==
                        {k: v[3] for k, v in state(d / "index/v").items() if "watermark" not in k},
                        "the start changed the files")
            again, _ = compact(d)
            q.check(": 0 of " in again and " 0 bytes given back" in again, f"second time: {again}")
            check_use(d, mode, live)


def data_chain(d):
    """Each data record names the one before it in its file."""
    for p in sorted((d / "data/v").glob("d*")):
        records = zfiles.data_records(p.read_bytes(), 0)
        q.same([r.previous for r in records[1:]], [r.at for r in records[:-1]], f"{p.name}: previous")


def check_use(d, mode, live):
    """The namespace takes writes, and can be compacted again."""
    zdb = q.start_zdb(dir=d)
    with zdb.client() as c:
        c.ok("SELECT", "v", "geheim")
        rng = random.Random(1)
        for key in rng.sample(sorted(live), len(live) // 3):
            c.ok("SET", key, b"new " + key)
            live[key] = b"new " + key
        for key in rng.sample(sorted(live), len(live) // 5):
            c.ok("DEL", key)
            del live[key]
        key = c.ok("SET", "" if mode == "seq" else "one more", "more")
        q.check(key not in live, "new key")
        live[key] = b"more"
        q.check(isinstance(c.cmd("HISTORY", key), list), "HISTORY")
    zdb.stop()
    in_order(d)
    data_chain(d)
    compact(d)
    in_order(d)
    data_chain(d)
    zdb = quiet_start(d, "after the second compaction")
    q.same({k: v[0] for k, v in keys_of(zdb).items()}, live, "keys after the second compaction")
    zdb.stop()
    q.same(original_reads(d), live, "what the original reads after the second compaction")


def test_compact_history():
    """Former values are gone: never another value, neither from the present one on nor by an old cursor."""
    for mode in ("user", "seq"):
        d = q.tmpdir(mode)
        zdb = q.start_zdb(dir=d, mode=mode)
        cursors = []
        with zdb.client() as c:
            key = c.ok("SET", "" if mode == "seq" else "k", "first value")
            c.ok("SET", key, "second")
            c.ok("NSJUMP")
            c.ok("SET", key, "third, longer than the others")
            other = c.ok("SET", "" if mode == "seq" else "o", "untouched")
            at = c.ok("HISTORY", key)
            while at[0]:
                cursors.append(at[0])
                at = c.ok("HISTORY", key, at[0])
        q.same(len(cursors), 2, "former versions")
        zdb.stop()
        compact(d)
        for marks in (True, False):
            if not marks:
                drop_marks(d)
            zdb = quiet_start(d, mode=mode)
            with zdb.client() as c:
                reply = c.cmd("HISTORY", key)
                q.same((reply[0], reply[2]), (None, b"third, longer than the others"), "HISTORY")
                for cursor in cursors:
                    q.check(isinstance(c.cmd("HISTORY", key, cursor), q.Error), "HISTORY of an old cursor is no error")
                q.same(c.cmd("GET", other), b"untouched", "GET")
                raw = c.ok("DATA", "RAW", "0", "28")
                q.same((raw[3], raw[5]), (2, b""), "DATA RAW: flag and payload")
            zdb.stop()


def test_compact_then_index_lost():
    """The index of a segment is built anew from compacted data."""
    for mode in ("user", "seq"):
        d = q.tmpdir(mode)
        live = fill(d, mode)
        compact(d)
        for n in (2, 0):
            (d / f"index/v/i{n}").unlink()
            zdb = q.start_zdb(dir=d)
            q.same({k: v[0] for k, v in keys_of(zdb).items()}, live, f"{mode}: keys after i{n} was lost")
            zdb.stop()


def test_compact_only_one_namespace():
    d = q.tmpdir("one")
    fill(d)
    zdb = q.start_zdb(dir=d)
    with zdb.client() as c:
        c.ok("SET", "a", "x" * 100)
        c.ok("SET", "a", "y" * 100)
    zdb.stop()
    before = state(d / "data/v"), state(d / "index/v")
    out, _ = compact(d, "--namespace", "default")
    q.check("namespace default: 1 of 1" in out and "100 bytes" in out and "namespace v" not in out, out)
    q.check(before == (state(d / "data/v"), state(d / "index/v")), "the other namespace was touched")
    q.check("there is none" in compact(d, "--namespace", "absent", want=1)[1], "absent namespace")


def test_compact_refuses():
    d = q.tmpdir("evicted")
    fill(d)
    (d / "data/v/d0").rename(d / "d0")
    before = state(d)
    _, err = compact(d, "--namespace", "v", want=1)
    q.check(err.count("\n") == 1 and "d0 is not in" in err, err)
    q.check(state(d) == before, "something was touched")
    (d / "d0").rename(d / "data/v/d0")
    r, data = live_record(d / "index/v", d / "data/v")
    damage(d / "data/v/d0", data.payload_at)
    before = state(d)
    _, err = compact(d, "--namespace", "v", want=1)
    q.check(err.count("\n") == 1 and "--check" in err, err)
    damage(d / "data/v/d0", data.payload_at)
    with open(d / "index/v/i2", "ab") as f:
        f.write(b"\x05torn")
    before = state(d)
    _, err = compact(d, "--namespace", "v", want=1)
    q.check(err.count("\n") == 1 and "--repair" in err, err)
    q.check(state(d) == before, "something was touched")
    q.run(ZDB, "--repair", "--data", d / "data", "--index", d / "index", check_exit=0)
    compact(d, "--namespace", "v")
    zdb = q.start_zdb(dir=d)
    q.check("in use by a running zdb" in compact(d, want=1)[1], "a running zdb")
    zdb.stop()


def test_compact_on_a_full_disk():
    """A limit on the size of files stands for it: nothing changes, nothing is left behind."""
    d = q.tmpdir("full")
    live = fill(d)
    unlike = ("data", "index", "data/v", "index/v", "index/v/zdb-watermark")
    before = {k: v for k, v in state(d).items() if k not in unlike}
    limit = 20000
    p = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f {limit // 1024}; exec \"$@\"", "-", str(ZDB), "--compact",
                        "--namespace", "v", "--data", d / "data", "--index", d / "index"], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, env=q.environment())
    q.check(p.returncode == 1 and b"stays as it was" in p.stderr, f"{p.returncode} {p.stderr!r}")
    after = {k: v for k, v in state(d).items() if k not in unlike}
    q.check(sorted(before) == sorted(after), f"files: {sorted(set(before) ^ set(after))}")
    in_order(d)
    compact(d)
    zdb = quiet_start(d)
    q.same({k: v[0] for k, v in keys_of(zdb).items()}, live, "keys")
    zdb.stop()


def recorded_compaction(mode, seed):
    """(Volume, events, keys) of a compaction under the recording shim."""
    d = q.tmpdir(f"record-{mode}")
    live = fill(d, mode, segments=3, seed=seed)
    base = q.tmpdir(f"base-{mode}")
    for name in ("data", "index"):
        shutil.copytree(d / name, base / name)
    log = d / "record"
    compact(d, env=record.shim_env(log, d / "data", d / "index"))
    events = volume.read_log(log)
    vol = volume.Volume(events, {n: str(d / n) for n in ("data", "index")}, {n: base / n for n in ("data", "index")})
    want = volume.read_tree(d / "data", "data") | volume.read_tree(d / "index", "index")
    if vol.end() != want:
        raise volume.BadRecord("the record does not give the files that are there")
    return vol, events, live


def test_compact_killed_anywhere():
    """Every prefix of its operations (kill -9), and power cuts after each: the namespace is whole, nothing is repaired."""
    states, share = 0, 1 if LONG else 0.12 / q.SLOWDOWN
    for mode in ("user", "seq"):
        vol, events, live = recorded_compaction(mode, 7)
        steps = [0] + [i + 1 for i, e in enumerate(events) if e.type in "wtxonum"]
        for pos in steps:
            for kind in volume.KINDS:
                rng = random.Random(f"{SEED}/{mode}/{pos}/{kind}")
                if rng.random() > share and kind != "order":
                    continue
                where = q.TMP / "state"
                where.mkdir()
                volume.write_tree(vol.cut(pos, kind, rng), where)
                what = f"{mode}, position {pos} of {len(events)}, {kind}"
                found = findings(where, 0)
                q.check({f["code"] for f in found} <= {"compaction"}, f"{what}: --check finds {found[:2]}")
                if rng.random() < 0.5:      # the tool itself finishes what was begun
                    compact(where)
                zdb = quiet_start(where, what)
                got = {k: v[0] for k, v in keys_of(zdb).items()}
                q.check(got == live, f"{what}: {len(got)} keys, {len(live)} expected, "
                        f"{sum(got.get(k) != v for k, v in live.items())} wrong")
                q.same(zdb.stop(), 143, f"{what}: exit code")
                q.same(original_reads(where), live, f"{what}: what the original reads")
                q.check(not [p for p in where.rglob(".*compact*")], f"{what}: files are left behind")
                in_order(where)
                shutil.rmtree(where)
                states += 1
    print(f"# compaction: {states} crash states", flush=True)


def look_at_all(server, what):
    """{namespace: {key: value}}"""
    server.start()
    with server.client() as c:
        problems = []
        seen = {ns.decode(): verify.look(c, ns.decode(), [], problems) for ns in c.ok("NSLIST")}
    q.same(server.stop(), 143, "exit code")
    q.check(not problems, f"{what}: zdb does not agree with itself: {problems[:2]}")
    return seen


def complaints(d):
    """What the last start had to say, without times and numbers."""
    last = (d / "log").read_text().rsplit("listening on", 2)[-2]
    last = last.rsplit("zdb ends", 1)[-1]
    return {re.sub(r"\d+", "N", x.split(" ", 2)[2]) for x in last.splitlines() if " WARN " in x or " ERROR " in x}


def test_after_power_cuts():
    """States of a mixed load after a power cut: the check ends; a namespace that it finds in order after a start loses nothing in
    a compaction.  (Whether a start repairs everything is the question of zdb_crash.)"""
    run = record.Run(q.tmpdir("load"), "tools", f"{SEED}/tools", 1500, (), {"jump": 0.03})
    states, left, given_back, kinds = 400 if LONG else 40 // q.SLOWDOWN, 0, 0, {}
    for n in range(states):
        rng = random.Random(f"{SEED}/tools/{n}")
        d = q.TMP / "state"
        d.mkdir()
        _, what, _, _ = record.make_state(run, rng, d, evict=False)
        what = f"state {n} ({what})"
        for f in findings(d):
            kinds[f["code"]] = kinds.get(f["code"], 0) + 1
        server = verify.Server(d)
        try:
            before = look_at_all(server, what)
            look_at_all(server, what)   # what this start still has to say of lost versions is not the compaction's doing
            found = [f for f in findings(d) if f["severity"] != "note"]
            q.check(not found, f"{what}: --check finds {found[:2]}")
        except q.Failure as e:
            print(f"# not in order after a start: {e}", flush=True)
            left += 1
            shutil.rmtree(d)
            continue
        known = complaints(d)
        out, _ = compact(d)
        given_back += sum(int(x) for x in re.findall(r"(\d+) bytes given back", out))
        in_order(d)
        q.check(look_at_all(server, f"{what}, compacted") == before, f"{what}: other values after a compaction")
        more = complaints(d) - known
        q.check(not more, f"{what}: start after a compaction: {sorted(more)[:2]}")
        shutil.rmtree(d)
    print(f"# findings before the start: {kinds}", flush=True)
    q.check(given_back > 0, "nothing was given back")
    q.check(left * 10 <= states, f"{left} of {states} states are not in order after a start")


def test_compact_damaged_journal():
    d = q.tmpdir("journal")
    fill(d, segments=1)
    for raw in (b"", b"ZDBCMPCT", b"ZDBCMPCT\x01\0\0\0" + b"\xff" * 40, os.urandom(100)):
        (d / "index/v/.compact-journal").write_bytes(raw)
        before = state(d)
        q.check("damaged journal" in compact(d, "--namespace", "v", want=1)[1], "compact")
        q.same([f["code"] for f in findings(d, 1)], ["journal"], "--check")
        q.check(state(d) == before, "something was touched")
        zdb = q.start_zdb(dir=d)
        q.check("damaged journal" in zdb.tail(4000), "log of the start")
        with zdb.client() as c:
            q.check(isinstance(c.cmd("SELECT", "v", "geheim"), q.Error), "the namespace is served")
        zdb.stop()
    (d / "index/v/.compact-journal").unlink()
    in_order(d)


if __name__ == "__main__":
    q.main()

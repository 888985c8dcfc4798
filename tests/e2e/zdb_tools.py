#!/usr/bin/env python3
# limit: 600
"""zdb's offline tools: --check says what is wrong and changes nothing, --dump FILE prints records and survives any bytes,
--compact gives space back, loses nothing, and can be killed anywhere."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import record   # noqa: E402
import volume   # noqa: E402
import zfiles   # noqa: E402
from verify import q  # noqa: E402

ZDB = q.BIN / "zdb"


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


if __name__ == "__main__":
    q.main()

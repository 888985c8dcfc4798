#!/usr/bin/env python3
"""Directories written by the original zdb (tests/golden/zdb): ours answers what the manifests say, stays able to write,
and makes the same bytes from the same commands."""
import base64
import hashlib
import json
import shutil

import libqsfs as q

CASES = sorted(p.name for p in (q.GOLDEN / "zdb").iterdir() if p.is_dir())
# Files of these cases were cut or made by a crash after the commands ran.
TAMPERED = {"crash-mid-update", "missing-index-record", "trunc-seq-index", "trunc-user-data", "trunc-user-index"}


def pattern(seed, n):
    return bytes((seed + 7 * i + 13 * (i >> 8)) & 0xff for i in range(n))


def value(v):
    """Bytes of a manifest value, or None; a value that is only known by its hash gives (length, sha256)."""
    if v is None:
        return None
    if "b64" in v:
        return base64.b64decode(v["b64"])
    if "pattern" in v:
        return pattern(*v["pattern"])
    return (v["length"], v["sha256"])


def same_value(got, want, what):
    want = value(want)
    if isinstance(want, tuple):
        q.check(got is not None and not isinstance(got, q.Error), f"{what}: got {got!r}")
        q.same((len(got), hashlib.sha256(got).hexdigest()), want, what)
    else:
        q.same(got, want, what)


def load(case, name):
    return json.loads((q.GOLDEN / "zdb" / case / name).read_text())


def copy(case, to):
    shutil.copytree(q.GOLDEN / "zdb" / case / "data", to / "data")
    shutil.copytree(q.GOLDEN / "zdb" / case / "index", to / "index")
    for p in to.rglob("*"):
        p.chmod(0o700 if p.is_dir() else 0o600)


def server_args(case):
    return load(case, "manifest.json")["server_args"]


# --- what the manifest says ------------------------------------------------------------------------

def scan_all(c, command):
    """[(key, length, timestamp)] and the error at the end."""
    out, cursor = [], []
    while True:
        reply = c.cmd(command, *cursor)
        if isinstance(reply, q.Error):
            return out, "-" + reply
        cursor = [reply[0]]
        out += [tuple(e) for e in reply[1]]


def check_history(c, key, entries):
    """Where the original answers foreign bytes or an error, the manifest has value_correct."""
    cursor = []
    for i, want in enumerate(entries):
        got = c.cmd("HISTORY", key, *cursor)
        what = f"history {key!r} step {i}"
        if "error" in want and "value_correct" not in want:
            q.same(f"-{got}", want["error"], what)
            return
        q.check(isinstance(got, list), f"{what}: {got!r}")
        if "next" in want:
            q.same(got[0], base64.b64decode(want["next"]) if want["next"] else None, f"{what}: next")
        if "timestamp" in want:
            q.same(got[1].decode(), want["timestamp"], f"{what}: timestamp")
        same_value(got[2], want.get("value_correct") or want["value"], f"{what}: value")
        cursor = [got[0]]


def check_key(c, k):
    key = base64.b64decode(k["key"])
    same_value(c.cmd("GET", key), k["get"], f"GET {key!r}")
    q.same(c.cmd("EXISTS", key), k["exists"], f"EXISTS {key!r}")
    q.same(c.cmd("LENGTH", key), k["length"], f"LENGTH {key!r}")
    q.same(c.cmd("KEYTIME", key), k["keytime"], f"KEYTIME {key!r}")
    q.same(c.cmd("CHECK", key), k["check"], f"CHECK {key!r}")
    cur = c.cmd("KEYCUR", key)
    if isinstance(cur, q.Error):
        q.same(f"-{cur}", k["keycur"], f"KEYCUR {key!r}")
    else:
        q.same(cur, base64.b64decode(k["keycur"]), f"KEYCUR {key!r}")
    check_history(c, key, k["history"])


def check_namespace(zdb, ns, m):
    c = zdb.client()
    info = c.info(ns)
    for k, v in m["nsinfo"].items():
        q.same(info.get(k), v, f"{ns}: NSINFO {k}")
    c.ok("SELECT", ns, *([m["password_plain"]] if "password_plain" in m else []))
    q.same(c.cmd("DBSIZE"), m["dbsize"], f"{ns}: DBSIZE")
    got, end = scan_all(c, "SCAN")
    q.same(got, [(base64.b64decode(e["key"]), e["length"], e["timestamp"]) for e in m["scan"]], f"{ns}: SCAN")
    q.same(end, "-No more data", f"{ns}: end of SCAN")
    got, end = scan_all(c, "RSCAN")
    q.same([k for k, _, _ in got], [base64.b64decode(k) for k in m["rscan_keys"]], f"{ns}: RSCAN")
    q.same(end, "-No more data", f"{ns}: end of RSCAN")
    for k in m["keys"]:
        check_key(c, k)
    c.close()


def written(case):
    """{key: all values it ever had} from the commands of a case."""
    out = {}
    for r in load(case, "commands.json")["requests"]:
        args = [argument(a) for a in r["args"]]
        if args[0] == b"SET":
            key = args[1] or argument(r["reply"]).split(b"\r\n", 1)[1][:8]
            out.setdefault(key, set()).add(args[2])
    return out


# The last write of these cases is damaged: it may be there whole or not at all.  But a key that had a value keeps one.
MAY_BE_ABSENT = {"missing-index-record", "trunc-seq-index", "trunc-user-data", "trunc-user-index"}


def check_damaged(zdb, case, manifest):
    m = manifest["namespaces"]["default"]
    right = {base64.b64decode(k["key"]): k for k in m["keys"]}
    seen = set()
    with zdb.client() as c:
        for key, values in written(case).items():
            got = c.cmd("GET", key)
            if got is None:
                q.check(case in MAY_BE_ABSENT and len(values) == 1, f"GET {key!r} is lost")
                q.same(c.cmd("EXISTS", key), 0, f"EXISTS {key!r}")
                continue
            q.check(got in values, f"GET {key!r}: {got!r} was never written")
            q.same(c.cmd("CHECK", key), 1, f"CHECK {key!r}")
            seen.add(key)
        for key, k in right.items():    # what the original could still read, ours can
            if k["get"] and "error" not in k["get"]:
                check_key(c, k)
        for command in ("SCAN", "RSCAN"):
            got, end = scan_all(c, command)
            q.same(end, "-No more data", f"end of {command}")
            q.same(sorted(k for k, _, _ in got), sorted(seen), command)
        q.same(c.ok("DBSIZE"), len(seen), "DBSIZE")


def open_case(case):
    d = q.tmpdir(case)
    copy(case, d)
    return q.start_zdb(*server_args(case), dir=d)


def check_answers(case):
    manifest = load(case, "manifest.json")
    zdb = open_case(case)
    for when in ("as written", "after a restart"):
        try:
            if case in TAMPERED:
                check_damaged(zdb, case, manifest)
            else:
                for ns, m in manifest["namespaces"].items():
                    check_namespace(zdb, ns, m)
        except q.Failure as e:
            raise q.Failure(f"{when}: {e}") from None
        q.same(zdb.stop(), 143, "exit code")
        if when == "as written":
            zdb.start()


def check_writable(case):
    """A new key, an update and a delete work and are there after a restart."""
    zdb = open_case(case)
    with zdb.client() as c:
        seq = c.info("default")["mode"] == "sequential"
        key = c.ok("SET", "" if seq else "fresh", "one", "1700000000")
        q.same(c.ok("SET", key, "two", "1700000001"), key, "key of the update")
        gone = c.ok("SET", "" if seq else "gone", "x")
        q.same(c.ok("DEL", gone), "OK", "DEL")
    q.same(zdb.stop(), 143, "exit code")
    zdb.start()
    with zdb.client() as c:
        q.same(c.ok("GET", key), b"two", "value after restart")
        q.same(c.ok("GET", gone), None, "deleted key after restart")
        q.same(c.ok("CHECK", key), 1, "CHECK")
        keys = [k for k, _, _ in scan_all(c, "SCAN")[0]]
        q.check(key in keys and gone not in keys, "SCAN after restart")
        q.same(len(keys), c.ok("DBSIZE"), "DBSIZE against SCAN")
        for k in keys:
            q.check(isinstance(c.ok("GET", k), bytes), f"GET {k!r}")
    zdb.stop()


# --- the same bytes --------------------------------------------------------------------------------

def argument(a):
    return base64.b64decode(a["b64"]) if "b64" in a else pattern(*a["pattern"])


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*"))
            if p.is_file() and p.name != ".lockfile"}


def first_difference(got, want):
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b:
            return f"byte {i}: {a:#04x}, want {b:#04x}"
    return f"{len(got)} bytes, want {len(want)}"


def replay(case, **options):
    commands = load(case, "commands.json")
    zdb = q.start_zdb(*commands["server_args"], **options)
    c = zdb.client()
    raw = b""
    for i, r in enumerate(commands["requests"]):
        args = [argument(a) for a in r["args"]]
        c.send(*args)
        want = argument(r["reply"])
        raw = c.f.read(len(want))
        q.same(raw, want, f"reply {i} to {args[0]!r}")
    c.close()
    q.same(zdb.stop(), 143, "exit code")
    return zdb


# the original leaves these bytes behind the descriptor when a password is cleared; ours writes the file anew
STALE = {"index/cleared/zdb-namespace"}
OURS = "zdb-watermark"      # beside the original's files, which does not look at it


def check_bytes(case):
    zdb = replay(case)
    want = files(q.GOLDEN / "zdb" / case)
    want = {k: v for k, v in want.items() if k.startswith(("data/", "index/"))}
    got = {k: v for k, v in files(zdb.dir).items() if k.startswith(("data/", "index/")) and not k.endswith(OURS)}
    q.same(sorted(got), sorted(want), "files")
    for name, content in want.items():
        if name in STALE:
            q.check(content.startswith(got[name]), f"{name}: {got[name]!r}")
        elif got[name] != content:
            raise q.Failure(f"{name}: {first_difference(got[name], content)}")


def main():
    q.check(len(CASES) == 10, f"cases: {CASES}")
    for case in CASES:
        with q.case(f"{case}_answers_as_its_manifest"):
            check_answers(case)
        with q.case(f"{case}_takes_writes"):
            check_writable(case)
        if case not in TAMPERED:
            with q.case(f"{case}_commands_give_the_same_files"):
                check_bytes(case)
    q.finish()


if __name__ == "__main__":
    main()

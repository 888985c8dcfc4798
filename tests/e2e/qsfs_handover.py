#!/usr/bin/env python3
# limit: 400
"""qsfs stop, wait and status say what is only here, whatever died before: they ask zstor, which looks at the files."""
import json
import os
import re
import time

import libqsfs as q
from libsystem import DAEMONS, Install

inst = None


def installed():
    global inst
    if inst is None:
        inst = Install()
        inst.bootstrap("--cache", "64M")
    return inst


def write(name, size):
    fd = os.open(installed().mnt / name, os.O_WRONLY | os.O_CREAT)
    os.write(fd, os.urandom(size))
    os.fsync(fd)
    os.close(fd)


def local_files():
    for kind in ("data", "index"):
        for ns in (inst.top / kind / "local").iterdir():
            if ns.is_dir() and ns.name not in ("zdbfs-temp", "default"):
                yield from (f for f in ns.iterdir() if re.fullmatch(r"[di]\d+|zdb-namespace", f.name)
                            and (f.name[0] == "z" or f.stat().st_size > 29))


def check_stored():
    """Every local file is at the backends as the stop left it."""
    i = installed()
    was = {f: f.read_bytes() for f in local_files()}
    q.check(len(was) > 4, was.keys())
    i.qsfs("start")
    wrong = []
    for f, content in was.items():
        out = q.tmpdir("o") / "out"
        p = i.zstor("retrieve", "-f", f, "-o", out, check_exit=None)
        wrong += [f] if p.returncode or out.read_bytes() != content else []
    q.same(wrong, [], "files that are not stored")


def rotate(n):
    with inst.local() as c:
        c.ok("SELECT", "zdbfs-data")
        for k in range(n):
            write(f"r{k}", 300_000)
            c.ok("NSJUMP")


def test_status_counts_open_segments():
    i = installed()
    i.qsfs("wait")
    write("open", 5_000_000)
    with q.case("status: 5 MB in an open segment are only here, though nothing waits"):
        i.quiet()
        j = json.loads(i.healthy("--json"))
        q.check(j["handover"]["open_bytes"] > 5_000_000, j["handover"])
        q.same((j["state"], j["mount"]["mounted"], len(j["daemons"])), ("healthy", True, len(DAEMONS)))
        text = i.healthy()
        q.check("only here" in text and max(len(x) for x in text.splitlines()) <= 80, text)
    with q.case("wait: afterwards it is stored"):
        i.qsfs("wait")
        j = json.loads(i.healthy("--json"))["handover"]
        q.check(j["bytes"] < 100_000, j)


def test_stop_after_zstor_was_dead():
    i = installed()
    with q.case("zstor dead while segments rotated: stop stores them"):
        i.kill9("zstor")
        rotate(4)
        q.check(b"everything is stored" in i.qsfs("stop").stdout)
        check_stored()


def test_stop_after_zdb_was_killed():
    i = installed()
    with q.case("zdb killed: stop stores what it left"):
        write("before", 2_000_000)
        i.kill9("zdb")
        q.check(b"everything is stored" in i.qsfs("stop").stdout)
        check_stored()
    with q.case("zdb and zstor killed: stop stores what they left"):
        write("again", 2_000_000)
        i.kill9("zdb")
        i.kill9("zstor")
        q.check(b"everything is stored" in i.qsfs("stop").stdout)
        check_stored()


def test_stop_with_backends_down():
    i = installed()
    with q.case("three backends dead: stop ends within its bound and says what stays behind"):
        write("behind", 3_000_000)
        for n in (1, 2, 3):
            i.kill9(f"backend{n}")
        begun = time.monotonic()
        p = i.qsfs("stop", env={"QSFS_STALL_S": 5}, check_exit=1)
        q.check(time.monotonic() - begun < 150 * q.SLOWDOWN, "not within its bound")
        q.check(b"not everything is stored" in p.stderr and b"only here" in p.stdout and b"/local/" in p.stdout,
                p.stdout + p.stderr)
        q.check(not any(i.alive(n) for n in DAEMONS), "something still runs")
    with q.case("the next start and stop store it"):
        i.qsfs("start")
        q.check(b"everything is stored" in i.qsfs("stop").stdout)
        p = i.qsfs("stop")
        q.check(b"started" not in p.stdout, "a stop of what has stopped starts nothing")


def test_commands():
    i = installed()
    with q.case("restart, and every command of the help is known"):
        i.qsfs("restart")
        text = i.qsfs("help").stdout.decode()
        q.check(all(f"qsfs {c}" in text for c in ("start", "stop", "restart", "status", "logs", "wait", "version", "help")), text)
        i.qsfs("version")
    with q.case("logs: of one daemon, of all"):
        q.check(b"ready: socket" in i.qsfs("logs", "zstor").stdout)
        text = i.qsfs("logs").stdout.decode()
        q.check(all(f"==> {name}" in text for name in DAEMONS), text)
    with q.case("doctor: all is well, and what is not gets a remedy"):
        text = i.qsfs("doctor").stdout.decode()
        q.check("FIX" not in text and text.count("\n") >= 12, text)
        i.kill9("backend2")
        (i.top / "etc" / "zstor.yaml").chmod(0o644)
        lines = [x for x in i.qsfs("doctor", check_exit=1).stdout.decode().splitlines() if x.startswith("FIX")]
        q.check(any("backend2 runs: qsfs start" in x for x in lines) and any("chmod 600" in x for x in lines), lines)
        (i.top / "etc" / "zstor.yaml").chmod(0o600)
        i.qsfs("start")
    with q.case("wrong use: exit 2 and one line"):
        for args in (("frob",), (), ("status", "--what"), ("start", "x"), ("stop", "x"), ("restart", "x"), ("wait", "x"),
                     ("version", "x"), ("help", "x"), ("logs", "nobody"), ("doctor", "x"), ("logs", "zstor", "x")):
            p = i.qsfs(*args, check_exit=2)
            q.same((p.stderr.count(b"\n"), p.stdout), (1, b""), args)
    i.qsfs("stop")


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
"""Wrong options and start conditions: one clear line, exit 1, nothing made or changed."""
import os
import pathlib
import pty
import socket
import subprocess

import libqsfs as q


def snapshot(d):
    out = {}
    for p in sorted(pathlib.Path(d).rglob("*")):
        st = p.lstat()
        out[str(p.relative_to(d))] = (st.st_mode, st.st_size, st.st_mtime_ns, p.read_bytes() if p.is_file() else None)
    return out


def refused(args, *words, cwd=None, env=None):
    """zdb ends with 1, one line on stderr that has all of the words, and cwd is as before."""
    cwd = cwd or q.tmpdir("bad")
    before = snapshot(cwd)
    p = q.run(q.BIN / "zdb", *args, cwd=cwd, env=env, timeout=20)
    text = p.stderr.decode()
    lines = [x for x in text.splitlines() if x.startswith("zdb: ")]
    q.same(p.returncode, 1, f"{args}: exit code ({text!r})")
    q.same(len(lines), 1, f"{args}: lines for the user ({text!r})")
    for w in words:
        q.check(w in lines[0], f"{args}: {lines[0]!r} does not say {w!r}")
    q.same(snapshot(cwd), before, f"{args}: files")
    return lines[0]


def test_wrong_options():
    table = [
        (["--nonsense"], "--nonsense", "--help"),
        (["--data"], "--data", "value"),
        (["--dump=yes"], "--dump"),
        (["--port"], "--port", "value"),
        (["--datasize", "1K"], "--datasize", "1K", "524288"),
        (["--datasize", "524287"], "--datasize", "524287"),
        (["--datasize", "4G"], "--datasize", "4G"),
        (["--datasize", "lots"], "--datasize", "lots"),
        (["--datasize", "-1"], "--datasize", "-1"),
        (["--maxsize", "x"], "--maxsize", "x"),
        (["--rotate", "-5"], "--rotate", "-5"),
        (["--synctime", "soon"], "--synctime", "soon"),
        (["--mode", "mixed"], "--mode", "mixed", "user", "seq"),
        (["--protect"], "--protect", "--admin-file"),
        (["--hook-timeout", "0"], "--hook-timeout", "0"),
        (["--max-clients", "0"], "--max-clients"),
        (["--max-output", "1"], "--max-output"),
        (["--idle-timeout", "never"], "--idle-timeout", "never"),
        (["--hook", "/does/not/exist"], "--hook", "/does/not/exist"),
        (["--data", ""], "--data", "empty"),
        (["--ns", "x"], "--ns", "--ctl"),
        (["--dump", "--repair"], "--repair"),
        (["--compact", "--check"], "--check"),
        (["--compact", "--namespace", ""], "--namespace", "empty"),
        (["--repair", "--namespace", "x"], "--namespace", "--compact"),
        (["--compact"], "zdb-index"),
        (["--admin", ""], "--admin"),
        (["--admin", "x" * 256], "--admin"),
        (["--admin", "a", "--admin", "b"], "--admin", "once"),
        (["--admin-file", "/does/not/exist"], "--admin-file", "/does/not/exist"),
    ]
    for args, *words in table:
        line = refused(args, *words)
        q.check("x" * 256 not in line, "a password is not repeated")


def test_password_files():
    d = q.tmpdir("pw")
    f = d / "password"
    for content, mode, word in ((b"secret\n", 0o644, "chmod"), (b"", 0o600, "line"), (b"\n", 0o600, "line"),
                                (b"x" * 300, 0o600, "255"), (b"a\0b", 0o600, "line")):
        f.write_bytes(content)
        f.chmod(mode)
        refused(["--admin-file", f], "--admin-file", str(f), word, cwd=q.tmpdir("x"))
    refused(["--admin-file", d], "--admin-file", "regular")
    f.write_bytes(b"secret\r\n")
    f.chmod(0o600)
    zdb = q.start_zdb(admin_file=f)
    with zdb.client() as c:
        q.same(c.cmd("AUTH", "secret"), "OK", "password of the file")
    q.check(b"secret" not in pathlib.Path(f"/proc/{zdb.pid}/cmdline").read_bytes(), "password in argv")
    zdb.stop()
    zdb = q.start_zdb(admin="visible")
    q.check(b"visible" not in pathlib.Path(f"/proc/{zdb.pid}/cmdline").read_bytes(), "password left in argv")
    zdb.stop()


def test_abbreviations_of_the_original_stay_unambiguous():
    d = q.tmpdir("abbr")
    port = q.free_port()
    # --ind --da --po --li --mo --datas --maxs --rot, single dashes, =: as getopt_long_only takes them
    zdb = q.Zdb(dir=d)
    zdb.argv = [str(q.BIN / "zdb"), f"-ind={d}/index", "-data", f"{d}/data", "--po", str(port), "--li", "127.0.0.1",
                "--mo", "seq", "--datas", "1M", "--max", "100", "--r", "3600", "--ho",
                "/bin/true", "--adm", "pw"]
    zdb.port = port
    zdb.start()
    with zdb.client() as c:
        info = c.info("default")
        q.same((info["mode"], info["data_limits_bytes"]), ("sequential", "100"), "options")
        q.same(c.cmd("AUTH", "pw"), "OK", "admin password")
    q.same(zdb.stop(), 143, "exit code")


def test_version_and_help():
    p = q.run(q.BIN / "zdb", "--version")
    q.same(p.returncode, 0, "exit code of --version")
    q.same([line.split(",")[0] for line in p.stdout.decode().splitlines()], ["0-db engine", "0-db server", f"zdb {q.VERSION}"], "lines")
    p = q.run(q.BIN / "zdb", "--help")
    q.same(p.returncode, 1, "exit code of --help")
    for option in ("--data", "--index", "--hook-timeout", "--ctl", "--admin-file"):
        q.check(option in p.stdout.decode(), f"{option} is explained")


def test_addresses_that_cannot_be_used():
    d = q.tmpdir("busy")
    zdb = q.start_zdb()
    refused(["--listen", "127.0.0.1", "--port", str(zdb.port)], "127.0.0.1", str(zdb.port), "in use", cwd=d)
    refused(["--listen", "not.a.host.invalid"], "not.a.host.invalid", cwd=d)
    refused(["--listen", "127.0.0.1", "--port", "nosuchservice"], "nosuchservice", cwd=d)
    refused(["--listen", "127.0.0.1", "--port", "99999999"], "99999999", cwd=d)
    zdb.stop()
    zdb = q.start_zdb(unix=True)
    refused(["--socket", zdb.socket], str(zdb.socket), cwd=d)
    with zdb.client() as c:
        q.same(c.cmd("PING"), "PONG", "the first one still answers")
    q.same(zdb.stop(), 143, "exit code")
    q.check(not zdb.socket.exists(), "socket file is removed at the end")
    (d / "file").write_text("precious")
    refused(["--socket", d / "file"], str(d / "file"), cwd=d)
    refused(["--socket", d / "no" / "dir" / "s"], "no/dir/s", cwd=d)
    refused(["--socket", "/tmp/" + "x" * 200], "socket path", cwd=d)
    s = socket.socket(socket.AF_UNIX)       # a stale socket is replaced
    s.bind(str(d / "stale"))
    s.close()
    zdb = q.Zdb(unix=d / "stale").start()
    zdb.stop()


def test_directories_that_cannot_be_used():
    d = q.tmpdir("dirs")
    port = ["--listen", "127.0.0.1", "--port", q.free_port()]
    refused(["--data", d / "same", "--index", f"{d}/same/", *port], "same", cwd=q.tmpdir("x"))
    (d / "file").write_text("x")
    refused(["--data", d / "file", "--index", d / "i", *port], str(d / "file"), cwd=q.tmpdir("x"))
    refused(["--data", d / "file" / "below", "--index", d / "i", *port], "below", cwd=q.tmpdir("x"))
    zdb = q.start_zdb()
    line = refused(["--data", zdb.data, "--index", zdb.index, *port], "another", cwd=q.tmpdir("x"))
    q.check(str(zdb.index) in line, line)
    refused(["--data", zdb.data, "--index", d / "other", *port], "another", str(zdb.data), cwd=q.tmpdir("x"))
    with zdb.client() as c:
        q.same(c.cmd("PING"), "PONG", "the owner of the lock")
    q.same(zdb.stop(), 143, "exit code")


def test_corrupt_headers():
    for name, at, word in (("index/default/i0", 0, "i0"), ("index/default/i0", 4, "i0"),
                           ("index/default/zdb-namespace", 0, "zdb-namespace")):
        zdb = q.start_zdb()
        with zdb.client() as c:
            c.ok("SET", "a", "b")
        zdb.stop()
        p = zdb.dir / name
        raw = bytearray(p.read_bytes())
        raw[at] ^= 0xff
        p.write_bytes(raw)
        before = p.read_bytes()
        r = q.run(*zdb.argv, timeout=20) if not _starts(zdb) else None
        if r is None:
            continue    # repaired: served below
        lines = [x for x in r.stderr.decode().splitlines() if x.startswith("zdb: ")]
        q.same(r.returncode, 1, f"{name} byte {at}: exit code")
        q.same(len(lines), 1, f"{name} byte {at}: lines")
        q.check(word in lines[0], f"{name}: {lines[0]}")
        q.same(p.read_bytes(), before, f"{name}: content")


def _starts(zdb):
    """It may also repair: then the key has to be there."""
    try:
        zdb.start()
    except (q.Failure, q.Died):
        return False
    with zdb.client() as c:
        q.same(c.cmd("GET", "a"), b"b", "key after a repair")
    zdb.stop()
    return True


def test_ctl_failures():
    d = q.tmpdir("ctl")
    p = q.run(q.BIN / "zdb", "--ctl", "--listen", "127.0.0.1", "--port", q.free_port(), "PING", cwd=d)
    q.same(p.returncode, 1, "nobody listens")
    q.same(len(p.stderr.decode().strip().splitlines()), 1, f"one line: {p.stderr!r}")
    refused(["--ctl", "--ns-password-file", "x", "PING"], "--ns-password-file")
    zdb = q.start_zdb(admin="right")
    pw = d / "pw"
    pw.write_text("wrong\n")
    pw.chmod(0o600)
    p = q.run(q.BIN / "zdb", "--ctl", "--listen", zdb.host, "--port", zdb.port, "--admin-file", pw, "PING")
    q.same(p.returncode, 1, "wrong admin password")
    q.check(b"Access denied" in p.stderr and b"wrong" not in p.stderr, f"{p.stderr!r}")
    pw.write_text("right\n")
    ctl = lambda *a, **k: q.run(q.BIN / "zdb", "--ctl", "--listen", zdb.host, "--port", zdb.port, "--admin-file", pw, *a, **k)
    q.same((ctl("NSNEW", "n").returncode, ctl("NSNEW", "n").returncode), (0, 1), "exit codes of a good and a bad command")
    p = ctl(stdin=b'# comment\n\nSELECT n\nSET "k\\x41\\n" \'v "1"\'\nGET "kA\\n"\nHOOKS PENDING\n')
    q.same((p.returncode, p.stdout), (0, b'OK\nkA\nv "1"\n0\n'), "commands of standard input")
    p = ctl("--ns", "n", "GET", "kA\n")
    q.same(p.stdout, b'v "1"\n', "--ns")
    p = ctl("--ns", "absent", "PING")
    q.same(p.returncode, 1, "--ns of a namespace that is not there")
    p = ctl("GET", "-x", "--weird")
    q.same((p.returncode, p.stdout), (1, b"(error) Unexpected arguments\n"), "dashes behind the command are its words")
    zdb.stop()


def test_ctl_on_a_terminal():
    """People get quotes, types and numbers; programs (test_ctl_failures) get bytes."""
    zdb = q.start_zdb()
    with zdb.client() as c:
        c.ok("SET", "k", b'a"b\\\n\r\t\x01', 7)

    def ctl(*words):
        there, here = pty.openpty()
        p = subprocess.Popen([q.BIN / "zdb", "--ctl", "--listen", zdb.host, "--port", str(zdb.port), *words], stdin=subprocess.DEVNULL,
                             stdout=here)
        os.close(here)
        out = b""
        try:
            while data := os.read(there, 4096):
                out += data
        except OSError:     # EIO: the other side is closed
            pass
        os.close(there)
        return p.wait(), out.replace(b"\r\n", b"\n")

    q.same(ctl("GET", "k"), (0, b'"a\\"b\\\\\\n\\r\\t\\x01"\n'), "a value")
    q.same(ctl("GET", "none"), (0, b"(nil)\n"), "nothing")
    q.same(ctl("KEYTIME", "k"), (0, b"(integer) 7\n"), "a number")
    q.same(ctl("HOOKS"), (0, b"(empty array)\n"), "an empty array")
    q.same(ctl("MGET", "none", "none"), (0, b"1) (nil)\n2) (nil)\n"), "an array")
    q.same(ctl("PING"), (0, b"PONG\n"), "a status")
    q.same(ctl("NOPE"), (1, b"(error) Command not supported\n"), "an error")
    plain = lambda *words, **k: q.run(q.BIN / "zdb", "--ctl", "--listen", zdb.host, "--port", zdb.port, *words, **k)
    q.same(plain("MGET", "none", "k").stdout, b'\na"b\\\n\r\t\x01\n', "an array for a program")
    for line in (b"GET 'open\n", b'GET "open\n', b"MGET" + b" k" * 1024 + b"\n"):
        p = plain(stdin=line + b"PING\n")
        q.check(p.returncode == 1 and p.stdout.startswith(b"(error)") and p.stdout.endswith(b"PONG\n"), f"{line[:20]}: {p}"[:300])
    q.same(plain("MGET", *["k"] * 1024).returncode, 1, "more words than a request has")
    zdb.stop()


def test_background():
    zdb = q.Zdb()
    log = zdb.dir / "bg.log"
    p = q.run(*zdb.argv, "--background", "--logfile", log, timeout=30)
    q.same(p.returncode, 0, f"exit code ({p.stderr!r})")
    q.check(p.stdout.startswith(b"forking to background (pid: "), f"output {p.stdout!r}")
    pid = int(p.stdout.split(b":")[1].strip(b" )\n"))
    try:
        with zdb.client() as c:     # it listens already when the parent has ended
            q.same(c.cmd("PING"), "PONG", "answer")
        fds = [os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)]
        q.check(all(f in ("/dev/null", str(log)) for f in fds), f"standard descriptors {fds}")
        q.check("listening" in log.read_text(), "log file")
        log.rename(zdb.dir / "old.log")
        os.kill(pid, 1)
        q.wait_for(log.exists, what="log file after SIGHUP")
    finally:
        os.kill(pid, 15)
    q.wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists() or
               pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z", what="end")
    p = q.run(*zdb.argv, "--background", "--mode", "bad", timeout=30)
    q.same(p.returncode, 1, "failure before the fork")
    (zdb.index / "default" / "i0").write_bytes(b"garbage" * 10)
    (zdb.data / "default" / "d0").write_bytes(b"")
    p = q.run(*zdb.argv, "--background", "--logfile", zdb.dir / "no" / "such", "--socket", zdb.data / "default" / "d0" / "s", timeout=30)
    q.same(p.returncode, 1, "failure behind the fork")


if __name__ == "__main__":
    q.main()

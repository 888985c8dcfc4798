#!/usr/bin/env python3
# limit: 600
"""bootstrap.sh and the qsfs helper: what they leave behind, again and again, and after every kind of crash."""
import os
import re
import stat
import time

import libqsfs as q
from libsystem import DAEMONS, Install, free_ports

inst = None


def installed():
    global inst
    if inst is None:
        inst = Install()
        inst.bootstrap("--cache", "64M")
    return inst


def write(name, data):
    with open(inst.mnt / name, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read(name):
    return (inst.mnt / name).read_bytes()


def test_bootstrap_ends_with_a_mount_that_works():
    i = installed()
    q.check(os.path.ismount(i.mnt), "not mounted")
    write("first", b"hello")
    q.same(read("first"), b"hello")


def test_bootstrap_makes_the_promised_tree_and_nothing_else():
    i = installed()
    q.same(sorted(os.listdir(i.home)), [".threefold"], "home")
    q.same(sorted(os.listdir(i.top)), ["bin", "data", "etc", "index", "keys", "log", "mnt", "run"], "directories")
    q.check({"zdb", "zdbfs", "zstor", "zdb-hook.sh", "qsfs"} <= set(os.listdir(i.top / "bin")), "programs")


def test_bootstrap_keeps_secrets_private():
    i = installed()
    for d in (".", "keys", "etc", "run", "data", "index", "log", "bin"):
        q.same(oct(stat.S_IMODE(os.stat(i.top / d).st_mode)), oct(0o700), d)
    for f in [*(i.top / "keys").iterdir(), i.top / "etc" / "zstor.yaml"]:
        q.same(oct(stat.S_IMODE(f.stat().st_mode)), oct(0o600), f.name)
    secrets = [f.read_bytes().strip() for f in (i.top / "keys").iterdir()]
    q.same(len(set(secrets)), 7, "different keys")
    q.check(all(re.fullmatch(rb"[0-9a-f]{48}|[0-9a-f]{64}", s) for s in secrets), "keys are hexadecimal")
    for name, pid in i.pids().items():
        args = open(f"/proc/{pid}/cmdline", "rb").read()
        q.check(not any(s in args for s in secrets), f"a secret in the arguments of {name}")
    for log in (i.top / "log").iterdir():
        q.check(not any(s in log.read_bytes() for s in secrets), f"a secret in {log.name}")


def test_bootstrap_local_zdb_has_no_tcp_port_and_backends_only_loopback():
    i = installed()
    mine = set()
    for pid in i.pids().values():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                mine.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            w = line.split()
            if w[3] == "0A" and f"socket:[{w[9]}]" in mine:
                address, port = w[1].rsplit(":", 1)
                listening.append((address, int(port, 16)))
    q.same(sorted(listening), [("0100007F", i.port + n) for n in range(4)], "listening sockets")


def test_bootstrap_backends_refuse_strangers():
    i = installed()
    with q.Redis(i.port) as c:
        q.check(isinstance(c.cmd("NSNEW", "mine"), q.Error), "NSNEW without password")
        q.check(isinstance(c.cmd("SELECT", "data1"), q.Error), "SELECT data1 without password")
        q.check(isinstance(c.cmd("SET", "k", "v"), q.Error), "SET in the default namespace")


def test_bootstrap_again_changes_nothing_and_restarts_nothing():
    i = installed()
    pids = i.pids()
    before = {f: f.read_bytes() for d in ("keys", "etc") for f in (i.top / d).iterdir()}
    i.bootstrap()
    q.same(i.pids(), pids, "pids")
    q.same({f: f.read_bytes() for d in ("keys", "etc") for f in (i.top / d).iterdir()}, before, "keys and configuration")
    q.same(read("first"), b"hello")


def test_bootstrap_with_another_cache_size_changes_only_that():
    i = installed()
    pids = i.pids()
    out = i.bootstrap("--cache", "32M").stdout.decode()
    q.check("was 64 MiB, is now 32 MiB" in out, out)
    q.same(i.cache_limit(), 32 << 20, "limit")
    now = i.pids()
    q.check(now.pop("zstor") != pids.pop("zstor"), "zstor runs with the old limit")
    q.same(now, pids, "other pids")
    i.bootstrap("--cache", "64M")


def test_qsfs_status_tells_what_runs():
    i = installed()
    text = i.healthy()
    for name, pid in i.pids().items():
        q.check(re.search(rf"^{name} +running, pid {pid} +since \S+", text, re.M), f"{name} in {text}")
    q.check(re.search(r"^queue +\d+ files", text, re.M), text)
    q.check(re.search(r"^cache +[0-9.]+ MiB of 64.0 MiB", text, re.M), text)
    q.check(re.search(r"^only here +\d+ files, [0-9.]+ MiB \(\d+ open\), oldest", text, re.M), text)
    q.check(text.startswith("qsfs: healthy\n") and max(len(x) for x in text.splitlines()) <= 80, text)


def test_qsfs_start_restarts_each_killed_daemon():
    i = installed()
    write("kept", b"k" * 300_000)
    for name in DAEMONS:
        pids = i.pids()
        i.kill9(name)
        p = i.qsfs("status", check_exit=3)
        q.check(f"{name}" in p.stdout.decode() and "NOT RUNNING" in p.stdout.decode(), f"status without {name}")
        i.qsfs("start")
        now = i.pids()
        q.check(now.pop(name) != pids.pop(name), f"{name} has its old pid")
        q.same(now, pids, f"pids of the others after {name}")
        q.same(q.wait_for(lambda: read("kept"), 20, "read"), b"k" * 300_000, f"content after {name}")
        i.healthy()


def test_bootstrap_starts_what_is_missing_too():
    i = installed()
    i.kill9("backend3")
    i.kill9("zdbfs")
    i.bootstrap()
    q.check(all(i.alive(n) for n in DAEMONS), "daemons")
    q.same(read("first"), b"hello")


def test_qsfs_stale_pid_files_are_recognised():
    i = installed()
    write("before", b"1")
    i.qsfs("stop")
    q.check(not any(i.alive(n) for n in DAEMONS) and not os.path.ismount(i.mnt), "something still runs")
    for name in DAEMONS:                      # pids of a foreign process, as after a reboot
        (i.top / "run" / f"{name}.pid").write_text(f"{os.getpid()}\n")
    p = i.qsfs("status", check_exit=3)
    q.same(p.stdout.decode().count("NOT RUNNING"), len(DAEMONS), "not running")
    i.qsfs("stop")                            # must not signal the foreign process
    i.qsfs("start")
    q.check(all(i.alive(n) for n in DAEMONS), "daemons")
    q.same(read("before"), b"1")


def test_qsfs_stop_stores_the_open_segments():
    i = installed()
    write("last", b"z" * 400_000)
    out = i.qsfs("stop").stdout.decode()
    q.check("everything is stored" in out, out)
    active = sorted(i.segments(), key=lambda f: (f.parent.name, int(f.name[1:])))
    q.check(any(f.parent.name == "zdbfs-data" for f in active), f"segments {active}")
    i.qsfs("start")
    for f in active:
        if f.parent.name != "default":
            got = i.zstor("check", "--file", f).stdout.decode().strip()
            q.check(re.fullmatch(r"[0-9a-f]{32}", got), f"{f} is not known to zstor: {got!r}")
    q.same(read("last"), b"z" * 400_000)


def test_qsfs_stop_twice_and_start_twice_are_harmless():
    i = installed()
    i.qsfs("start")
    i.qsfs("stop")
    i.qsfs("stop")
    i.qsfs("start")
    i.qsfs("start")
    q.same(read("first"), b"hello")


def test_qsfs_stop_says_when_the_mount_is_busy_and_stops_nothing():
    i = installed()
    with open(i.mnt / "held", "wb") as f:
        f.write(b"1")
        p = i.qsfs("stop", env={"QSFS_STOP_S": 1}, check_exit=1)
        q.check("is in use" in p.stderr.decode() and p.stderr.count(b"\n") == 1, p.stderr)
        q.check(all(i.alive(n) for n in DAEMONS), "something was stopped")
        f.write(b"2")
    q.same(read("held"), b"12")


def test_qsfs_start_makes_lost_namespaces_of_a_wiped_backend_again():
    i = installed()
    i.wipe_backend(2)
    i.qsfs("start")
    with q.Redis(i.port + 1) as c:
        names = {n.decode() for n in c.ok("NSLIST")}
        q.check({"data2", "meta2"} <= names, names)
        q.same(c.info("data2")["password"], "yes")
        q.same(c.info("data2")["mode"], "sequential")
        q.same(c.info("meta2")["mode"], "userkey")
        password = (i.top / "keys" / "backend2.password").read_text().strip()
        q.same(c.cmd("SELECT", "data2", password), "OK")


def test_qsfs_wait_returns_when_all_is_remote():
    i = installed()
    write("waited", os.urandom(3_000_000))
    started = time.monotonic()
    i.qsfs("wait")
    highest = {}
    for f in i.segments():
        highest[f.parent] = max(highest.get(f.parent, 0), int(f.name[1:]))
    for f in i.segments():
        if int(f.name[1:]) < highest[f.parent] and f.parent.name.startswith("zdbfs-"):
            got = i.zstor("check", "--file", f).stdout.decode().strip()
            q.check(re.fullmatch(r"[0-9a-f]{32}", got), f"{f} is not known to zstor")
    i.quiet()
    i.qsfs("wait")                            # nothing new: at once
    q.check(time.monotonic() - started < 120 * q.SLOWDOWN, "too slow")


def test_qsfs_wait_makes_up_for_hooks_that_failed():
    i = installed()
    i.qsfs("wait")
    i.kill9("zstor")
    write("unseen", os.urandom(200_000))
    with i.local() as c:
        c.ok("SELECT", "zdbfs-data")
        sealed = re.search(r"^index_active: (.*)$", c.ok("NSINFO", "zdbfs-data").decode(), re.M)[1]
        c.ok("NSJUMP")
        q.wait_for(lambda: c.ok("HOOKS", "PENDING") == 0, 60, "end of the hooks")
    i.qsfs("start")
    i.qsfs("wait")
    got = i.zstor("check", "--file", sealed).stdout.decode().strip()
    want = q.hashlib.blake2b(open(sealed, "rb").read(), digest_size=16).hexdigest()
    q.same(got, want, f"stored checksum of {sealed}")


def test_qsfs_commands_explain_themselves():
    i = installed()
    q.check(b"start" in i.qsfs("help").stdout, "help")
    p = i.qsfs("frobnicate", check_exit=2)
    q.check(p.stderr.count(b"\n") == 1 and b"unknown command frobnicate" in p.stderr, p.stderr)


def test_bootstrap_refuses_lost_keys_instead_of_making_new_ones():
    i = installed()
    i.qsfs("stop")
    keys, aside = i.top / "keys", i.top / "keys.aside"
    keys.rename(aside)
    p = i.bootstrap(check_exit=1)
    q.check(b"the keys are gone" in p.stderr, p.stderr)
    q.same(list(keys.iterdir()), [], "new keys")
    keys.rmdir()
    aside.rename(keys)
    i.bootstrap()
    q.same(read("first"), b"hello")


def test_bootstrap_does_not_replace_a_configuration_in_use():
    i = installed()
    other = q.TMP / "other.yaml"
    other.write_text(re.sub(r"7990\d|prefix: .*", "prefix: other", (i.top / "etc" / "zstor.yaml").read_text()))
    before = (i.top / "etc" / "zstor.yaml").read_bytes()
    p = i.bootstrap(other, check_exit=1)
    q.check(b"is another configuration" in p.stderr, p.stderr)
    q.same((i.top / "etc" / "zstor.yaml").read_bytes(), before, "configuration")


def test_bootstrap_takes_a_configuration_of_other_backends():
    backends = q.start_backends(3)
    conf = q.zstor_config(backends, minimal=2, expected=3, meta_backends=backends + [backends[0]])
    # a second metadata namespace on the first one makes four
    with backends[0].client() as c:
        c.ok("NSNEW", "meta9")
        c.ok("NSSET", "meta9", "password", backends[0].password)
        c.ok("NSSET", "meta9", "public", "0")
    conf["meta"]["config"]["backends"][3] = {**backends[0].entry("meta"), "namespace": "meta9"}
    for key in ("socket", "state_dir", "pid_file"):
        conf.pop(key)
    conf["socket"] = "/var/run/elsewhere.sock"
    file = q.TMP / "custom.yaml"
    file.write_text(q.to_yaml(conf))
    i = Install()
    out = i.bootstrap("--cache", "16M", file).stdout.decode()
    q.check("socket was \"/var/run/elsewhere.sock\"" in out and "state_dir" in out and "added" in out, out)
    q.check(not (i.top / "run" / "backend1.pid").exists(), "a local backend was started")
    (i.mnt / "x").write_bytes(b"y" * 2_000_000)
    i.qsfs("wait")
    q.check(any(int(b.client().info(b.data_ns)["entries"]) > 0 for b in backends), "nothing at the backends")
    again = i.bootstrap("--cache", "16M", file)
    q.check(b"error" not in again.stderr.lower(), again.stderr)
    i.qsfs("stop")
    i.destroy()


def test_bootstrap_wrong_arguments_touch_nothing():
    i = Install()
    for args, text in ((["--cache"], "size is missing"), (["--cache", "3Q"], "is not a size"), (["--cache", "1M"], "at least 16M"),
                       (["--frob"], "unknown option"), (["/nonexistent.yaml"], "no readable configuration"),
                       (["a", "b"], "more than one configuration"), (["--geometry", "4,4"], "less than N"),
                       (["--geometry", "2of4"], "is not K,N"), (["--geometry"], "K,N is missing"),
                       (["--mount", __file__], "is not a directory"), (["--port-base", "80"], "is not a port"),
                       (["--delete-data"], "part of --uninstall"), (["--uninstall", "--cache", "1G"], "goes with --delete-data only"),
                       (["--uninstall"], "nothing is installed there")):
        p = i.bootstrap(*args, check_exit=1)
        q.check(text in p.stderr.decode() and p.stderr.count(b"\n") == 1, p.stderr)
    q.same(os.listdir(i.home), [], "home")


def test_bootstrap_port_in_use_is_said():
    i = Install()
    with q.socket.socket() as s:
        s.setsockopt(q.socket.SOL_SOCKET, q.socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", i.port))
        s.listen()
        p = i.bootstrap(check_exit=1)
    q.check(f"port {i.port} is in use by" in p.stderr.decode() and f"(pid {os.getpid()})" in p.stderr.decode(), p.stderr)
    i.destroy()


def test_bootstrap_options_change_what_is_asked_and_say_so():
    i = Install()
    i.port = free_ports(6)
    out = i.bootstrap("--geometry=3,5", "--no-start", "--cache", "16M").stdout.decode()
    q.check("nothing was started" in out and not (i.top / "run" / "zdb.pid").exists(), out)
    i.bootstrap()
    q.check(i.alive("backend5") and not (i.top / "run" / "backend6.pid").exists(), "five backends")
    (i.mnt / "file").write_bytes(b"f" * 1_500_000)
    i.qsfs("wait")
    out = i.bootstrap("--geometry", "3,6", "--mount", i.home / "here").stdout.decode()
    for text in ("geometry was 3 of 5, is now 3 of 6", "local backends: were 5, are now 6", f"unmounting {i.mnt}",
                 f'zdbfs_mountpoint was "{i.mnt}", is now "{i.home}/here"'):
        q.check(text in out, f"{text}: {out}")
    q.check(not os.path.ismount(i.mnt) and os.path.ismount(i.home / "here"), "moved")
    q.same((i.home / "here" / "file").read_bytes(), b"f" * 1_500_000)
    i.mnt = i.home / "here"
    (i.mnt / "more").write_bytes(b"g" * 1_500_000)
    i.qsfs("wait")
    with q.Redis(i.port + 5) as c:
        q.check(int(c.info("data6")["entries"]) > 0, "nothing at the sixth backend")
    p = i.bootstrap("--port-base", str(i.port + 7), check_exit=1, env={"QSFS_PORT_BASE": ""})
    q.check(b"cannot be changed" in p.stderr, p.stderr)
    conf = i.top / "etc" / "zstor.yaml"
    conf.write_text(conf.read_text() + "max_bandwidth: 0\n")
    p = i.bootstrap("--geometry", "2,6", check_exit=1)
    q.check(b"was edited by hand" in p.stderr, p.stderr)
    i.destroy()


def test_bootstrap_tells_what_a_mount_hides():
    i = Install()
    i.bootstrap("--no-start", "--cache", "16M")
    (i.mnt / "stray").write_bytes(b"x")
    out = i.qsfs("start").stdout.decode()
    q.check("has 1 entries of its own" in out and "stray" in out, out)
    i.destroy()


def test_bootstrap_uninstall_keeps_what_is_stored():
    i = Install()
    i.bootstrap("--cache", "16M")
    (i.mnt / "file").write_bytes(b"kept")
    out = i.bootstrap("--uninstall").stdout.decode()
    q.check("programs removed; kept" in out, out)
    q.same(sorted(os.listdir(i.top)), ["data", "etc", "index", "keys", "mnt"], "left")
    i.bootstrap()
    q.same((i.mnt / "file").read_bytes(), b"kept")
    i.bootstrap("--uninstall", "--delete-data")
    q.same(os.listdir(i.home), [], "home")


def test_qsfs_stop_at_the_end():
    i = installed()
    i.bootstrap()
    i.qsfs("stop")
    q.check(not any(i.alive(n) for n in DAEMONS), "something still runs")
    q.check(not os.path.ismount(i.mnt), "still mounted")


if __name__ == "__main__":
    q.main()

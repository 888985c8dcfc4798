#!/usr/bin/env python3
"""Hooks of zdb: names, arguments, order; requests that wait for a missing segment while everybody else goes on."""
import json
import os
import signal
import threading
import time

import libqsfs as q

# Writes "start|name|instance|args..." and "end|name|status" to $HOOK_DIR/calls.  Told by files in $HOOK_DIR:
#   hang.NAME: sleep long; slow.NAME: a short while; exit.NAME: exit status; restore/: copies of segments for missing-data;
#   run.NAME: commands for the shell, $3 is the first argument
HOOK = r"""#!/bin/sh
name=$1
line="start"
for a in "$@"; do line="$line|$a"; done
printf '%s\n' "$line" >>"$HOOK_DIR/calls"
echo "this is $name"
status=0
[ -e "$HOOK_DIR/fds" ] && ls -l /proc/$$/fd >"$HOOK_DIR/fds"
[ -e "$HOOK_DIR/slow.$name" ] && sleep 0.3
[ -e "$HOOK_DIR/hang.$name" ] && sleep 60
[ -e "$HOOK_DIR/exit.$name" ] && status=$(cat "$HOOK_DIR/exit.$name")
[ -e "$HOOK_DIR/run.$name" ] && . "$HOOK_DIR/run.$name"
if [ "$name" = missing-data ] && [ -e "$HOOK_DIR/restore/$(basename "$3")" ]; then
    cp "$HOOK_DIR/restore/$(basename "$3")" "$3.part" && mv "$3.part" "$3"
fi
printf 'end|%s|%s\n' "$name" "$status" >>"$HOOK_DIR/calls"
exit "$status"
"""

SEGMENT = 512 * 1024
BIG = 300 * 1024    # two of them do not fit one segment


class Hooked:
    """A zdb with the recording hook."""

    def __init__(self, *args, start=True, **options):
        self.dir = q.tmpdir("hooked")
        self.hooks = self.dir / "hooks"
        (self.hooks / "restore").mkdir(parents=True)
        self.program = self.dir / "hook.sh"
        self.program.write_text(HOOK)
        self.program.chmod(0o755)
        options.setdefault("datasize", SEGMENT)
        options.setdefault("hook_timeout", 20 * q.SLOWDOWN)
        self.zdb = q.Zdb(*args, dir=self.dir, hook=self.program, env={"HOOK_DIR": self.hooks}, **options)
        if start:
            self.zdb.start()

    @property
    def instance(self):
        return f"tcp://{self.zdb.host}:{self.zdb.port}"

    def set(self, name, text=""):
        (self.hooks / name).write_text(text)

    def unset(self, name):
        (self.hooks / name).unlink()

    def calls(self):
        try:
            return [line.split("|") for line in (self.hooks / "calls").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def started(self, name=None):
        """Arguments of each call: [name, args behind the instance...]"""
        out = [c[1:2] + c[3:] for c in self.calls() if c[0] == "start"]
        for c in self.calls():
            if c[0] == "start":
                q.same(c[2], self.instance, "instance id")
        return [c for c in out if name is None or c[0] == name]

    def settle(self, client):
        q.wait_for(lambda: client.cmd("HOOKS", "PENDING") == 0, what="end of all hooks")

    def path(self, root, ns, name):
        return str((self.zdb.index if root == "index" else self.zdb.data) / ns / name)

    def lose(self, ns, segment, keep=True):
        """Remove a sealed data file as an evictor does; a copy is kept for the hook."""
        p = self.zdb.data / ns / f"d{segment}"
        if keep:
            (self.hooks / "restore" / p.name).write_bytes(p.read_bytes())
        p.unlink()

    def fill(self, c, n):
        """n segments behind the first: keys k0..kn, one per segment."""
        for i in range(n + 1):
            c.ok("SET", f"k{i}", bytes([65 + i]) * BIG)
        self.settle(c)


def evict(h, c, ns, segment, keep=True):
    """lose(), and wait until zdb has let go of the file."""
    h.lose(ns, segment, keep)
    h.zdb.stop()
    h.zdb.start()
    return h.zdb.client()


def test_all_events_with_arguments_in_order():
    h = Hooked()
    c = h.zdb.client()
    c.ok("NSNEW", "n")
    c.ok("NSSET", "n", "worm", "0")
    h.settle(c)
    c.ok("SELECT", "n")
    c.ok("SET", "a", b"a" * BIG)
    c.ok("SET", "b", b"b" * BIG)     # jump 0 -> 1
    h.settle(c)
    c.ok("RELOAD", "n")
    h.settle(c)                      # hooks of two namespaces run side by side
    c.ok("NSNEW", "gone")
    h.settle(c)
    c.ok("NSDEL", "gone")
    h.settle(c)
    c.close()
    q.same(h.zdb.stop(signal.SIGINT), 130, "exit code after SIGINT")
    got = h.started()
    want = [
        ["namespaces-init", str(h.zdb.index), str(h.zdb.data)],
        ["ready"],
        ["namespace-created", "n"],
        ["namespace-updated", "n"],
        ["jump-index", h.path("index", "n", "i0"), h.path("index", "n", "i1"), ""],
        ["jump-data", h.path("data", "n", "d0"), h.path("data", "n", "d1")],
        ["namespace-reloaded", "n"],
        ["namespace-created", "gone"],
        ["namespace-deleted", "gone"],
        ["close"],
    ]
    q.same(got[:len(want)], want, "events")
    q.same(sorted(got[len(want):]), sorted([
        ["namespace-closing", "default", h.path("index", "default", "i0"), h.path("data", "default", "d0"), ""],
        ["namespace-closing", "n", h.path("index", "n", "i1"), h.path("data", "n", "d1"), ""],
    ]), "closing events")
    ends = [x[1] for x in h.calls() if x[0] == "end"]
    q.same(ends.count("namespace-closing"), 2, "closing hooks that had ended before zdb did")
    q.check("this is ready" in h.zdb.log.read_text(), "output of a hook is in the log")


def test_unix_instance_id():
    h = Hooked(start=False, unix=True)
    h.zdb.start()
    h.zdb.stop()
    q.same({x[2] for x in h.calls() if x[0] == "start"}, {f"unix://{h.zdb.socket}"}, "instance id")


def test_jump_hooks_run_one_after_the_other():
    h = Hooked()
    h.set("slow.jump-index")
    c = h.zdb.client()
    for i in range(3):
        c.ok("NSJUMP")
    h.settle(c)
    got = [x[:2] for x in h.calls() if x[1].startswith("jump")]
    want = [[w, f"jump-{kind}"] for _ in range(3) for kind in ("index", "data") for w in ("start", "end")]
    q.same(got, want, "starts and ends")
    h.zdb.stop()


def test_dirty_list_is_cleared_by_a_successful_jump_index_only():
    h = Hooked()
    c = h.zdb.client()
    h.set("exit.jump-index", "1")
    c.ok("SET", "a", "1")
    c.ok("NSJUMP")
    c.ok("SET", "a", "2")            # flags the record in i0
    c.ok("DEL", "a")                 # flags the record in i1
    h.settle(c)
    q.same(c.ok("INDEX", "DIRTY"), [0, 1], "dirty files")
    c.ok("NSJUMP")
    h.settle(c)
    q.same(c.ok("INDEX", "DIRTY"), [0, 1], "dirty files after a failed hook")
    h.unset("exit.jump-index")
    c.ok("NSJUMP")
    h.settle(c)
    q.same(c.ok("INDEX", "DIRTY"), [], "dirty files after a successful hook")
    q.same([x[3] for x in h.started("jump-index")], ["", "0 1", "0 1"], "dirty lists")
    h.zdb.stop()


def test_hooks_command_lists_runs():
    h = Hooked()
    c = h.zdb.client()
    h.set("exit.namespace-created", "7")
    h.set("hang.namespace-updated")
    c.ok("NSNEW", "x")
    c.ok("NSSET", "x", "public", "0")
    q.wait_for(lambda: h.started("namespace-updated"), what="second hook")
    q.same(c.ok("HOOKS", "PENDING"), 1, "pending")
    runs = c.ok("HOOKS")
    q.same([(r[0], r[1], r[5]) for r in runs],
           [(b"namespaces-init", [str(h.zdb.index).encode(), str(h.zdb.data).encode()], 0), (b"ready", [], 0),
            (b"namespace-created", [b"x"], 7), (b"namespace-updated", [b"x"], 0)], "runs")
    q.check(all(r[2] > 0 and abs(r[3] - time.time()) < 300 for r in runs), "pids and start times")
    q.check(all(r[4] >= r[3] for r in runs[:3]) and runs[3][4] == 0, "end times")
    os.killpg(runs[3][2], signal.SIGKILL)    # own process group
    q.wait_for(lambda: c.ok("HOOKS", "PENDING") == 0, what="end of the killed hook")
    q.same(c.ok("HOOKS")[3][5], 137, "status of the killed hook")
    h.zdb.stop()


def test_failed_ready_ends_with_1_and_closing_hooks():
    h = Hooked(start=False)
    h.set("exit.ready", "3")
    h.zdb.spawn()
    q.same(h.zdb.wait(), 1, "exit code")
    q.same([x[0] for x in h.started()], ["namespaces-init", "ready", "namespace-closing"], "events")
    q.check("ready" in h.zdb.tail(), f"message names the hook: {h.zdb.tail()}")


def test_dump_of_everything():
    """--dump: all keys of namespaces in user mode; nothing is listened to, and ready is not called."""
    h = Hooked()
    with h.zdb.client() as c:
        c.ok("NSNEW", "s")
        c.ok("NSSET", "s", "mode", "seq")
        c.ok("NSNEW", "u")
        for ns in ("default", "s", "u"):
            c.ok("SELECT", ns)
            for i in range(3):
                c.ok("SET", "" if ns == "s" else f"{ns}-{i}\n", "v" * i, 10 + i)
        c.ok("DEL", "u-1\n")
        h.settle(c)
    h.zdb.stop()
    (h.hooks / "calls").unlink()
    argv = [h.zdb.argv[0], "--dump", *h.zdb.argv[1:]]
    text = q.run(*argv, env=h.zdb.env, check_exit=0).stdout.decode()
    lines = [x for x in text.splitlines() if x.startswith(("default ", "u ", "s "))]
    q.same(len(lines), 5, f"keys: {text}")
    q.check(all(x.split()[0] != "s" for x in lines) and lines[0].endswith(" 0 10") and lines[4].endswith(" 2 12"), f"{lines}")
    q.same(sorted(x[0] for x in h.started()), ["namespace-closing"] * 3 + ["namespaces-init"], "events")
    out = q.run(*argv, "--json", env=h.zdb.env, check_exit=0).stdout.decode()
    keys = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
    q.same([(k["namespace"], bytes.fromhex(k["key"]), k["length"], k["timestamp"]) for k in keys],
           [("default", f"default-{i}\n".encode(), i, 10 + i) for i in range(3)] + [("u", f"u-{i}\n".encode(), i, 10 + i) for i in (0, 2)],
           "keys in JSON")
    full = q.run("/bin/sh", "-c", 'exec "$@" >/dev/full', "sh", *argv, env=h.zdb.env)
    q.same(full.returncode, 1, f"output that cannot be written: {full.stderr}")


def test_a_signal_ends_a_start_that_waits_for_a_hook():
    for hung in ("namespaces-init", "ready"):
        h = Hooked(start=False, hook_timeout=60)
        h.set(f"hang.{hung}")
        h.zdb.spawn()
        q.wait_for(lambda: h.started(hung), what=f"hook {hung}")
        begin = time.monotonic()
        q.same(h.zdb.stop(seconds=20), 143, f"{hung}: exit code")
        q.check(time.monotonic() - begin < 10, f"{hung}: end after {time.monotonic() - begin:.1f} s")
        q.same([x[0] for x in h.started()], ["namespaces-init", "ready"][:1 + (hung == "ready")] + ["close", "namespace-closing"], "events")
        q.check([hung] not in [x[1:2] for x in h.calls() if x[0] == "end"], f"{hung} was ended, too")
        h.unset(f"hang.{hung}")
        h.zdb.start()
        h.zdb.stop()


def test_hook_gets_no_descriptors():
    h = Hooked()
    c = h.zdb.client()
    h.set("fds")
    c.ok("NSNEW", "x")
    h.settle(c)
    text = (h.hooks / "fds").read_text()
    q.check("/dev/null" in text and "pipe:" in text, f"standard descriptors: {text}")
    for theirs in ("socket:", "anon_inode", str(h.zdb.data), str(h.zdb.index), "lockfile"):
        q.check(theirs not in text, f"descriptors: {text}")
    h.zdb.stop()


def test_missing_segment_is_fetched_once_for_all():
    h = Hooked()
    c = h.zdb.client()
    h.fill(c, 2)
    c = evict(h, c, "default", 0)
    h.set("slow.missing-data")
    waiters = [h.zdb.client() for _ in range(8)]
    for w in waiters:
        w.send("GET", "k0")
        w.send("PING")               # answered behind the GET, not before
    for w in waiters:
        q.same(w.recv(), b"A" * BIG, "value of the fetched segment")
        q.same(w.recv(), "PONG", "next reply of the same connection")
    q.same(h.started("missing-data"), [["missing-data", h.path("data", "default", "d0")]], "hook runs")
    q.same(c.ok("MGET", "k0", "k2", "k1"), [b"A" * BIG, b"C" * BIG, b"B" * BIG], "MGET")
    h.zdb.stop()


def test_mget_starts_all_its_fetches():
    h = Hooked()
    c = h.zdb.client()
    h.fill(c, 3)
    h.lose("default", 0)
    h.lose("default", 1)
    c = evict(h, c, "default", 2)
    h.set("slow.missing-data")
    q.same(c.ok("MGET", "k3", "k0", "none", "k1", "k2"),
           [b"D" * BIG, b"A" * BIG, None, b"B" * BIG, b"C" * BIG], "MGET")
    starts = [i for i, x in enumerate(h.calls()) if x[:2] == ["start", "missing-data"]]
    ends = [i for i, x in enumerate(h.calls()) if x[:2] == ["end", "missing-data"]]
    q.same(len(starts), 3, "hook runs")
    q.check(max(starts) < min(ends), "fetches run at the same time")
    h.zdb.stop()


def test_hook_that_fails_or_lies_gives_an_error_and_the_rest_works():
    h = Hooked()
    c = h.zdb.client()
    h.fill(c, 2)
    c = evict(h, c, "default", 0, keep=False)
    h.set("exit.missing-data", "1")
    q.same(c.cmd("GET", "k0"), "Internal Error", "hook with exit status 1")
    h.unset("exit.missing-data")
    q.same(c.cmd("GET", "k0"), "Internal Error", "hook that brings nothing")
    q.same(c.cmd("CHECK", "k0"), -1, "CHECK")
    q.same(c.cmd("HISTORY", "k0"), "Internal Error", "HISTORY")
    q.same(c.cmd("DATA", "RAW", "0", "28"), "Invalid Request", "DATA RAW")
    wrong = (h.zdb.data / "default" / "d1").read_bytes()
    (h.hooks / "restore" / "d0").write_bytes(wrong)
    q.same(c.cmd("GET", "k0"), "Internal Error", "hook that brings another file")
    q.same(c.cmd("MGET", "k0", "k1"), [q.Error("Internal Error"), b"B" * BIG], "MGET with one bad element")
    q.same(c.cmd("EXISTS", "k0"), 1, "EXISTS needs no data")
    q.same(c.cmd("LENGTH", "k0"), BIG, "LENGTH needs no data")
    runs = len(h.started("missing-data"))
    q.same(c.cmd("SET", "k0", "new"), b"k0", "SET of a key whose old value is missing")
    q.same(c.cmd("GET", "k0"), b"new", "its new value")
    q.same(len(h.started("missing-data")), runs, "SET asks for no segment")
    h.zdb.stop()


def test_hook_that_brings_no_file_but_something_else():
    """Whatever stands there afterwards: an error for those who asked, in a moment, and nothing for the others."""
    h = Hooked(mode="user")
    size = 28 + 18 + 2 + BIG
    things = {
        "a directory": "mkdir $3",
        "a fifo": "mkfifo $3",
        "a link to nothing": "ln -s nowhere $3",
        "a link to itself": "ln -s $3 $3",
        "a link to a fifo": "mkfifo $3.x; ln -s $3.x $3",
        "a device": "ln -s /dev/zero $3",
        "an empty file": ": >$3",
        "only a header": "cp $HOOK_DIR/head $3",
        "a shorter file": f"(cat $HOOK_DIR/head; head -c {size - 29} /dev/zero) >$3",
        "zeros": f"head -c {size} /dev/zero >$3",
        "a header and zeros": f"(cat $HOOK_DIR/head; head -c {size - 28} /dev/zero) >$3",
        "a header and noise": f"(cat $HOOK_DIR/head; head -c {size - 28} /dev/urandom) >$3",
        "a very large file": "truncate -s 1T $3",
        "a socket": "cd $(dirname $3) && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"'$(basename $3)'\")'",
    }
    c = h.zdb.client()
    last = f"k{len(things)}"
    h.fill(c, len(things))
    for i in range(len(things)):
        h.lose("default", i, keep=False)
    h.zdb.stop()
    h.zdb.start()
    c, other = h.zdb.client(), h.zdb.client()
    value = other.ok("GET", last)
    for i, (what, commands) in enumerate(things.items()):
        (h.hooks / "head").write_bytes(b"DAT0\x03" + bytes(19) + i.to_bytes(4, "little"))
        h.set("run.missing-data", f"{commands}\n")
        c.send("GET", f"k{i}")
        c.send("MGET", last, f"k{i}")
        c.send("CHECK", f"k{i}")
        q.same(other.cmd("GET", last), value, f"{what}: another client")
        q.same(c.recv(), q.Error("Internal Error"), f"{what}: GET")
        q.check(os.path.lexists(h.zdb.data / "default" / f"d{i}"), f"{what}: the hook has made it")
        q.same(c.recv(), [value, q.Error("Internal Error")], f"{what}: MGET")
        q.check(c.recv() in (0, -1), f"{what}: CHECK")
        q.check(isinstance(c.cmd("DATA", "RAW", i, "28"), (q.Error, list)), f"{what}: DATA RAW")
        q.same(other.cmd("GET", last), value, f"{what}: another client, afterwards")
    q.same(h.zdb.stop(), 143, "exit code")


def test_hung_hook_stops_nobody_else():
    h = Hooked(hook_timeout=3 * q.SLOWDOWN)
    c = h.zdb.client()
    h.fill(c, 2)
    c = evict(h, c, "default", 0)
    h.set("hang.missing-data")
    waiters = [h.zdb.client() for _ in range(3)]
    results = []

    def wait_one(w):
        results.append((w.cmd("GET", "k0"), time.monotonic()))

    begin = time.monotonic()
    threads = [threading.Thread(target=wait_one, args=(w,)) for w in waiters]
    for t in threads:
        t.start()
    q.wait_for(lambda: h.started("missing-data"), what="hook")
    times = []
    c.ok("SET", "small", "x" * 100)
    while time.monotonic() - begin < 2 * q.SLOWDOWN:
        t0 = time.perf_counter()
        q.same(c.cmd("GET", "small"), b"x" * 100, "other key")
        times.append(time.perf_counter() - t0)
    for t in threads:
        t.join()
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    print(f"# {len(times)} GETs of others meanwhile, p99 {p99 * 1000:.2f} ms, slowest {times[-1] * 1000:.2f} ms")
    q.check(p99 < 0.05 * q.SLOWDOWN, f"p99 of other clients: {p99 * 1000:.1f} ms")
    q.same([r for r, _ in results], [q.Error("Internal Error")] * 3, "answers at the deadline")
    took = max(t for _, t in results) - begin
    q.check(2.9 * q.SLOWDOWN <= took < 3 * q.SLOWDOWN + 10, f"deadline after {took:.1f} s")
    q.same(len(h.started("missing-data")), 1, "hook runs")
    h.unset("hang.missing-data")
    q.same(waiters[0].cmd("GET", "k0"), b"A" * BIG, "the same connection, later")
    h.zdb.stop()


def test_namespace_deleted_under_a_parked_request():
    h = Hooked()
    c = h.zdb.client()
    c.ok("NSNEW", "n")
    n = h.zdb.client("n")
    for i in range(2):
        n.ok("SET", f"k{i}", bytes([65 + i]) * BIG)
    h.settle(c)
    h.lose("n", 0)
    h.zdb.stop()
    h.zdb.start()
    h.set("hang.missing-data")
    c, n = h.zdb.client(), h.zdb.client("n")
    n.send("GET", "k0")
    n.send("PING")
    q.wait_for(lambda: h.started("missing-data"), what="hook")
    q.same(c.cmd("NSDEL", "n"), "OK", "NSDEL")
    gone = "Your active namespace is not available anymore (probably removed)."
    q.same(n.recv(), gone, "parked request")
    q.same(n.recv(), gone, "request behind it")
    q.check(n.closed(), "connection is closed")
    q.same(c.cmd("PING"), "PONG", "server")
    run = [r for r in c.ok("HOOKS") if r[0] == b"missing-data"][0]
    os.killpg(run[2], signal.SIGKILL)
    h.settle(c)
    h.zdb.stop()


def test_hooks_that_outlive_the_server_end_their_work():
    """After --hook-timeout the end waits no longer: what runs goes on, what waited is started; nobody is killed by output
    that zdb no longer reads."""
    h = Hooked(hook_timeout=1)
    c = h.zdb.client()
    h.set("run.jump-index", "sleep 2.5; echo first line; echo second line\n")
    h.set("run.namespace-closing", "echo closing line; echo and another\n")
    c.ok("NSJUMP")
    q.wait_for(lambda: h.started("jump-index"), what="hook")
    q.same(h.zdb.stop(), 143, "exit code")
    ends = lambda: sorted(x[1] for x in h.calls() if x[0] == "end" and x[2] == "0")
    want = sorted(["close", "jump-data", "jump-index", "namespace-closing", "namespaces-init", "ready"])
    q.wait_for(lambda: ends() == want, 10, f"end of all hooks (have {ends()})")
    text = h.zdb.log.read_text()
    q.wait_for(lambda: "second line" in h.zdb.log.read_text() and "and another" in h.zdb.log.read_text(), 5, f"output in the log: {text}")
    h.zdb.start()
    h.zdb.stop()


def test_background_children_of_a_hook_go_on_and_may_write():
    """The scripts of the original put uploads in the background and return."""
    h = Hooked()
    c = h.zdb.client()
    h.set("run.jump-data", '(while [ ! -e "$HOOK_DIR/go" ]; do sleep 0.02; done; echo late line; echo more; '
                           'echo uploaded >"$HOOK_DIR/uploaded") &\n')
    c.ok("NSJUMP")
    h.settle(c)
    q.check(not (h.hooks / "uploaded").exists(), "the hook was waited for by its child")
    h.set("go")
    q.wait_for((h.hooks / "uploaded").exists, what="work in the background")
    q.wait_for(lambda: "hook jump-data: late line" in h.zdb.log.read_text(), what="its output")
    h.zdb.stop()


def test_files_are_whole_when_the_close_hook_runs():
    """It copies them: what was changed in place must be in the files by then."""
    for mode in "user", "seq":
        h = Hooked(mode=mode)
        c = h.zdb.client()
        c.ok("NSNEW", "n")
        c.ok("SELECT", "n")
        keys = [c.cmd("SET", f"k{i}" if mode == "user" else "", b"old value %d" % i) for i in range(500)]
        c.ok("NSJUMP")
        for i in range(0, 500, 2):
            c.cmd("SET", keys[i], b"new value %d" % i)
        h.set("run.close", f'cp -r "{h.zdb.index}" "{h.zdb.data}" "$HOOK_DIR/restore/"\n')
        q.same(h.zdb.stop(), 143, "exit code")
        names = [d[0] for d in h.started()]
        q.check(names.index("jump-index") < names.index("close") < names.index("namespace-closing"), f"order {names}")
        for root in h.zdb.index, h.zdb.data:
            for f in sorted((root / "n").iterdir()):
                copy = h.hooks / "restore" / root.name / "n" / f.name
                q.check(copy.read_bytes() == f.read_bytes(), f"{mode}: {f} differs from what the close hook copied")


def test_an_end_with_a_hanging_missing_data_hook():
    h = Hooked(hook_timeout=30)
    c = h.zdb.client()
    h.fill(c, 2)
    c = evict(h, c, "default", 1)
    h.set("hang.missing-data")
    c.send("GET", "k1")
    q.wait_for(lambda: h.started("missing-data"), what="hook")
    begin = time.monotonic()
    q.same(h.zdb.stop(), 143, "exit code")
    q.check(time.monotonic() - begin < 8, f"the end took {time.monotonic() - begin:.1f} s")


def test_many_hooks_at_an_end_run_one_after_the_other():
    h = Hooked(hook_timeout=1)
    c = h.zdb.client()
    h.set("slow.namespace-closing")
    for i in range(30):
        c.ok("NSNEW", f"n{i:02}")
    h.settle(c)
    h.set("hang.namespace-created")     # one place is taken, its queue waits
    c.ok("NSNEW", "last")
    q.wait_for(lambda: ["namespace-created", "last"] in h.started(), what="hook")
    h.zdb.stop()
    done = lambda: [x for x in h.calls() if x[0] == "end" and x[1] == "namespace-closing"]
    q.wait_for(lambda: len(done()) >= 31, 60, "closing hooks")
    open_, most = 0, 0
    for x in h.calls():
        if x[1] == "namespace-closing":
            open_ += 1 if x[0] == "start" else -1
            most = max(most, open_)
    q.check(most <= 32, f"{most} at one time")


def test_few_descriptors():
    """Segment files, clients and hooks have a share each, whatever the limit: clients come in, and SYNC works."""
    for limit in 40, 64, 100:
        h = Hooked(start=False)
        h.zdb.argv = ["/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"] + h.zdb.argv
        h.zdb.start()
        c = h.zdb.client()
        for n in range(3):
            c.ok("NSNEW", f"n{n}")
        for n in range(3):
            c.ok("SELECT", f"n{n}")
            for i in range(30):
                c.cmd("SET", f"k{i}", b"v" * BIG)
            c.cmd("SET", "k0", b"other")
            c.ok("SYNC")
            for i in range(1, 30):
                q.same(c.cmd("LENGTH", f"k{i}"), BIG, "length")
                q.same(len(c.cmd("GET", f"k{i}")), BIG, "value")
        others = []
        while len(others) < limit:
            d = h.zdb.client()
            others.append(d)
            if d.cmd("PING") != "PONG":
                break
        q.check(len(others) >= limit // 8, f"{len(others)} clients with {limit} descriptors")
        c.cmd("SET", "k1", b"x")
        c.ok("SYNC")
        for d in others:
            d.close()
        h.settle(c)
        q.check("lost" not in h.zdb.log.read_text(), h.zdb.tail())
        q.same(h.zdb.stop(), 143, "exit code")
        h.zdb.start()
        c = h.zdb.client("n1")
        q.same(c.cmd("GET", "k0"), b"other", "value")
        q.same(len(c.cmd("GET", "k29")), BIG, "value")
        h.zdb.stop()


if __name__ == "__main__":
    q.main()

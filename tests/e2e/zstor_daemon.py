#!/usr/bin/env python3
"""zstor's daemon with real backends: commands, durable queue, kill -9, dead backends, reload, stop."""
# limit: 420
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import libqsfs as q

MIB = 1 << 20


def write(path, data):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def random_file(path, size):
    return write(path, os.urandom(size))


def queue(z):
    with z.client() as c:
        return c.cmd("QUEUE")


def counts(z):
    """[jobs, bytes, oldest, failing]"""
    with z.client() as c:
        return c.cmd("QUEUE", "COUNT")


def settled(z):
    """Until nothing is queued, not even a rebuild of what a slow backend has left out."""
    with z.client() as c:
        q.wait_for(lambda: c.cmd("QUEUE", "LIST") == [], 90, "end of all jobs, rebuilds too")


def good(p, out=b""):
    q.same((p.returncode, p.stdout, p.stderr), (0, out, b""), "exit, output, errors")
    return p


def failed(p, *words):
    text = p.stderr.decode()
    q.same(p.returncode, 1, f"exit ({text})")
    q.check(text.startswith("Zstor error: "), text)
    for w in words:
        q.check(w in text, f"{w!r} is not in {text!r}")


def fetched(z, path, want, to=None):
    """What is stored for path has this content."""
    out = to or q.tmpdir("out") / "got"
    good(z.cli("retrieve", "-f", path, "-o", out))
    q.same(out.read_bytes() == want, True, f"content of {path}")


def b2(data):
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Setup:
    def __init__(self, n=4, **extra):
        self.backends = q.start_backends(n)
        self.z = q.Zstor(q.zstor_config(self.backends, minimal=2, expected=4, **extra))
        self.z.start()
        self.dir = q.tmpdir("files")

    def stop_backends(self, which):
        for i in which:
            self.backends[i].stop()

    def start_backends(self, which):
        for i in which:
            self.backends[i].start()

    def end(self):
        if self.z.alive():
            q.same(self.z.stop(), 0, "exit of zstor")
        for b in self.backends:
            if b.alive():
                b.stop()


def test_commands():
    s = Setup()
    z, d = s.z, s.dir
    data = os.urandom(3 * MIB + 17)
    f = write(d / "real" / "a b\nc", data)
    os.symlink("real", d / "link")
    with q.case("store, check and retrieve through the daemon"):
        good(z.cli("store", "-f", f))
        good(z.cli("check", "-f", f), (b2(data) + "\n").encode())
        f.unlink()
        good(z.cli("retrieve", "--file", f))
        q.same(f.read_bytes() == data, True, "content")
    with q.case("relative paths and paths over a symbolic link name the same object"):
        os.chdir(d / "link")
        try:
            for path in ("a b\nc", "../real/a b\nc", d / "link" / "a b\nc"):
                good(z.cli("check", "-f", path), (b2(data) + "\n").encode())
        finally:
            os.chdir("/")
    with q.case("an unknown object: check prints nothing and exits 0, retrieve and rebuild fail"):
        good(z.cli("check", "-f", "/nowhere"))
        failed(z.cli("retrieve", "-f", d / "nowhere"), "no metadata found")
        q.check(not (d / "nowhere").exists())
        failed(z.cli("rebuild", "-f", "/nowhere"))
        failed(z.cli("store", "-f", "/nowhere"), "/nowhere")
    with q.case("a directory is stored file by file, under another path, and deleted"):
        tmp = d / "hook.tmp"
        files = {f"i{n}": os.urandom(1000 + n) for n in range(12)}
        for name, content in files.items():
            write(tmp / name, content)
        (tmp / "sub").mkdir()
        keydir = d / "index"
        keydir.mkdir()
        good(z.cli("store", "-s", "-d", "-f", tmp, "-k", keydir))
        q.same(sorted(os.listdir(tmp)), ["sub"], "what is left")
        q.same(os.listdir(keydir), [], "nothing is made under the key path")
        for name, content in files.items():
            fetched(z, keydir / name, content)
    with q.case("an empty file"):
        e = write(d / "empty", b"")
        good(z.cli("store", "-f", e))
        good(z.cli("check", "-f", e), (b2(b"") + "\n").encode())
        fetched(z, e, b"")
    with q.case("rebuild of one, by path, and of all"):
        settled(z)
        good(z.cli("rebuild", "-f", f))
        p = z.cli("rebuild", "--all")
        q.same(p.returncode, 0, p.stderr)
        q.check(p.stdout.startswith(b"14 objects whole"), p.stdout)
    with q.case("status: tables, figures, JSON, exit 0"):
        settled(z)
        p = z.cli("status")
        q.same(p.returncode, 0, p.stderr)
        q.same(p.stdout.decode().count("| Yes "), 8)
        q.check(b"queue: 0 jobs" in p.stdout)
        j = json.loads(z.cli("status", "--json", check_exit=0).stdout)
        q.same(len(j["backends"]), 8)
        q.same(j["at_risk"], False)
        q.same(j["queue"]["jobs"], 0)
        q.check(sum(b["objects"] for b in j["backends"] if b["type"] == "meta") == (14 + 2) * 4, j)     # and two notes
    with q.case("test and test --ready"):
        good(z.cli("test"))
        s.backends[0].stop()
        p = z.cli("test")
        q.same(p.returncode, 1)
        q.same(p.stderr.decode().count("Error: "), 2, "failing backends")
        q.same(z.cli("test", "--ready").returncode, 0)
        q.same(z.cli("status").returncode, 1)
        s.backends[0].start()
        good(z.cli("test"))
    with q.case("commands on the socket: errors keep the connection"):
        with z.client() as c:
            q.same(c.cmd("PING"), "PONG")
            q.check(isinstance(c.cmd("STORE", "relative"), q.Error))
            q.check(isinstance(c.cmd("FROB"), q.Error))
            q.same(c.cmd("CHECK", "/nowhere"), None)
            q.same(c.cmd("check", str(f)).decode(), b2(data))
            q.wait_for(lambda: c.cmd("QUEUE", "LIST") == [], 90, "empty queue")
            q.same(c.cmd("WAIT"), "OK")
    with q.case("the socket is private"):
        q.same(os.stat(z.socket).st_mode & 0o777, 0o600)
    s.end()
    with q.case("a clean stop removes socket and pid file"):
        for key in ("socket", "pid_file"):
            q.check(not pathlib.Path(z.config[key]).exists(), key)


def test_in_process():
    bs = q.start_backends()
    z = q.Zstor(q.zstor_config(bs, socket=False), dir=q.tmpdir("inproc"))
    d = q.tmpdir("files")
    f = random_file(d / "f", MIB)
    data = f.read_bytes()
    with q.case("without socket the commands run in process"):
        good(z.cli("store", "-n", "-f", f))
        good(z.cli("check", "-f", f), (b2(data) + "\n").encode())
        fetched(z, f, data)
        good(z.cli("rebuild", "-f", f))
        q.same(z.cli("rebuild", "--all", check_exit=0).stdout[:16], b"1 objects whole,")
        good(z.cli("store", "-d", "-f", f))
        q.check(not f.exists())
        good(z.cli("wait"))
        good(z.cli("test"))
        q.same(z.cli("status").returncode, 0)
    with q.case("in process: a failure exits 1"):
        failed(z.cli("retrieve", "-f", "/nowhere"), "no metadata found")
        failed(z.cli("store", "-f", "/nowhere"))
    for b in bs:
        b.stop()


def test_queue_survives_kill_9():
    s = Setup()
    z, d = s.z, s.dir
    s.stop_backends([1, 2, 3])
    files = {}
    for n in range(6):  # segments: not copied; indexes: copied
        files[random_file(d / "data" / f"d{n}", MIB)] = None
        files[random_file(d / "index" / f"i{n}", 50000)] = None
    for f in files:
        files[f] = f.read_bytes()
        good(z.cli("store", "-n", "-f", f))
    doomed = random_file(d / "index" / "zdb-namespace", 27)
    files[doomed] = doomed.read_bytes()
    good(z.cli("store", "-n", "-d", "-f", doomed))
    with q.case("a deleted source goes as soon as the job is durable"):
        q.check(not doomed.exists())
    z.kill9()
    for n in range(6):  # what was acknowledged is the old content
        write(d / "index" / f"i{n}", b"newer")
    with q.case("acknowledged jobs are there after kill -9"):
        z.start()
        q.same(queue(z), 13, "jobs")
    with q.case("wait gives up after its time, with a progress line"):
        p = z.cli("wait", "-t", "1")
        failed_text = p.stderr.decode()
        q.same(p.returncode, 1)
        q.check("zstor: 13 jobs, " in failed_text and "Zstor error: the time is over" in failed_text, failed_text)
    with q.case("killed again and again, then the backends return: everything is stored"):
        for _ in range(3):
            z.kill9()
            z.start()
        s.start_backends([1, 2, 3])
        z.cli("wait", check_exit=0)
        q.same(queue(z), 0)
        for f, content in files.items():
            fetched(z, f, content)
    with q.case("nothing is left in the state directory"):
        settled(z)
        state = pathlib.Path(z.config["state_dir"])
        q.same([str(p) for sub in ("queue", "snap") for p in (state / sub).iterdir()], [], "files")
    s.end()


def test_kill_9_while_storing():
    s = Setup()
    z, d = s.z, s.dir
    want, n = {}, 0
    with q.case("killed while it uploads: every acknowledged store is there in the end"):
        for round_ in range(4):
            procs = []
            for _ in range(5):
                f = random_file(d / ("i%d" % n if n % 2 else "d%d" % n), 2 * MIB)
                n += 1
                want[f] = f.read_bytes()
                procs.append((f, subprocess.Popen([q.BIN / "zstor", "-c", z.config_file, "--log_file", "/dev/null", "store", "-n",
                                                   "-f", f], stderr=subprocess.DEVNULL, env=q.environment())))
            if round_ % 2:
                q.wait_for(lambda: queue(z), 5, "queued jobs")
            z.kill9()
            for f, p in procs:
                if p.wait(30) != 0:  # not acknowledged: told so
                    del want[f]
            z.start()
        z.cli("wait", check_exit=0)
        q.check(len(want) > 0, "nothing was acknowledged")
        for f, content in want.items():
            good(z.cli("check", "-f", f), (b2(content) + "\n").encode())
    s.end()


def test_dead_backends():
    s = Setup()
    z, d = s.z, s.dir
    first = random_file(d / "i1", 100000)
    with q.case("one dead backend: stored degraded, completed when it returns"):
        s.stop_backends([0])
        good(z.cli("store", "-f", first))
        q.wait_for(lambda: b"rebuild" in b"".join(b"\n" + x for x in lines(z)), 20, "queued rebuild")
        s.start_backends([0])
        settled(z)
        j = json.loads(z.cli("status", "--json", check_exit=0).stdout)
        q.same([b["objects"] for b in j["backends"] if b["type"] == "meta"], [1 + 2] * 4, "metadata values and notes")
        q.check(all(b["objects"] >= 1 for b in j["backends"]), "a backend without shard")
    with q.case("killed as soon as a degraded store is answered: what completes it is known"):
        s.stop_backends([0])
        for n in range(5):
            f = random_file(d / f"i{100 + n}", 5000)
            good(z.cli("store", "-f", f))
            z.kill9()
            z.start()
            q.check(any(b" rebuild " + os.fsencode(f) in x for x in lines(z)), f"no job for {f}: {lines(z)}")
        s.start_backends([0])
        settled(z)
    with q.case("too few backends: jobs are tried again with growing delay, and complete when they return"):
        s.stop_backends([0, 1, 2])
        f = random_file(d / "d7", 300000)
        data = f.read_bytes()
        good(z.cli("store", "-n", "-f", f))
        q.wait_for(lambda: counts(z)[3] == 1, 30, "failing job")
        p = z.cli("status")
        q.same(p.returncode, 1)
        q.check(b"1 failing" in p.stdout, p.stdout)
        tries = lambda: int(lines(z)[0].split(b" tries failed")[0].split(b", ")[-1])
        q.wait_for(lambda: tries() >= 2, 60, "second try")
        q.check(tries() < 10, "hot retries")
        p = z.cli("queue", check_exit=0)
        q.check(b"store " + os.fsencode(f) in p.stdout and b"tries failed" in p.stdout, p.stdout)
        s.start_backends([0, 1, 2])
        z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
        fetched(z, f, data)
    with q.case("a blocking store that fails is reported, and with -s queued"):
        s.stop_backends([0, 1, 2])
        f = random_file(d / "i8", 300000)
        data = f.read_bytes()
        failed(z.cli("store", "-f", f))
        q.same(queue(z), 0)
        failed(z.cli("store", "-s", "-f", f), "queued and will be tried again")
        q.same(queue(z), 1)
        s.start_backends([0, 1, 2])
        z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
        fetched(z, f, data)
    with q.case("a job whose file is gone for good is dropped with an error in the log"):
        s.stop_backends([0, 1, 2])
        f = random_file(d / "d9", 1000)
        good(z.cli("store", "-n", "-f", f))
        f.unlink()
        q.wait_for(lambda: queue(z) == 0, 30, "empty queue")
        q.check("dropped, the file is gone" in (z.dir / "zstor.log").read_text())
        s.start_backends([0, 1, 2])
    s.end()


def lines(z):
    with z.client() as c:
        return c.cmd("QUEUE", "LIST")


def test_newest_wins():
    s = Setup()
    z, d = s.z, s.dir
    s.stop_backends([0, 1, 2])
    with q.case("several stores of one index file are one job with the newest content"):
        f = d / "i3"
        for n in range(5):
            write(f, b"generation %d" % n)
            good(z.cli("store", "-n", "-f", f))
        q.wait_for(lambda: queue(z) == 1, 30, "one job, when a try that was under way is over")
        s.start_backends([0, 1, 2])
        z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
        fetched(z, f, b"generation 4")
    s.end()


def test_parallel():
    s = Setup()
    z, d = s.z, s.dir
    with q.case("retrieves do not wait for uploads"):
        small = random_file(d / "small", 1000)
        content = small.read_bytes()
        good(z.cli("store", "-f", small))
        for n in range(8):
            good(z.cli("store", "-n", "-f", random_file(d / f"d{n}", 24 * MIB)))
        for _ in range(3):
            fetched(z, small, content)
        good(z.cli("check", "-f", small), (b2(content) + "\n").encode())
        q.check(queue(z) > 0, "the uploads were done before: nothing was shown")
        z.cli("wait", check_exit=0)
    with q.case("many commands at a time"):
        procs, files = [], []
        for n in range(24):
            f = random_file(d / f"i{n}", 20000)
            files.append((f, f.read_bytes()))
            args = ["store", *(["-n"] if n % 2 else []), "-f", f]
            procs.append(subprocess.Popen([q.BIN / "zstor", "-c", z.config_file, "--log_file", "/dev/null", *args],
                                          env=q.environment()))
        q.same([p.wait(120) for p in procs], [0] * 24, "exit codes")
        z.cli("wait", check_exit=0)
        for f, content in files:
            good(z.cli("check", "-f", f), (b2(content) + "\n").encode())
    with q.case("a retrieve asked for many times at once runs, and each is answered"):
        f, content = files[0]
        f.unlink()
        procs = [subprocess.Popen([q.BIN / "zstor", "-c", z.config_file, "--log_file", "/dev/null", "retrieve", "-f", f],
                                  env=q.environment()) for _ in range(10)]
        q.same([p.wait(120) for p in procs], [0] * 10, "exit codes")
        q.same(f.read_bytes() == content, True, "content")
        q.same([n for n in os.listdir(d) if n.startswith(".")], [], "left-over files")
    s.end()


def test_only_one_daemon():
    s = Setup()
    z = s.z

    def second(**changes):
        other = q.Zstor({**z.config, **{k: v if isinstance(v, dict) else str(v) for k, v in changes.items()}}, dir=q.tmpdir("second"))
        p = q.run(*other.argv, timeout=30)
        return p.returncode, p.stderr.decode()

    d = q.tmpdir("other")
    with q.case("a second daemon is refused: pid file"):
        code, text = second()
        q.same(code, 1)
        q.check("another daemon instance is running" in text, text)
    with q.case("a second daemon is refused: socket"):
        meta = {**z.config["meta"], "config": {**z.config["meta"]["config"], "prefix": "another-volume"}}
        code, text = second(pid_file=d / "pid", state_dir=d / "state", meta=meta)
        q.same(code, 1)
        q.check("another daemon listens on" in text, text)
        q.check(not (d / "pid").exists())
    with q.case("a second daemon is refused: the volume, by name of its owner"):
        code, text = second(pid_file=d / "pid", state_dir=d / "state2", socket=d / "sock")
        q.same(code, 1)
        q.check("belongs to" in text and socket.gethostname() in text and "takeover" in text, text)
    with q.case("a second daemon is refused: state directory"):
        code, text = second(pid_file=d / "pid", socket=d / "sock")
        q.same(code, 1)
        q.check("in use by another zstor" in text, text)
    with q.case("the first one is undisturbed"):
        good(z.cli("check", "-f", "/nowhere"))
    with q.case("what kill -9 leaves behind is replaced"):
        z.kill9()
        q.check(pathlib.Path(z.config["socket"]).exists() and pathlib.Path(z.config["pid_file"]).exists())
        z.start()
        q.same(pathlib.Path(z.config["pid_file"]).read_text().strip(), str(z.pid))
    s.end()


def test_stop():
    s = Setup()
    z, d = s.z, s.dir
    with q.case("SIGTERM runs what is queued first"):
        files = [random_file(d / f"d{n}", 4 * MIB) for n in range(6)]
        for f in files:
            good(z.cli("store", "-n", "-f", f))
        q.same(z.stop(), 0, "exit")
        z.start()
        q.same(queue(z), 0)
        for f in files:
            good(z.cli("check", "-f", f), (b2(f.read_bytes()) + "\n").encode())
    with q.case("SIGTERM with dead backends ends soon, exit 0, and the jobs stay"):
        s.stop_backends([0, 1, 2])
        good(z.cli("store", "-n", "-f", random_file(d / "i1", 1000)))
        q.wait_for(lambda: counts(z)[3] == 1, 30, "failing job")
        begun = time.monotonic()
        q.same(z.stop(), 0, "exit")
        q.check(time.monotonic() - begun < 15 * q.SLOWDOWN, "too slow")
        z.start()
        q.same(queue(z), 1)
        s.start_backends([0, 1, 2])
        z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
    with q.case("two SIGTERM end running jobs, too, with a hanging backend; they stay"):
        for b in s.backends:
            b.p.send_signal(signal.SIGSTOP)
        try:
            good(z.cli("store", "-n", "-f", random_file(d / "i2", 1000)))
            q.wait_for(lambda: b"running" in lines(z)[0], 10, "running job")
            begun = time.monotonic()
            z.p.send_signal(signal.SIGTERM)
            q.wait_for(lambda: not pathlib.Path(z.socket).exists(), 10, "removed socket")
            q.same(z.stop(), 0, "exit")
            q.check(time.monotonic() - begun < 20 * q.SLOWDOWN, "too slow")
            q.check(not pathlib.Path(z.config["pid_file"]).exists(), "the pid file is left behind")
        finally:
            for b in s.backends:
                b.p.send_signal(signal.SIGCONT)
        z.start()
        z.cli("wait", "-t", 90 * q.SLOWDOWN, check_exit=0)
    s.end()


def test_reload():
    s = Setup(5)
    z, d = s.z, s.dir
    five = z.config["groups"]
    with q.case("SIGUSR1 with a wrong configuration keeps the old one and says so"):
        good_config = dict(z.config)
        z.config["expected_shards"] = 99
        z.write_config()
        z.p.send_signal(signal.SIGUSR1)
        q.wait_for(lambda: "reload: the configuration stays" in (z.dir / "zstor.log").read_text(), 10, "log line")
        z.config = good_config
        z.write_config()
        good(z.cli("check", "-f", "/nowhere"))
    with q.case("SIGUSR1 takes a new list of backends"):
        z.config["groups"] = [{"backends": five[0]["backends"][:4]}]
        z.write_config()
        z.p.send_signal(signal.SIGUSR1)
        q.wait_for(lambda: "is in force" in (z.dir / "zstor.log").read_text(), 10, "log line")
        good(z.cli("store", "-f", random_file(d / "i1", 100000)))
        with s.backends[4].client() as c:
            q.same(c.info(s.backends[4].data_ns)["entries"], "0", "entries on the backend that was taken out")
        q.same(z.cli("status").stdout.decode().count("| Yes "), 8)
    with q.case("a reload while stores run loses none"):
        files = [random_file(d / f"d{n}", 4 * MIB) for n in range(6)]
        for f in files:
            good(z.cli("store", "-n", "-f", f))
            z.p.send_signal(signal.SIGUSR1)
        z.cli("wait", check_exit=0)
        for f in files:
            good(z.cli("check", "-f", f), (b2(f.read_bytes()) + "\n").encode())
    s.end()


def scrape(z, page="/metrics"):
    with urllib.request.urlopen(f"http://127.0.0.1:{z.config['prometheus_port']}{page}", timeout=10) as r:
        return r.read().decode()


def metric(z, name):
    for line in scrape(z).splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise q.Failure(f"no metric {name}")


def test_metrics():
    s = Setup(prometheus_port=q.free_port())
    z, d = s.z, s.dir
    f = random_file(d / "f", 100000)
    good(z.cli("store", "-f", f))
    z.cli("retrieve", "-f", "/nowhere")
    with q.case("commands are counted by outcome"):
        q.same(metric(z, 'zstore_store_commands_finished{success="true"}'), 1)
        q.same(metric(z, 'zstore_store_commands_finished{success="false"}'), 0)
        q.same(metric(z, 'zstore_retrieve_commands_finished{success="false"}'), 1)
        q.same(metric(z, "zstor_queue_jobs"), 0)
        q.same(metric(z, "fs_fuse_reqs"), 0)
    label = f'{{address="127.0.0.1:{s.backends[2].port}",backend_type="data",namespace="data3"}}'
    with q.case("a backend that dies loses its series but connection_status"):
        q.same(metric(z, "connection_status" + label), 1)
        q.wait_for(lambda: metric(z, "entries" + label) >= 1, 20, "entries")
        q.check(scrape(z, "/healthz").startswith("ok"))
        s.backends[2].stop()
        q.wait_for(lambda: metric(z, "connection_status" + label) == 0, 20, "seen dead")
        q.check("entries" + label not in scrape(z))
        s.backends[2].start()
        q.wait_for(lambda: metric(z, "connection_status" + label) == 1, 20, "seen alive")
    with q.case("healthz fails when reads are not possible"):
        s.stop_backends([0, 1, 2])

        def sick():
            try:
                scrape(z, "/healthz")
            except urllib.error.HTTPError as e:
                return e.code == 503
            return False
        q.wait_for(sick, 20, "503")
        s.start_backends([0, 1, 2])
    with q.case("no secret in metrics, status, log"):
        texts = scrape(z) + scrape(z, "/") + z.cli("status", "--json").stdout.decode() + (z.dir / "zstor.log").read_text()
        for secret in (q.DATA_KEY, q.META_KEY, "secret1"):
            q.check(secret not in texts, secret)
    s.end()


def test_filesystem_metrics():
    s = Setup(prometheus_port=q.free_port(), zdbfs_mountpoint=(mnt := q.tmpdir("mnt")))
    z = s.z
    zdb = q.start_zdb(mode="seq", unix=True)
    with q.case("the statistics of a mounted zdbfs become metrics"):
        m = q.mount_zdbfs(zdb, path=mnt)
        (mnt / "file").write_bytes(os.urandom(MIB))
        os.sync()
        q.wait_for(lambda: metric(z, "fs_fuse_reqs") > 0 and metric(z, "fs_bytes_written") >= MIB, 20, "figures")
        q.check(metric(z, 'fs_syscalls{syscall="create"}') >= 1)
    with q.case("zstor does not keep the mount busy; without it the figures are 0"):
        m.stop()
        q.wait_for(lambda: metric(z, "fs_fuse_reqs") == 0, 20, "zeros")
    zdb.stop()
    s.end()


def test_reconcile_and_heal():
    data = q.tmpdir("zdbdata")
    for ns in ("zdbfs-data", "zdbfs-meta", "zdbfs-temp"):
        for n in range(3):
            random_file(data / ns / f"d{n}", 200000)
    s = Setup(zdb_data_dir_path=data, prometheus_port=q.free_port())
    z = s.z
    with q.case("sealed segments that no hook told of are queued at start"):
        for ns in ("zdbfs-data", "zdbfs-meta"):
            for n in range(2):
                f = data / ns / f"d{n}"
                q.wait_for(lambda f=f: z.cli("check", "-f", f).stdout.decode().strip() == b2(f.read_bytes()), 30, f"{f} stored")
        z.cli("wait", check_exit=0)
        for f in (data / "zdbfs-data" / "d2", data / "zdbfs-temp" / "d0"):
            good(z.cli("check", "-f", f))
    with q.case("shards that are missing on read are restored without help"):
        f = data / "zdbfs-data" / "d0"
        content = f.read_bytes()
        b = s.backends[1]
        b.stop()
        b.wipe()
        b.start()
        fetched(z, f, content)
        q.wait_for(lambda: metric(z, "zstor_heal_total") >= 1, 20, "heal")
        q.wait_for(lambda: metric(z, "zstor_shards_rebuilt_total") >= 1 and metric(z, "zstor_queue_rebuilds") == 0, 60, "rebuild")
        s.stop_backends([2, 3])
        fetched(z, f, content)
        s.start_backends([2, 3])
    s.end()


if __name__ == "__main__":
    q.main()

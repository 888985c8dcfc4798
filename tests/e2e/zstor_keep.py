#!/usr/bin/env python3
"""What zstor does with local files never loses content: eviction needs proof, a restore replaces nothing that is newer,
store -d removes what was stored and nothing else, one object is written by one at a time whatever name it came by."""
# limit: 300
import fcntl
import hashlib
import json
import os
import pathlib
import random
import struct
import subprocess
import threading
import time

import libqsfs as q

MIB = 1 << 20


def write(path, data):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def good(p, out=b""):
    q.same((p.returncode, p.stdout, p.stderr), (0, out, b""), "exit, output, errors")
    return p


def refused(p, *words):
    text = p.stderr.decode()
    q.same(p.returncode, 1, f"exit ({text})")
    for w in words:
        q.check(w in text, f"{w!r} is not in {text!r}")


def metadata_key(s, path):
    """Spec zstor-format 2: the prefix and BLAKE2b-128 of the path."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return f"/{s.z.config['meta']['config']['prefix']}/meta/{digest}"


class Setup:
    """Four data and, apart from them, four metadata backends; zstor over the data directory of a zdb."""

    def __init__(self, **extra):
        self.backends = q.start_backends(8)
        self.root = q.tmpdir("data")
        self.dir = self.root / "zdbfs-data"
        self.dir.mkdir()
        self.z = q.start_zstor(q.zstor_config(self.backends[:4], meta_backends=self.backends[4:],
                                              zdb_data_dir_path=self.root, **extra))
        self.content = {}

    def make(self, n, age=1000, size=MIB):
        f = self.dir / f"d{n}"
        self.content[f] = os.urandom(size)
        f.write_bytes(self.content[f])
        os.utime(f, ns=(time.time_ns() - age * 10**9, f.stat().st_mtime_ns))
        return f

    def store(self, *files):
        for f in files:
            atime = f.stat().st_atime_ns
            good(self.z.cli("store", "-f", f))
            os.utime(f, ns=(atime, f.stat().st_mtime_ns))

    def cache(self):
        return json.loads(self.z.cli("status", "--json").stdout)["cache"]

    def look(self, looks=2):
        """Let the evictor have looks that begin after now, and wait for their end."""
        nudge = q.tmpdir("other") / "nudge"
        for _ in range(looks):
            before = self.cache()["runs"]
            nudge.write_bytes(os.urandom(100))
            self.z.cli("store", "-f", nudge)
            q.wait_for(lambda: self.cache()["runs"] > before, 40, "look of the evictor", step=0.05)

    def wipe(self, *which):
        for i in which:
            self.backends[i].stop()
            self.backends[i].wipe()
            self.backends[i].start()

    def end(self):
        q.same(self.z.stop(), 0, "exit of zstor")
        for b in self.backends:
            if b.alive():
                b.stop()


def test_eviction_needs_proof():
    s = Setup(max_zdb_data_dir_size=8)
    first = [s.make(n) for n in range(6)]
    s.store(*first)
    with q.case("three of four backends lost their data: the last local copies stay"):
        s.wipe(0, 1, 2)
        for n in range(6, 12):
            s.make(n, age=10)
        s.look()
        q.same([f.name for f in first if not f.exists()], [], "evicted")
        q.check(s.cache()["held_files"] >= 6, s.cache())
    s.end()
    s = Setup(max_zdb_data_dir_size=8)
    first = [s.make(n) for n in range(6)]
    s.store(*first)
    with q.case("with as many shards as a read needs, and no more, nothing goes; with one more it does"):
        s.backends[0].stop()
        s.backends[1].stop()
        for n in range(6, 12):
            s.make(n, age=10)
        s.look()
        q.same([f.name for f in first if not f.exists()], [], "evicted")
        s.backends[0].start()
        q.wait_for(lambda: not any(f.exists() for f in first[:3]), 90, "eviction")
    with q.case("what goes is read back whole"):
        for f in first:
            if not f.exists():
                good(s.z.cli("retrieve", "-f", f))
            q.check(f.read_bytes() == s.content[f], f.name)
    s.end()


def test_a_job_of_the_file_keeps_it():
    s = Setup(max_zdb_data_dir_size=4)
    with q.case("a segment stays while a job under another name waits to read it"):
        first = [s.make(n) for n in range(4)]
        other = q.tmpdir("other")
        s.store(*first)
        key = metadata_key(s, other / "d0")
        at = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest()[:8], "little") >> 2
        lock = open(pathlib.Path(s.z.config["state_dir"]) / "objects.lock", "r+b")
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, at, 1, 0))  # the job waits for it
        good(s.z.cli("store", "-n", "-f", first[0], "-k", other))
        for n in range(4, 10):
            s.make(n, age=10)
        q.wait_for(lambda: not first[1].exists(), 60, "eviction of another one")
        s.look()
        q.check(first[0].exists(), "evicted under the job")
        lock.close()
        s.z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
        out = q.tmpdir("out") / "x"
        good(s.z.cli("retrieve", "-f", other / "d0", "-o", out))
        q.check(out.read_bytes() == s.content[first[0]], "content")
    s.end()


def test_free_space_of_the_disk_is_a_limit():
    disk = q.tmpdir("disk")
    q.run("mount", "-t", "tmpfs", "-o", "size=16m", "none", disk, check_exit=0)
    try:
        backends = q.start_backends(4)
        root = disk / "data"
        (root / "ns").mkdir(parents=True)
        z = q.start_zstor(q.zstor_config(backends, zdb_data_dir_path=root, max_zdb_data_dir_size=1000,
                                         min_free_disk_space=6))
        with q.case("segments go when the disk is nearly full, though the limit of the directory is far"):
            for n in range(12):
                f = write(root / "ns" / f"d{n}", os.urandom(MIB))
                os.utime(f, ns=(time.time_ns() - (1000 - n) * 10**9, f.stat().st_mtime_ns))
                good(z.cli("store", "-f", f))

            def free():
                st = os.statvfs(disk)
                return st.f_bavail * st.f_frsize
            q.wait_for(lambda: free() >= 6 * MIB, 60, "free space")
            left = sorted(int(n[1:]) for n in os.listdir(root / "ns"))
            q.check(left[-1] == 11 and 0 not in left and len(left) >= 7, left)
        q.same(z.stop(), 0, "exit of zstor")
        for b in backends:
            b.stop()
    finally:
        q.run("umount", "-l", disk)


def test_a_restore_replaces_nothing_newer():
    s = Setup()
    f, g = s.make(0), s.make(1)
    s.store(f, g)
    with q.case("a file that grew since it was stored is not replaced"):
        with open(f, "ab") as out:
            out.write(b"fsynced since")
        refused(s.z.cli("retrieve", "-f", f), str(f), "--force")
        q.check(f.read_bytes() == s.content[f] + b"fsynced since", "content")
    with q.case("a file with the content of the object is as it should be"):
        before = os.stat(f.with_name("d1"))
        s.make(2)
        good(s.z.cli("retrieve", "-f", g))
        q.same(os.stat(g).st_ino, before.st_ino, "inode")
    with q.case("--force replaces it"):
        good(s.z.cli("retrieve", "--force", "-f", f))
        q.check(f.read_bytes() == s.content[f], "content")
    with q.case("the active segment is never replaced"):
        active = s.make(3)
        s.store(active)
        with open(active, "ab") as out:
            out.write(b"zdb writes here")
        for force in ((), ("--force",)):
            refused(s.z.cli("retrieve", *force, "-f", active), str(active), "active")
        q.check(active.read_bytes() == s.content[active] + b"zdb writes here", "content")
        refused(s.z.cli("retrieve", "--force", "-f", f, "-o", active), "active")
    with q.case("not even when it appears while the object is read"):
        lost = 0
        for i in range(30):
            f.unlink()
            p = subprocess.Popen([q.BIN / "zstor", "-c", s.z.config_file, "--log_file", "/dev/null", "retrieve", "-f", f],
                                 stderr=subprocess.DEVNULL)
            time.sleep(random.random() * 0.03)
            new = b"written meanwhile %d" % i
            try:
                with open(f, "xb") as out:
                    out.write(new)
            except FileExistsError:
                new = s.content[f]
            p.wait(30 * q.SLOWDOWN)
            lost += f.read_bytes() != new
        q.same(lost, 0, "newer contents replaced")
    with q.case("no temporary files are left"):
        q.same(sorted(os.listdir(s.dir)), ["d0", "d1", "d2", "d3"])
    s.end()


def test_output_is_opened_by_the_client():
    s = Setup()
    f = s.make(0)
    s.make(1)
    s.store(f)
    d = q.tmpdir("out")
    want = s.content[f]
    for mode, cli in (("through the daemon", s.z),
                      ("in process", q.Zstor(q.zstor_config(s.backends[:4], meta_backends=s.backends[4:], socket=False,
                                                            state_dir=q.tmpdir("inproc-state"))))):
        def run(*args, **kw):
            return cli.cli("retrieve", "-f", f, *args, **kw)
        with q.case(f"-o - writes to standard output, {mode}"):
            p = run("-o", "-")
            q.same((p.returncode, p.stderr, p.stdout == want), (0, b"", True))
            q.check(not pathlib.Path("/-").exists() and not (s.z.dir / "-").exists())
        with q.case(f"a relative path is relative to the client, {mode}"):
            good(run("-o", "sub", cwd=d))
            q.check((d / "sub").read_bytes() == want)
        with q.case(f"an existing file is kept but with --force; an empty one may be filled, {mode}"):
            write(d / "kept", b"mine")
            refused(run("-o", d / "kept"), "kept", "--force")
            q.same((d / "kept").read_bytes(), b"mine")
            good(run("-o", d / "kept", "--force"))
            q.check((d / "kept").read_bytes() == want)
            write(d / "empty", b"")
            good(run("-o", d / "empty"))
            q.check((d / "empty").read_bytes() == want)
        with q.case(f"a fifo, and what stands for a descriptor of the client, {mode}"):
            os.mkfifo(d / "fifo")
            got = []
            t = threading.Thread(target=lambda: got.append((d / "fifo").read_bytes()))
            t.start()
            good(run("-o", d / "fifo"))
            t.join(30)
            q.check(got == [want], "content from the fifo")
            (d / "fifo").unlink()
            p = run("-o", "/dev/stdout")
            q.same((p.returncode, p.stdout == want), (0, True), "/dev/stdout")
            good(run("-o", "/dev/null"))
        with q.case(f"a failure leaves nothing and writes nothing, {mode}"):
            p = cli.cli("retrieve", "-f", "/nowhere", "-o", "-")
            q.same((p.returncode, p.stdout), (1, b""))
            refused(cli.cli("retrieve", "-f", "/nowhere", "-o", d / "none"), "no metadata found")
            q.same(sorted(os.listdir(d)), ["empty", "kept", "sub"])
        for n in os.listdir(d):
            (d / n).unlink()
    s.end()


def test_store_delete_removes_only_what_it_stored():
    s = Setup()
    d = q.tmpdir("files")
    with q.case("newer contents that come while a store -d runs are kept or stored"):
        rounds, lost = 150, []
        for i in range(rounds):
            f = d / f"i{i % 3}"
            first, newer = os.urandom(random.randrange(1, 300000)), os.urandom(200 + i)
            f.write_bytes(first)
            args = ["store", "-d", "-n" if i % 2 else "-s", "-f", f]
            p = subprocess.Popen([q.BIN / "zstor", "-c", s.z.config_file, "--log_file", "/dev/null", *args],
                                 stderr=subprocess.PIPE)
            time.sleep(random.random() * 0.02)
            how = i % 3
            tmp = d / "tmp"
            if how == 0:        # replaced, as who saves a file does
                tmp.write_bytes(newer)
                os.rename(tmp, f)
            elif how == 1:      # written in place
                with open(f, "wb") as out:
                    out.write(newer)
            else:               # the same length and times, so that only content and ctime tell
                newer = os.urandom(len(first))
                fd = os.open(f, os.O_WRONLY | os.O_CREAT)
                st = os.fstat(fd)
                os.pwrite(fd, newer, 0)
                os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))
                os.close(fd)
            p.communicate(timeout=60 * q.SLOWDOWN)
            s.z.cli("wait", "-t", 60 * q.SLOWDOWN, check_exit=0)
            if f.exists():
                if f.read_bytes() != newer:
                    lost.append((i, "local"))
                f.unlink()
                continue
            out = q.tmpdir("o") / "out"
            s.z.cli("retrieve", "-f", f, "-o", out)
            if not out.exists() or out.read_bytes() != newer:
                lost.append((i, args[2]))
        q.same(lost, [], f"newer contents that are nowhere, of {rounds}")
    with q.case("a file that somebody has open for writing stays"):
        f = write(d / "open", b"x" * 1000)
        with open(f, "r+b") as w:
            s.z.cli("store", "-d", "-f", f)
            w.write(b"y" * 1000)
        q.check(f.exists() and f.read_bytes() == b"y" * 1000, "the writer's file is gone")
    with q.case("a removal that was broken off half-way is undone or done, never half"):
        write(d / ".crash.zstor-remove", b"newer than what is stored")
        refused(s.z.cli("store", "-d", "-f", d / "none"))
        good(s.z.cli("store", "-f", d / "crash"))
        q.same((d / "crash").read_bytes(), b"newer than what is stored")
        (d / "crash").unlink()
    with q.case("nothing is left aside"):
        q.same([n for n in os.listdir(d) if n.startswith(".")], [])
    s.end()


def read_back(s, f, out):
    """A backend of metadata that is too slow to answer, beside the one that loses what it has, may cost a try, not the object."""
    deadline = time.monotonic() + 30 * q.SLOWDOWN
    while True:
        out.unlink(missing_ok=True)
        p = s.z.cli("retrieve", "-f", f, "-o", out)
        if not p.returncode or time.monotonic() > deadline:
            return p


def test_one_writer_per_object():
    """A rebuild that does not know of a store writes a record that names shards which the store has just reclaimed."""
    s = Setup()
    d = q.tmpdir("files")
    (d / "real").mkdir()
    os.symlink("real", d / "link")
    f = write(d / "real" / "f", b"first")
    inproc = q.Zstor({k: v for k, v in s.z.config.items() if k != "socket"}, dir=q.tmpdir("inproc"))
    good(s.z.cli("store", "-f", f))
    stop = threading.Event()
    damage = s.backends[7]
    counts = {"rebuild": 0, "here": 0}

    def lose_metadata():        # so that every rebuild has a record to write
        with damage.client(damage.meta_ns, damage.password) as c:
            while not stop.is_set():
                c.cmd("DEL", metadata_key(s, f))
                time.sleep(0.001)

    def rebuild():
        with s.z.client() as c:
            while not stop.is_set():
                c.cmd("REBUILD", "FILE", str(d / "link" / "f"))
                counts["rebuild"] += 1

    def beside():
        while not stop.is_set():
            inproc.cli("rebuild", "-f", f)
            counts["here"] += 1
    threads = [threading.Thread(target=t) for t in (lose_metadata, rebuild, rebuild, beside)]
    for t in threads:
        t.start()
    lost = []
    out = q.tmpdir("o") / "out"
    try:
        with s.z.client() as c, q.case("stores, and rebuilds over a symbolic link and beside the daemon: nothing is lost"):
            deadline = time.monotonic() + 10
            i = 0
            while time.monotonic() < deadline:
                i += 1
                data = os.urandom(random.randrange(1, 5000))
                (d / "tmp").write_bytes(data)
                os.rename(d / "tmp", f)
                q.same(c.cmd("STORE", str(f)), "OK", f"store {i}")
                p = read_back(s, f, out)
                if p.returncode or out.read_bytes() != data:
                    lost.append((i, p.stderr.decode()[-1500:]))
            q.same(lost, [], f"objects that cannot be read, of {i} stores ({counts})")
            q.check(counts["rebuild"] > 20 and counts["here"] > 5 and i > 20, f"{i} stores, {counts}")
    finally:
        stop.set()
        for t in threads:
            t.join()
    s.end()


if __name__ == "__main__":
    q.main()

"""libsystem - an installation made by bootstrap.sh in a home directory of its own, for whole-system tests."""
import os
import pathlib
import re
import shutil
import signal

import libqsfs as q

BOOTSTRAP = q.REPO / "bootstrap" / "bootstrap.sh"
DAEMONS = [f"backend{n}" for n in range(1, 5)] + ["zstor", "zdb", "zdbfs"]
_installs = []


def free_ports(n):
    """First of n free ports in a row."""
    while True:
        first = q.free_port()
        try:
            socks = []
            for i in range(n):
                s = q.socket.socket()
                socks.append(s)
                s.bind(("127.0.0.1", first + i))
            return first
        except OSError:
            continue
        finally:
            for s in socks:
                s.close()


class Install:
    """.home, .top (~/.threefold), .mnt; bootstrap() and qsfs() run the real scripts with the programs under test."""

    def __init__(self):
        self.home = q.tmpdir("home")
        self.top = self.home / ".threefold"
        self.mnt = self.top / "mnt" / "qsfs"
        self.port = free_ports(4)
        _installs.append(self)

    def env(self, extra=None):
        return {"HOME": self.home, "QSFS_BIN": q.BIN, "QSFS_PORT_BASE": self.port, "QSFS_START_S": 60 * q.SLOWDOWN,
                "QSFS_STOP_S": 60 * q.SLOWDOWN, **(extra or {})}

    def bootstrap(self, *args, timeout=180, env=None, check_exit=0):
        return q.run(BOOTSTRAP, *args, env=self.env(env), timeout=timeout, check_exit=check_exit)

    def qsfs(self, *command, timeout=600, env=None, check_exit=0):
        return q.run(self.top / "bin" / "qsfs", *command, env=self.env(env), timeout=timeout, check_exit=check_exit)

    def zstor(self, *args, timeout=300, check_exit=0):
        return q.run(self.top / "bin" / "zstor", "-c", self.top / "etc" / "zstor.yaml", "--log_file", "/dev/null", *args,
                     timeout=timeout, check_exit=check_exit)

    def local(self):
        return q.Redis(path=self.top / "run" / "zdb.sock")

    def zstor_client(self):
        return q.Redis(path=self.top / "run" / "zstor.sock")

    def pid(self, name):
        return int((self.top / "run" / f"{name}.pid").read_text())

    def pids(self):
        return {name: self.pid(name) for name in DAEMONS}

    def alive(self, name):
        try:
            return pathlib.Path(f"/proc/{self.pid(name)}/cmdline").read_bytes().startswith(os.fsencode(self.top / "bin"))
        except (OSError, ValueError):
            return False

    def kill9(self, name):
        pid = self.pid(name)
        q.check(self.alive(name), f"{name} is not running")
        os.kill(pid, signal.SIGKILL)
        q.wait_for(lambda: not self.alive(name), 20, f"end of {name}")

    def cache_limit(self):
        return int(re.search(r"^max_zdb_data_dir_size: (\d+)", (self.top / "etc" / "zstor.yaml").read_text(), re.M)[1]) << 20

    def segments(self):
        """Local data segments of all namespaces but the temporary one."""
        out = []
        for d in (self.top / "data" / "local").iterdir():
            if d.is_dir() and d.name != "zdbfs-temp":
                out += [f for f in d.iterdir() if re.fullmatch(r"d\d+", f.name)]
        return out

    def closed_segments(self):
        """{closed data segment: the checksum that zstor has of such a content}; what is evicted meanwhile is left out."""
        last, out = {}, {}
        for f in self.segments():
            last[f.parent] = max(last.get(f.parent, 0), int(f.name[1:]))
        for f in self.segments():
            if int(f.name[1:]) < last.get(f.parent, 0):
                try:
                    out[f] = q.hashlib.blake2b(f.read_bytes(), digest_size=16).hexdigest()
                except FileNotFoundError:
                    pass
        return out

    def local_bytes(self):
        total = 0
        for f in self.segments():
            try:
                total += f.stat().st_size
            except FileNotFoundError:
                pass
        return total

    def healthy(self, *options):
        """Output of qsfs status, when it has nothing to complain of any more: a shard that a slow backend has left out is a risk
        until its rebuild."""
        return q.wait_for(lambda: self.qsfs("status", *options), 90, "healthy state", step=0.2).stdout.decode()

    def quiet(self, seconds=60):
        """Until zstor's queue is empty.  A mount writes by itself now and then (its lease, points), so that it may be empty
        a moment later than everything that was written before is stored."""
        with self.zstor_client() as c:
            q.wait_for(lambda: c.cmd("QUEUE") == 0, seconds, "empty queue")

    def wait_evicted(self, seconds=120):
        q.wait_for(lambda: self.local_bytes() <= self.cache_limit(), seconds, "eviction to the limit", step=0.2)

    def check_volume(self):
        """zdbfs --check, for which the mount has to be away; everything runs again afterwards."""
        q.run("fusermount3", "-u", self.mnt, check_exit=0)
        q.wait_for(lambda: not self.alive("zdbfs"), 60, "end of zdbfs")
        p = q.run(self.top / "bin" / "zdbfs", "--check", "-o", f"unix={self.top}/run/zdb.sock", timeout=300)
        self.qsfs("start")
        q.check(p.returncode == 0, f"zdbfs --check: exit {p.returncode}: {p.stdout.decode(errors='replace')[-400:]}"
                                   f"{p.stderr.decode(errors='replace')[-400:]}")

    def wipe_backend(self, n):
        self.kill9(f"backend{n}")
        for kind in ("data", "index"):
            shutil.rmtree(self.top / kind / f"backend{n}")

    def destroy(self):
        """Whatever the state: end everything, by pid."""
        for name in sorted((f.stem for f in (self.top / "run").glob("*.pid")), reverse=True):
            if self.alive(name):
                os.kill(self.pid(name), signal.SIGKILL)
        q.unmount(self.mnt)
        shutil.rmtree(self.home, ignore_errors=True)


def destroy_all():
    while _installs:
        _installs.pop().destroy()


q.atexit.register(destroy_all)


def make_tree(root, files, size, seed=b"tree"):
    """A real tree: files of this system under /usr until there are `files` of them with `size` bytes, and what copies
    usually lose: odd names, links, modes, owners, times, empty and large files."""
    root = pathlib.Path(root)
    root.mkdir(parents=True)
    count = total = 0
    for top in ("/usr/share", "/usr/include", "/usr/lib", "/usr/bin"):
        for base, dirs, names in os.walk(top):
            dirs.sort()
            made = root / base[1:]
            for name in sorted(names):
                if count >= files and total >= size:
                    break
                src = os.path.join(base, name)
                st = os.lstat(src)
                if not (os.path.islink(src) or os.path.isfile(src)):
                    continue
                # enough small files are there first; then only what carries size
                if count >= files and st.st_size < 100_000:
                    continue
                # one huge file must not use up the whole size
                if st.st_size > size // 8:
                    continue
                made.mkdir(parents=True, exist_ok=True)
                _copy(src, made / name)
                count += 1
                total += st.st_size
            if count >= files and total >= size:
                break
    odd = root / "odd"
    odd.mkdir()
    (odd / "empty").write_bytes(b"")
    (odd / "one").write_bytes(b"1")
    (odd / ("n" * 255)).write_bytes(b"longest name")
    (odd / "new\nline \t\"quotes' $(x) *").write_bytes(b"odd name")
    (odd / "\u00fc\u00f1\u00ee \u6587\u4ef6").write_bytes("h\u00e9llo".encode())
    (odd / "block").write_bytes(b"B" * 131072)
    (odd / "block+1").write_bytes(b"b" * 131073)
    with open(odd / "large", "wb") as f:
        block = q.hashlib.sha512(seed).digest() * 2048
        for i in range(max(1, size // 20 // len(block))):
            f.write(i.to_bytes(8, "little") + block[8:])
    with open(odd / "sparse", "wb") as f:
        f.seek(1_000_000)
        f.write(b"end")
    for name, target in (("abs", "/etc/passwd"), ("rel", "../odd/one"), ("dangling", "no/where"), ("long", "x" * 1000)):
        (odd / name).symlink_to(target)
    for mode in (0o400, 0o600, 0o644, 0o755, 0o4755, 0o2711, 0o000):
        f = odd / f"mode{mode:o}"
        f.write_bytes(b"%o" % mode)
        f.chmod(mode)
    (odd / "sticky").mkdir()
    (odd / "sticky").chmod(0o1777)
    (odd / "deep").mkdir()
    d = odd / "deep"
    for i in range(30):
        d = d / f"level{i}"
        d.mkdir()
    (d / "bottom").write_bytes(b"deep")
    os.utime(odd / "one", (1_000_000_000, 1_000_000_001))
    os.utime(odd / "empty", (0, 86400))
    os.utime(odd / "deep", (1_500_000_000, 1_500_000_000))
    os.link(odd / "block", odd / "block-linked")
    if os.geteuid() == 0:
        os.chown(odd / "one", 12, 34)
        os.chown(odd / "sticky", 1000, 1000)
    return count, total


def _copy(src, dst):
    shutil.copy2(src, dst, follow_symlinks=False)
    st = os.lstat(src)
    if os.geteuid() == 0:
        os.lchown(dst, st.st_uid, st.st_gid)
        if not os.path.islink(src):
            os.chmod(dst, st.st_mode & 0o7777)      # chown clears setuid

"""libqsfs - what every Python end-to-end test needs; standard library only.

A test file is a program.  It imports this module, defines functions test_...() and ends with

    if __name__ == "__main__":
        q.main()

main() runs them in the order they are written and prints "ok NAME" or "not ok NAME: why" for each.  Every daemon
started here runs in the foreground as a child, with its output in a file; at exit it is stopped by its pid, mounts are
undone, a sanitizer report fails the run, and the directory is removed (kept when something failed and QSFS_KEEP=1).

    QSFS_BIN   directory of zdb, zdbfs, zstor (default: build/bin of the repository)
    QSFS_TMP   directory for this file's use, given by run-e2e.sh (default: a fresh temporary one)
"""
import atexit
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

REPO = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("QSFS_BIN") or REPO / "build" / "bin")
HOOK = REPO / "hooks" / "zdb-hook.sh"
GOLDEN = REPO / "tests" / "golden"
SLOWDOWN = 4 if any(w in str(BIN) for w in ("address", "thread", "undefined")) else 1  # sanitizer builds get more time

_own_tmp = "QSFS_TMP" not in os.environ
TMP = pathlib.Path(tempfile.mkdtemp(prefix="qsfs.") if _own_tmp else os.environ["QSFS_TMP"])
os.environ["QSFS_TMP"] = str(TMP)
_san_dir = TMP / "san"
_started = []   # every daemon, in start order
_mounts = []
_failed = []
_counter = 0


class Failure(Exception):
    """A claim of the test that does not hold."""


class Died(Exception):
    """A daemon ended while it should have started; waiting for it makes no sense."""


# --- results --------------------------------------------------------------------------------------

def ok(name):
    print(f"ok {name}", flush=True)


def not_ok(name, why):
    _failed.append(name)
    print(f"not ok {name}: {' '.join(str(why).split())[:500]}", flush=True)


def check(cond, why="check failed"):
    if not cond:
        raise Failure(why)


def same(got, want, what="value"):
    if got != want:
        raise Failure(f"{what}: got {_short(got)}, want {_short(want)}")


def _short(v):
    text = repr(v)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


class case:
    """with q.case("name"): ...   one ok / not ok line; the test goes on after a failure."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, e, tb):
        if kind is None:
            ok(self.name)
            return False
        if issubclass(kind, (KeyboardInterrupt, SystemExit)):
            return False
        if not issubclass(kind, Failure):
            traceback.print_exception(kind, e, tb, file=sys.stderr)
        not_ok(self.name, e if issubclass(kind, Failure) else f"{kind.__name__}: {e}")
        return True


def main(module=None):
    """Run every test_* function of the calling file (or those named on the command line), then exit 0 or 1."""
    scope = vars(module or sys.modules["__main__"])
    tests = [(n, f) for n, f in scope.items() if n.startswith("test_") and callable(f)]
    if len(sys.argv) > 1:
        tests = [(n, f) for n, f in tests if n in sys.argv[1:] or n[5:] in sys.argv[1:]]
    for name, f in tests:
        started = time.monotonic()
        with case(name[5:]):
            f()
        if time.monotonic() - started > 5:
            print(f"# {name[5:]}: {time.monotonic() - started:.0f} s", flush=True)
    finish()


def finish():
    """Stop everything, look for sanitizer reports, exit."""
    cleanup()
    sys.exit(1 if _failed else 0)


# --- waiting and small helpers --------------------------------------------------------------------

def wait_for(cond, seconds=20, what="condition", step=0.02):
    """Value of cond() as soon as it is true; Failure after the time.  Exceptions of the usual kinds count as false."""
    deadline = time.monotonic() + seconds * SLOWDOWN
    last = None
    while True:
        try:
            value = cond()
            if value:
                return value
        except (OSError, ConnectionError, Failure) as e:
            last = e
        if time.monotonic() > deadline:
            raise Failure(f"no {what} after {seconds * SLOWDOWN} s" + (f" ({last})" if last else ""))
        time.sleep(step)


VERSION = re.search(r'QSFS_VERSION "(.*)"', (REPO / "common/version.h").read_text())[1]


def free_port(host="127.0.0.1"):
    """A port nobody listens on, below the range the kernel hands out to clients, so that it stays free."""
    for _ in range(200):
        port = 10000 + int.from_bytes(os.urandom(2), "little") % 20000
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
                return port
            except OSError:
                continue
    raise Failure("no free port")


def tmpdir(name="d"):
    """A fresh directory under TMP."""
    global _counter
    _counter += 1
    d = TMP / f"{_counter:03d}-{name}"
    d.mkdir(parents=True)
    return d


def run(*argv, timeout=60, env=None, check_exit=None, stdin=b"", cwd=None):
    """Run a command to its end: CompletedProcess with bytes in stdout and stderr.  check_exit=0 makes another exit a Failure."""
    p = subprocess.run([str(a) for a in argv], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout * SLOWDOWN, env=environment(env), cwd=cwd)
    if check_exit is not None and p.returncode != check_exit:
        raise Failure(f"{' '.join(str(a) for a in argv)[:200]}: exit {p.returncode}, want {check_exit}: "
                      f"{(p.stderr or p.stdout).decode(errors='replace')[-300:]}")
    return p


def environment(extra=None):
    """This process's environment, sanitizers told to write reports where cleanup() finds them, and `extra`."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = f"log_path={_san_dir}/asan:exitcode=99:halt_on_error=1:abort_on_error=0:detect_leaks=1"
    env["UBSAN_OPTIONS"] = f"log_path={_san_dir}/ubsan:exitcode=99:halt_on_error=1:print_stacktrace=1"
    # races are looked for; a daemon that is told twice to stop ends without waiting for threads that hang in a backend
    env["TSAN_OPTIONS"] = f"log_path={_san_dir}/tsan:exitcode=99:halt_on_error=0:report_thread_leaks=0"
    for k, v in (extra or {}).items():
        if v is None:
            env.pop(k, None)
        else:
            env[k] = str(v)
    _san_dir.mkdir(parents=True, exist_ok=True)
    return env


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def drop_caches():
    """Kernel page, dentry and inode caches; needs root, answers whether it worked."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


def tree(root):
    """Everything a copy has to keep: {path: (type, mode, uid, gid, size, mtime_ns, sha256 or link target, hard links)}.
    Directories count without size and links."""
    root = pathlib.Path(root)
    out = {}

    def add(p, rel):
        st = os.lstat(p)
        kind = "d" if os.path.isdir(p) and not os.path.islink(p) else "l" if os.path.islink(p) else "f"
        content = os.readlink(p) if kind == "l" else sha256(p) if kind == "f" else None
        out[rel] = (kind, st.st_mode & 0o7777, st.st_uid, st.st_gid, 0 if kind == "d" else st.st_size,
                    st.st_mtime_ns, content, 0 if kind == "d" else st.st_nlink)

    add(root, ".")
    for base, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            p = os.path.join(base, name)
            add(p, os.path.relpath(p, root))
    return out


def same_tree(got, want, what="tree"):
    """Compare two tree() results; the message names the first differences."""
    diffs = [f"{p} missing" for p in want if p not in got] + [f"{p} unexpected" for p in got if p not in want]
    fields = ("type", "mode", "uid", "gid", "size", "mtime", "content", "links")
    for p in want:
        if p in got and got[p] != want[p]:
            diffs += [f"{p}: {f} {g!r}, want {w!r}" for f, g, w in zip(fields, got[p], want[p]) if g != w]
    if diffs:
        raise Failure(f"{what}: {len(diffs)} differences: " + "; ".join(diffs[:5]))


# --- redis protocol -------------------------------------------------------------------------------

class Status(str):
    """A +simple string reply."""


class Error(str):
    """A -error reply; returned by Redis.cmd, never raised by it."""


class Redis:
    """Blocking client.  Replies: Status, Error, int, bytes, None (nil), list."""

    def __init__(self, port=None, path=None, host="127.0.0.1", timeout=30):
        if path is not None:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(timeout * SLOWDOWN)
            self.s.connect(str(path))
        else:
            self.s = socket.create_connection((host, port), timeout=timeout * SLOWDOWN)
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.f = self.s.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.f.close()
        self.s.close()

    @staticmethod
    def encode(*args):
        out = [b"*%d\r\n" % len(args)]
        for a in args:
            a = a if isinstance(a, (bytes, bytearray, memoryview)) else str(a).encode()
            out += [b"$%d\r\n" % len(a), bytes(a), b"\r\n"]
        return b"".join(out)

    def send(self, *args):
        self.s.sendall(self.encode(*args))

    def send_raw(self, data):
        self.s.sendall(data)

    def recv(self):
        line = self.f.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("connection closed by the server")
        kind, rest = line[:1], line[1:].rstrip(b"\r\n")
        if kind == b"+":
            return Status(rest.decode(errors="surrogateescape"))
        if kind == b"-":
            return Error(rest.decode(errors="surrogateescape"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            if n < 0:
                return None
            data = self.f.read(n + 2)
            if len(data) != n + 2:
                raise ConnectionError("connection closed inside a reply")
            return data[:-2]
        if kind == b"*":
            n = int(rest)
            return None if n < 0 else [self.recv() for _ in range(n)]
        raise ConnectionError(f"not a reply: {line[:80]!r}")

    def closed(self):
        """True when the server has closed this connection (waits for it up to the timeout)."""
        try:
            return self.f.read(1) == b""
        except ConnectionResetError:
            return True

    def cmd(self, *args):
        self.send(*args)
        return self.recv()

    def ok(self, *args):
        """cmd(), but an error reply is a Failure."""
        reply = self.cmd(*args)
        if isinstance(reply, Error):
            raise Failure(f"{args[0]}: {reply}")
        return reply

    def pipeline(self, requests):
        """Send all, then read all; for batches that fit the socket buffers."""
        self.s.sendall(b"".join(self.encode(*r) for r in requests))
        return [self.recv() for _ in requests]

    def info(self, ns):
        """NSINFO as a dictionary of strings."""
        text = self.ok("NSINFO", ns).decode()
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


# --- processes ------------------------------------------------------------------------------------

class Daemon:
    """A child process with a log file; start() again after kill9() or stop() uses the same arguments."""
    name = "daemon"

    def __init__(self, argv, log, env=None, cwd=None):
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        self.env = env or {}
        self.cwd = cwd
        self.p = None
        _started.append(self)

    @property
    def pid(self):
        return self.p.pid

    def spawn(self):
        check(not self.alive(), f"{self.name} is running already")
        with open(self.log, "ab") as f:
            self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                      env=environment(self.env), cwd=self.cwd)

    def start(self):
        self.spawn()
        wait_for(self._ready, 30, f"answer of {self.name}")
        return self

    def _ready(self):
        if not self.alive():
            raise Died(f"{self.name} ended with {self.p.returncode}: {self.tail()}")
        return self.ready()

    def ready(self):
        return True

    def alive(self):
        return self.p is not None and self.p.poll() is None

    def wait(self, seconds=30):
        """Exit code (negative: signal)."""
        try:
            return self.p.wait(seconds * SLOWDOWN)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} (pid {self.pid}) did not end in {seconds * SLOWDOWN} s") from None

    def stop(self, sig=signal.SIGTERM, seconds=60):
        """Signal and wait; exit code."""
        if self.alive():
            self.p.send_signal(sig)
        return self.wait(seconds)

    def kill9(self):
        return self.stop(signal.SIGKILL, 10)

    def tail(self, n=600):
        try:
            return self.log.read_text(errors="replace")[-n:]
        except OSError:
            return ""

    def rss_kib(self, peak=True):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", text, re.M).group(1))


class Zdb(Daemon):
    """.port or .socket, .dir, .data, .index; client() opens a connection."""
    name = "zdb"

    def __init__(self, *args, port=None, unix=False, dir=None, host="127.0.0.1", mode=None, env=None, **options):
        self.dir = pathlib.Path(dir) if dir else tmpdir("zdb")
        self.data = pathlib.Path(options.pop("data", self.dir / "data"))
        self.index = pathlib.Path(options.pop("index", self.dir / "index"))
        self.host = host
        self.socket = self.dir / "zdb.sock" if unix is True else pathlib.Path(unix) if unix else None
        self.port = None if self.socket else port or free_port(host)
        argv = [BIN / "zdb", "--data", self.data, "--index", self.index]
        argv += ["--socket", self.socket] if self.socket else ["--listen", host, "--port", self.port]
        if mode:
            argv += ["--mode", mode]
        for k, v in options.items():        # datasize=1048576 -> --datasize 1048576; sync=True -> --sync
            argv += [f"--{k.replace('_', '-')}"] + ([] if v is True else [v])
        super().__init__(argv + list(args), self.dir / "zdb.log", env)

    def client(self, ns=None, password=None, timeout=30):
        c = Redis(self.port, self.socket, self.host, timeout)
        if ns:
            c.ok("SELECT", ns, *([password] if password else []))
        return c

    def ready(self):
        with self.client(timeout=2) as c:
            return c.cmd("PING") is not None


def start_zdb(*args, **options):
    """start_zdb(mode="seq", datasize=1 << 20, hook=path, unix=True, admin="x", env={...}) -> running Zdb."""
    return Zdb(*args, **options).start()


class Backend(Zdb):
    """Backend number n: namespaces data<n> (seq) and meta<n> (user) with .password."""

    def __init__(self, n, **options):
        super().__init__(**options)
        self.n = n
        self.name = f"backend{n}"
        self.password = f"secret{n}"
        self.data_ns, self.meta_ns = f"data{n}", f"meta{n}"

    def make_namespaces(self):
        with self.client() as c:
            have = {x.decode() for x in c.ok("NSLIST")}
            for ns, mode in ((self.data_ns, "seq"), (self.meta_ns, "user")):
                if ns in have:
                    continue
                c.ok("NSNEW", ns)
                c.ok("NSSET", ns, "mode", mode)
                c.ok("NSSET", ns, "password", self.password)
                c.ok("NSSET", ns, "public", "0")

    def start(self):
        super().start()
        self.make_namespaces()
        return self

    def wipe(self):
        """Lose everything (the process must be stopped)."""
        check(not self.alive(), "wipe of a running backend")
        for d in (self.data, self.index):
            shutil.rmtree(d, ignore_errors=True)

    def entry(self, kind):
        return {"address": f"{self.host}:{self.port}", "namespace": self.data_ns if kind == "data" else self.meta_ns,
                "password": self.password}


def start_backends(n=4, **options):
    return [Backend(i + 1, **options).start() for i in range(n)]


DATA_KEY = "2b" * 31 + "01"
META_KEY = "7c" * 31 + "02"


def to_yaml(value, indent=0):
    """Dictionaries, lists, strings, numbers and booleans as block YAML."""
    pad = "  " * indent
    if isinstance(value, dict):
        return "".join(f"{pad}{k}:" + (f"\n{to_yaml(v, indent + 1)}" if isinstance(v, (dict, list)) and v
                                       else f" {to_yaml(v)}\n") for k, v in value.items())
    if isinstance(value, list):
        if not value:
            return "[]"
        out = ""
        for v in value:
            text = to_yaml(v, indent + 1) if isinstance(v, (dict, list)) else to_yaml(v) + "\n"
            out += f"{pad}- {text.lstrip() if isinstance(v, (dict, list)) else text}"
        return out
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def zstor_config(backends, dir=None, minimal=2, expected=4, groups=None, meta_backends=None, prefix="test-meta",
                 socket=True, **extra):
    """Dictionary of a zstor config over the Backend objects; extra keys are added (None removes)."""
    dir = pathlib.Path(dir) if dir else tmpdir("zstor")
    conf = {
        "minimal_shards": minimal, "expected_shards": expected, "redundant_groups": 0, "redundant_nodes": 0,
        "socket": str(dir / "zstor.sock"), "pid_file": str(dir / "zstor.pid"), "state_dir": str(dir / "state"), "reclaim_grace": 0,
        "encryption": {"algorithm": "AES", "key": DATA_KEY},
        "compression": {"algorithm": "snappy"},
        "meta": {"type": "zdb", "config": {
            "prefix": prefix, "encryption": {"algorithm": "AES", "key": META_KEY},
            "backends": [b.entry("meta") for b in (meta_backends or backends[:4])]}},
        "groups": [{"backends": [b.entry("data") for b in g]} for g in (groups or [backends])],
    }
    if not socket:
        del conf["socket"]
    for k, v in extra.items():
        if v is None:
            conf.pop(k, None)
        else:
            conf[k] = str(v) if isinstance(v, pathlib.Path) else v
    return conf


class Zstor(Daemon):
    """.dir, .config (dictionary), .config_file, .socket; cli("store", "-f", path) runs the command line tool."""
    name = "zstor"

    def __init__(self, config, dir=None, env=None):
        self.config = config
        self.dir = pathlib.Path(dir) if dir else pathlib.Path(config["socket"]).parent if "socket" in config \
            else tmpdir("zstor")
        self.config_file = self.dir / "zstor.yaml"
        self.write_config()
        super().__init__([BIN / "zstor", "-c", self.config_file, "--log_file", self.dir / "zstor.log", "monitor"],
                         self.dir / "zstor.out", env)

    @property
    def socket(self):
        return self.config.get("socket")

    def write_config(self):
        fd = os.open(self.config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as f:
            f.write(to_yaml(self.config))

    def ready(self):
        with self.client(timeout=2) as c:
            return c.cmd("PING") is not None

    def client(self, timeout=60):
        return Redis(path=self.socket, timeout=timeout)

    def cli(self, *args, timeout=120, **kw):
        return run(BIN / "zstor", "-c", self.config_file, "--log_file", self.dir / "cli.log", *args, timeout=timeout, **kw)

    def tail(self, n=600):
        try:
            return super().tail(n) + (self.dir / "zstor.log").read_text(errors="replace")[-n:]
        except OSError:
            return super().tail(n)


def start_zstor(config, **options):
    """config: dictionary of zstor_config().  -> running Zstor."""
    return Zstor(config, **options).start()


class Mount(Daemon):
    """A mounted zdbfs in the foreground: .path.  stop() unmounts and waits; kill9() leaves a dead mount, start() again
    cleans it."""
    name = "zdbfs"

    def __init__(self, zdb, *args, path=None, opts="autons", env=None):
        self.zdb = zdb
        self.path = pathlib.Path(path) if path else tmpdir("mnt")
        where = f"unix={zdb.socket}" if zdb.socket else f"host={zdb.host},port={zdb.port}"
        argv = [BIN / "zdbfs", "-f", "-o", ",".join(o for o in (opts, where) if o), *args, self.path]
        super().__init__(argv, self.path.parent / f"{self.path.name}.log", env)
        _mounts.append(self.path)

    def start(self):
        if not pathlib.Path("/dev/fuse").exists():
            raise Failure("/dev/fuse is missing: FUSE tests need it (modprobe fuse; in a container --device /dev/fuse)")
        unmount(self.path)
        return super().start()

    def ready(self):
        return os.path.ismount(self.path)

    def unmount(self, seconds=60):
        """Clean unmount: all dirty data has to be stored; exit code of zdbfs.  Programs that look at every mount of the
        machine keep it busy for a moment."""
        def done():
            p = run("fusermount3", "-u", self.path, timeout=seconds)
            check(p.returncode == 0 or b"busy" in p.stderr, f"fusermount3: exit {p.returncode}: {p.stderr.decode()}")
            return p.returncode == 0
        wait_for(done, 10, f"{self.path} to be free")
        return self.wait(seconds)

    def stop(self, sig=signal.SIGTERM, seconds=60):
        r = super().stop(sig, seconds)
        unmount(self.path)
        return r


def mount_zdbfs(zdb, *args, **options):
    return Mount(zdb, *args, **options).start()


def unmount(path):
    """Lazily, whatever its state; nothing when it is not a mount."""
    table = pathlib.Path("/proc/self/mounts").read_text()
    if f" {path} " in table:
        subprocess.run(["fusermount3", "-u", "-z", str(path)], stderr=subprocess.DEVNULL)


class Stack:
    """The whole suite in one directory: .backends, .zstor, .zdb, .mount, wired by the real hook script.
    cache_mib is the limit of local data; datasize the size of a segment."""

    def __init__(self, cache_mib=16, datasize=1 << 20, rotate=None, backends=4, minimal=2, zstor=None, mount_opts=""):
        self.dir = tmpdir("stack")
        self.backends = start_backends(backends)
        local = self.dir / "zdb"
        conf = zstor_config(self.backends, self.dir, minimal, backends, zdb_data_dir_path=local / "data",
                            max_zdb_data_dir_size=cache_mib, **(zstor or {}))
        self.zstor = start_zstor(conf)
        options = {"rotate": rotate} if rotate else {}
        self.zdb = start_zdb(unix=True, dir=_made(local), mode="seq", datasize=datasize, hook=HOOK,
                             env={"ZSTOR_BIN": BIN / "zstor", "ZSTOR_CONFIG": self.zstor.config_file}, **options)
        self.mount = mount_zdbfs(self.zdb, opts="autons" + ("," + mount_opts if mount_opts else ""),
                                 path=_made(self.dir / "mnt"))
        self.path = self.mount.path

    def seal(self, seconds=120):
        """Flush the mount, close the open segments and wait until everything is stored remotely."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        with self.zdb.client() as c:
            for ns in ("zdbfs-meta", "zdbfs-data"):
                c.ok("SELECT", ns)
                c.ok("NSJUMP")
            wait_for(lambda: c.ok("HOOKS", "PENDING") == 0, seconds, "end of the hooks")
        self.zstor.cli("wait", timeout=seconds, check_exit=0)

    def local_bytes(self):
        """Bytes of data segments kept locally, without zdbfs-temp."""
        return sum(f.stat().st_size for d in self.zdb.data.iterdir() if d.is_dir() and d.name != "zdbfs-temp"
                   for f in d.iterdir() if re.fullmatch(r"d\d+", f.name))


def _made(d):
    d.mkdir(parents=True, exist_ok=True)
    return d


def cleanup():
    """Stop what was started here, newest first; runs once."""
    while _started:
        d = _started.pop()
        if not d.alive():
            continue
        if isinstance(d, Mount):
            unmount(d.path)
        try:
            d.p.terminate()
            d.p.wait(20 * SLOWDOWN)
        except subprocess.TimeoutExpired:
            not_ok(f"{d.name}_stops", f"pid {d.pid} ignored SIGTERM; log: {d.tail()}")
            d.p.kill()
            d.p.wait()
    for path in _mounts:
        unmount(path)
    _mounts.clear()
    if _san_dir.is_dir():
        for report in sorted(_san_dir.iterdir()):
            not_ok(f"sanitizer_{report.name}", report.read_text(errors="replace")[:2000])
            print(report.read_text(errors="replace"), file=sys.stderr)
            report.rename(report.with_name("seen-" + report.name))
        shutil.rmtree(_san_dir, ignore_errors=True)
    if _own_tmp and not (_failed and os.environ.get("QSFS_KEEP")):
        shutil.rmtree(TMP, ignore_errors=True)
    elif _own_tmp:
        print(f"kept {TMP}", file=sys.stderr)


def _on_signal(sig, _frame):
    sys.exit(128 + sig)


signal.signal(signal.SIGTERM, _on_signal)
atexit.register(cleanup)

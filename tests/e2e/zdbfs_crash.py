#!/usr/bin/env python3
# limit: 900
"""kill -9 of zdbfs, of zdb, of both, at random moments under load: after a remount everything that was fsynced is there
and right, what was not is old or new but never a mixture, and the volume passes the check."""
import hashlib
import os
import random
import threading
import time

import libqsfs as q

SEED = int(os.environ.get("QSFS_SEED", 0)) or int.from_bytes(os.urandom(4), "little")
ROUNDS = int(os.environ.get("QSFS_ROUNDS", 6))
print(f"# seed {SEED}: QSFS_SEED={SEED} repeats this run", flush=True)

zdb = mount = None


def setup():
    global zdb, mount
    if zdb is None:
        zdb = q.start_zdb(unix=True, mode="seq", datasize=4 << 20)
        mount = q.mount_zdbfs(zdb, opts="autons,flush=1,timeout=20")


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Writer(threading.Thread):
    """Does what programs do with files, and notes what was promised.  promised: path -> what it must hold (bytes digest), or
    None when its removal was made durable.  open_ends: path -> all the digests it may hold, because a change was under way."""

    def __init__(self, base, seed):
        super().__init__(daemon=True)
        self.base = base
        self.r = random.Random(seed)
        self.promised, self.open_ends = {}, {}
        self.n = 0
        self.error = None
        self.stopped = threading.Event()

    def run(self):
        try:
            os.makedirs(self.base, exist_ok=True)
            fsync(os.path.dirname(self.base))
            while not self.stopped.is_set():
                self.r.choice((self.new_file, self.new_file, self.replace, self.overwrite, self.append, self.move,
                               self.remove, self.unsynced))()
                self.n += 1
        except OSError as e:
            self.error = e

    def data(self):
        return self.r.randbytes(self.r.choice((0, 1, 300, 4096, 70000, 131072, 131073, 400000)))

    def pick(self):
        live = [p for p, v in self.promised.items() if v is not None and p not in self.open_ends]
        return self.r.choice(live) if live else None

    @staticmethod
    def digest(data):
        return hashlib.sha256(data).hexdigest()

    def begin(self, path, *digests):
        """From here to promise() the path may hold any of these."""
        self.open_ends[path] = {self.promised.get(path), *digests}

    def promise(self, path, digest):
        self.promised[path] = digest
        self.open_ends.pop(path, None)

    def new_file(self):
        path = os.path.join(self.base, f"f{self.n}")
        data = self.data()
        self.begin(path, "anything")
        with open(path, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(data))        # a new file's fsync makes its name durable too: one journal

    def replace(self):
        """Write anew and rename over: old or new, never nothing."""
        path = self.pick()
        if not path:
            return
        data = self.data()
        self.begin(path, self.digest(data))
        with open(path + ".new", "wb") as f:
            self.open_ends[path + ".new"] = {None, "anything"}
            f.write(data)
        os.rename(path + ".new", path)
        if self.r.random() < 0.5:
            fsync(self.base)
            self.promise(path, self.digest(data))
            self.promise(path + ".new", None)

    def overwrite(self):
        path = self.pick()
        if not path:
            return
        with open(path, "r+b") as f:
            old = f.read()
            if not old:
                return
            at = self.r.randrange(len(old))
            data = self.r.randbytes(min(len(old) - at, 5000))
            new = old[:at] + data + old[at + len(data):]
            blocks = [new[i:i + 131072] for i in range(0, len(new), 131072)]
            was = [old[i:i + 131072] for i in range(0, len(old), 131072)]
            # each block is old or new, so any combination of the (at most two) changed ones
            k = [i for i, b in enumerate(blocks) if b != was[i]]
            ways = set()
            for mask in range(1 << len(k)):
                mix = list(was)
                for bit, i in enumerate(k):
                    if mask >> bit & 1:
                        mix[i] = blocks[i]
                ways.add(self.digest(b"".join(mix)))
            self.begin(path, *ways)
            f.seek(at)
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(new))

    def append(self):
        path = self.pick()
        if not path:
            return
        with open(path, "rb") as f:
            old = f.read()
        data = self.data()
        self.begin(path, ("prefix", old, data))
        with open(path, "ab") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(old + data))

    def move(self):
        path = self.pick()
        if not path:
            return
        to = os.path.join(self.base, f"m{self.n}")
        digest = self.promised[path]
        self.begin(path, None)
        self.begin(to, digest)
        os.rename(path, to)
        fsync(self.base)
        self.promise(path, None)
        self.promise(to, digest)

    def remove(self):
        path = self.pick()
        if not path or self.r.random() < 0.5:
            return
        self.begin(path, None)
        os.unlink(path)
        if self.r.random() < 0.5:
            fsync(self.base)
            self.promise(path, None)

    def unsynced(self):
        """A directory with files that nobody waits for."""
        d = os.path.join(self.base, f"d{self.n}")
        os.mkdir(d)
        for i in range(self.r.randrange(5)):
            with open(os.path.join(d, f"x{i}"), "wb") as f:
                f.write(self.data())

    def check(self, what):
        wrong = []
        for path in {**self.promised, **self.open_ends}:
            allowed = self.open_ends.get(path, {self.promised.get(path)})
            try:
                with open(path, "rb") as f:
                    data = f.read()
                got = self.digest(data)
            except FileNotFoundError:
                data = got = None
            if got in allowed or (got is not None and "anything" in allowed):
                continue
            if data is not None and any(isinstance(a, tuple) and data.startswith(a[1]) and (a[1] + a[2]).startswith(data)
                                        for a in allowed):
                continue
            wrong.append(f"{os.path.basename(path)}: {'gone' if got is None else f'{len(data)} bytes'}, promised "
                         f"{'its absence' if self.promised.get(path) is None else 'content'}"
                         f"{', a change was under way' if path in self.open_ends else ''}")
        q.check(not wrong, f"{what}: {len(wrong)} of {len(self.promised)} promises broken: {'; '.join(wrong[:4])}")

    def settle(self):
        """After a check: what is there now is what counts from here on."""
        self.error = None


def read_everything(root):
    for base, _, names in os.walk(root, onerror=_raise):
        for name in names:
            with open(os.path.join(base, name), "rb") as f:
                while f.read(1 << 20):
                    pass


def _raise(e):
    raise q.Failure(f"directory cannot be read: {e}")


def volume_check():
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}", timeout=120)
    q.same(p.returncode, 0, f"check: {p.stdout.decode()} {p.stderr.decode()}")
    return p.stdout.decode()


def stop():
    """Clean end of the mount; where it hangs is shown when there is a debugger."""
    try:
        code = mount.stop(seconds=40)
    except q.Failure:
        if q.shutil.which("gdb"):
            out = q.run("gdb", "-p", mount.pid, "-batch", "-ex", "thread apply all bt 12").stdout.decode()
            print("\n".join("# " + line for line in out.splitlines() if line.startswith(("#", "Thread"))), flush=True)
        raise
    q.check(code == 0, f"zdbfs ended with {code}: {mount.tail(400)}")


def crash(victims, run):
    setup()
    if not mount.alive():
        mount.start()                      # an earlier case failed in between
    r = random.Random(f"{SEED} {victims} {run}")
    ws = [Writer(str(mount.path / f"{'-'.join(victims)}-{run}-{k}"), f"{SEED} {victims} {run} {k}") for k in range(3)]
    for w in ws:
        w.start()
    q.wait_for(lambda: all(w.n >= 3 or w.error for w in ws), 60, "first operations")
    time.sleep(r.uniform(0, 1.5))          # a random moment is what is wanted here
    for name in victims:
        (zdb if name == "zdb" else mount).kill9()
    if "zdb" in victims:
        if "zdbfs" not in victims and r.random() < 0.5:
            zdb.start()                    # comes back at once: the mount goes on
            counts = [w.n for w in ws]
            q.wait_for(lambda: any(w.n > c + 2 for w, c in zip(ws, counts)) or all(w.error for w in ws), 60, "going on")
    for w in ws:
        w.stopped.set()
    if not zdb.alive():
        zdb.start()
    if "zdbfs" in victims:
        mount.start()
    for w in ws:
        w.join(60 * q.SLOWDOWN)
        q.check(not w.is_alive(), "a writer hangs")
        q.check(w.n > 0, f"a writer did nothing: {w.error}")
    for w in ws:
        w.check(f"run {run} (seed {SEED})")
    read_everything(mount.path)
    stop()
    volume_check()
    mount.start()
    for w in ws:
        w.check(f"run {run} after a clean remount (seed {SEED})")


def test_crash_of_zdbfs():
    for run in range(ROUNDS):
        crash(("zdbfs",), run)


def test_crash_of_zdb():
    for run in range(ROUNDS):
        crash(("zdb",), run)


def test_crash_of_both():
    for run in range(ROUNDS):
        crash(("zdbfs", "zdb"), run)


def test_crash_while_replaying():
    """Killed again and again right after the start: the journal is carried out by whoever lives long enough."""
    setup()
    r = random.Random(f"{SEED} replay")
    w = Writer(str(mount.path / "replay"), f"{SEED} replay")
    w.start()
    q.wait_for(lambda: w.n >= 20 or w.error, 60, "operations")
    mount.kill9()
    w.stopped.set()
    w.join(60)
    for _ in range(8):
        mount.spawn()
        time.sleep(r.uniform(0, 0.08))     # at some moment of its start
        mount.kill9()
        q.unmount(mount.path)
    mount.start()
    w.check(f"after interrupted replays (seed {SEED})")
    stop()
    volume_check()
    mount.start()


def test_crash_frees_removed_open_files():
    setup()
    d = mount.path / "orphans"
    d.mkdir()
    fds = []
    for i in range(5):
        fds.append(os.open(d / f"f{i}", os.O_RDWR | os.O_CREAT))
        os.write(fds[-1], os.urandom(300000))
        os.unlink(d / f"f{i}")
    os.fsync(fds[0])
    fsync(d)
    mount.kill9()
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass
    mount.start()
    q.same(os.listdir(d), [])
    stop()
    with zdb.client() as c:
        before = int(c.info("zdbfs-data")["entries"])
    text = volume_check()
    blocks = int(text.split(" blocks")[0].split()[-1])
    unused = int(text.split(" data;")[0].split()[-1])
    q.check(before - 1 == blocks + unused, text)
    mount.start()


def test_crash_keeps_what_is_older_than_the_flush_interval():
    setup()
    d = mount.path / "aged"
    d.mkdir()
    (d / "f").write_bytes(b"nobody called fsync")
    path = d / "f"

    def stored():
        with zdb.client() as c:
            c.ok("SELECT", "zdbfs-meta")
            v = c.cmd("GET", path.stat().st_ino.to_bytes(8, "little"))
            return v is not None and len(v) > 60 and int.from_bytes(v[20:28], "little") == 19
    q.wait_for(stored, 10, "background flush")
    mount.kill9()
    mount.start()
    q.same(path.read_bytes(), b"nobody called fsync")


def test_crash_keeps_old_changes_also_while_others_fsync():
    setup()
    d = mount.path / "busy"
    d.mkdir()
    (d / "quiet").write_bytes(b"q" * 50000)
    deadline = time.monotonic() + 4        # flush=1: by then it has been stored several times over
    with open(d / "noisy", "wb") as f:
        while time.monotonic() < deadline:
            f.write(b"n" * 100)
            f.flush()
            os.fsync(f.fileno())
    mount.kill9()
    mount.start()
    q.same((d / "quiet").read_bytes(), b"q" * 50000)


def test_crash_read_only_mount_shows_what_the_journal_holds():
    setup()
    d = mount.path / "journal"
    d.mkdir()
    for i in range(30):
        (d / f"f{i}").write_bytes(bytes([i]) * 1000)
        fsync(d / f"f{i}")
        if i % 3 == 0:
            os.rename(d / f"f{i}", d / f"r{i}")
        if i % 3 == 1:
            os.unlink(d / f"f{i}")
    fsync(d)
    mount.kill9()
    q.unmount(mount.path)

    def state():
        with zdb.client() as c:
            return [c.info(ns)["next_internal_id"] + " " + c.info(ns)["data_current_offset"] for ns in ("zdbfs-meta", "zdbfs-data", "zdbfs-temp")]
    before = state()
    ro = q.mount_zdbfs(zdb, opts="ro")
    want = {f"r{i}" if i % 3 == 0 else f"f{i}": bytes([i]) * 1000 for i in range(30) if i % 3 != 1}
    q.same({p.name: p.read_bytes() for p in (ro.path / "journal").iterdir()}, want)
    q.same(ro.stop(), 0)
    q.same(state(), before, "a read-only mount wrote something")
    mount.start()
    q.same({p.name: p.read_bytes() for p in d.iterdir()}, want)


def test_crash_last_check():
    stop()
    volume_check()


if __name__ == "__main__":
    q.main()

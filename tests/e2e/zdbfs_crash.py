#!/usr/bin/env python3
# limit: 900
"""kill -9 of zdbfs, of zdb, of both, at random moments under load: after a remount everything that was fsynced is there
and right, what was not is old or new but never a mixture, and the volume passes the check."""
import ctypes
import os
import random
import time

import libqsfs as q
from libzdbfs import Writer, fsync, read_everything

SEED = int(os.environ.get("QSFS_SEED", 0)) or int.from_bytes(os.urandom(4), "little")
ROUNDS = int(os.environ.get("QSFS_ROUNDS", 6))
print(f"# seed {SEED}: QSFS_SEED={SEED} repeats this run", flush=True)

zdb = mount = None
libc = ctypes.CDLL(None, use_errno=True)


def setup():
    global zdb, mount
    if zdb is None:
        zdb = q.start_zdb(unix=True, mode="seq", datasize=4 << 20)
        mount = q.mount_zdbfs(zdb, opts="autons,flush=1,timeout=20")


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


def test_crash_of_changes_in_large_values():
    """Files of hundreds of blocks and lists of hundreds of names, of which the journal tells only what has changed: after
    each kill, with checkpoints between the changes or none, they are what the last fsync left."""
    setup()
    r = random.Random(f"{SEED} large")
    d = mount.path / "large"
    d.mkdir()
    names = {f"n{i}" for i in range(400)}
    for n in names:
        os.mknod(d / n)
    path, block, model = mount.path / "blocks", 131072, {}
    path.touch()
    size = 0

    def change_file():
        nonlocal size
        what = r.choice(("write", "write", "write", "cut", "grow", "punch"))
        with open(path, "r+b") as f:
            if what == "write":
                for _ in range(r.randrange(1, 4)):
                    i = r.randrange(300)
                    data = bytes([r.randrange(1, 256)]) * 500
                    os.pwrite(f.fileno(), data, i * block)
                    model[i] = data
                    size = max(size, i * block + 500)
            elif what == "punch":
                i = r.randrange(300)
                if i * block < size:
                    libc.fallocate(f.fileno(), 3, ctypes.c_long(i * block), ctypes.c_long(20 * block))
                    for k in range(i, i + 20):
                        model.pop(k, None)
            else:
                size = r.randrange(300) * block if what == "cut" else size + 3 * block
                f.truncate(size)
                for k in [k for k in model if k * block >= size]:
                    del model[k]
            os.fsync(f.fileno())

    def change_names(n):
        for k in range(r.randrange(1, 5)):
            a, new = r.choice(sorted(names)), f"new{n}-{k}"
            what = r.choice(("make", "remove", "move", "over"))
            if what == "make":
                os.mknod(d / new)
                names.add(new)
            elif what == "remove":
                os.unlink(d / a)
                names.discard(a)
            elif what == "move":
                os.rename(d / a, d / new)
                names.discard(a)
                names.add(new)
            else:
                b = r.choice(sorted(names - {a}))
                os.rename(d / a, d / b)
                names.discard(a)
        fsync(d)
    for n in range(20 * ROUNDS):
        change_file() if r.random() < 0.6 else change_names(n)
        if r.random() < 0.05:                  # a checkpoint
            q.run(q.BIN / "zdbfs", "--point", mount.path, check_exit=0)
        if r.random() < 0.1:
            victims = r.choice((("zdbfs",), ("zdb",), ("zdbfs", "zdb")))
            for name in victims:
                (zdb if name == "zdb" else mount).kill9()
            if "zdb" in victims:
                zdb.start()
            if "zdbfs" in victims:
                mount.start()
            q.same(set(os.listdir(d)), names, f"names, change {n} (seed {SEED})")
            with open(path, "rb") as f:
                q.same(os.fstat(f.fileno()).st_size, size, f"size, change {n} (seed {SEED})")
                for i in range((size + block - 1) // block):
                    f.seek(i * block)
                    q.same(f.read(500), model.get(i, b"").ljust(min(500, size - i * block), b"\0"),
                           f"block {i}, change {n} (seed {SEED})")
    stop()
    volume_check()
    mount.start()
    q.same(set(os.listdir(d)), names)


def test_crash_leaves_no_blocks_behind():
    """Blocks that were stored, but that no commit came to refer to."""
    def unused():
        return int(volume_check().split(" data;")[0].split()[-1])
    setup()
    stop()
    others = unused()                      # of the cases before: zdb was killed, not zdbfs
    mount.start()
    (mount.path / "leaks").mkdir()
    (mount.path / "leaks" / "kept").write_bytes(b"k" * 500000)
    fsync(mount.path / "leaks" / "kept")
    with zdb.client() as c:
        def keys():
            return int(c.info("zdbfs-data")["entries"])
        before = keys()
        for run in range(3):
            with open(mount.path / "leaks" / "f", "wb") as f:
                while keys() < before + 100:
                    f.write(os.urandom(1 << 20))
                    f.flush()
                mount.kill9()
                try:
                    f.close()
                except OSError:
                    pass
            mount.start()
            stop()                         # a block may have its place behind the size: no leak
            q.check(unused() <= others, f"{unused()} unused data keys after crash {run}, {others} before")
            mount.start()
            if (mount.path / "leaks" / "f").exists():
                (mount.path / "leaks" / "f").unlink()
                fsync(mount.path)
                q.wait_for(lambda: keys() <= before, 20, "deletion")
    q.same((mount.path / "leaks" / "kept").read_bytes(), b"k" * 500000)
    stop()
    q.check(unused() <= others, f"{unused()} unused data keys, {others} before")
    mount.start()


def test_crash_last_check():
    stop()
    volume_check()


if __name__ == "__main__":
    q.main()

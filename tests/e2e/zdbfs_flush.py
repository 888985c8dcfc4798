#!/usr/bin/env python3
# limit: 120
"""What nobody calls fsync for: durable a moment after sync(2), after the flush interval also when only the kernel has it,
and never a new name of data that is not there.  And: asking for holes beside writers blocks nobody."""
import mmap
import os
import threading
import time

import libqsfs as q

zdb = mount = None
IDLE = 0.3          # seconds after sync(2), as the documents promise


def setup(opts="autons,timeout=20"):
    global zdb, mount
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts=opts)
    return mount.path


def crash():
    mount.kill9()
    mount.start()


def test_flush_after_sync_and_a_moment_all_is_durable():
    """flush=600: only what follows sync(2) can have stored it.  The files stay open, so that no close hands them over."""
    d = setup("autons,flush=600,timeout=20")
    for i in range(3):
        (d / f"dir{i}").mkdir()
        f = open(d / f"dir{i}" / "f", "wb", buffering=0)
        f.write(b"%d" % i * 300000)
        m = open(d / f"m{i}", "w+b", buffering=0)
        m.truncate(200000)
        with mmap.mmap(m.fileno(), 0) as mapped:
            mapped[100000:100005] = b"hello"
            os.link(d / f"m{i}", d / f"l{i}")
            os.sync()
            time.sleep(IDLE * q.SLOWDOWN)     # the promise is a time
            mount.kill9()
        for x in (f, m):
            try:
                x.close()
            except OSError:
                pass                          # its mount is dead
        mount.start()
        q.same((d / f"dir{i}" / "f").read_bytes(), b"%d" % i * 300000)
        q.same((d / f"l{i}").read_bytes(), b"\0" * 100000 + b"hello" + b"\0" * 99995)
        q.same(os.stat(d / f"l{i}").st_nlink, 2)
    q.same(mount.stop(), 0)
    zdb.stop()


def test_flush_interval_covers_the_kernel():
    """An open file that only the kernel has: stored after the interval, without any request of a program."""
    d = setup("autons,flush=1,timeout=20")
    f = open(d / "open", "wb", buffering=0)
    f.write(b"x" * 500000)

    def stored():
        with zdb.client() as c:
            return int(c.info("zdbfs-data")["data_size_bytes"]) > 490000
    q.wait_for(stored, 10, "data in zdb")     # the kernel by itself takes 30 s

    def committed():
        with zdb.client() as c:
            c.ok("SELECT", "zdbfs-meta")
            v = c.cmd("GET", os.fstat(f.fileno()).st_ino.to_bytes(8, "little"))
            return v is not None and len(v) > 60 and int.from_bytes(v[20:28], "little") == 500000
    q.wait_for(committed, 10, "size in zdb")
    mount.kill9()
    try:
        f.close()
    except OSError:
        pass
    mount.start()
    q.same((d / "open").read_bytes(), b"x" * 500000)
    q.same(mount.stop(), 0)
    zdb.stop()


def test_flush_data_before_the_name_that_replaces():
    """Many files written anew and renamed over, killed in the middle: each is old or new as a whole."""
    d = setup()
    old, new = b"o" * 200000, b"n" * 210000
    for run in range(4):
        for i in range(30):
            (d / f"f{i}").write_bytes(old)
        os.sync()
        time.sleep(IDLE * q.SLOWDOWN)
        done = []

        def replace(done=done):
            try:
                for i in range(30):
                    with open(d / f"t{i}", "wb") as f:
                        f.write(new)
                    os.rename(d / f"t{i}", d / f"f{i}")
                    done.append(i)
            except OSError:
                pass                          # killed
        t = threading.Thread(target=replace)
        t.start()
        q.wait_for(lambda done=done, run=run: len(done) > 5 + 5 * run, 20, "renames")
        crash()
        t.join(30)
        for i in range(30):
            got = (d / f"f{i}").read_bytes()
            q.check(got in (old, new), f"run {run}: f{i} has {len(got)} bytes and is neither")
    q.same(mount.stop(), 0)
    zdb.stop()


def test_flush_unmount_is_not_busy():
    """The kernel is asked again and again; an unmount meanwhile is never refused because of that."""
    d = setup("autons,flush=1,timeout=20")
    for i in range(4):
        with open(d / f"f{i}", "wb") as f:
            f.write(b"y" * (8 << 20))
        time.sleep(0.2 * i)
        p = q.run("fusermount3", "-u", d)
        q.same((p.returncode, p.stderr), (0, b""), "unmount")
        q.same(mount.wait(), 0)
        mount.start()
        q.same(os.stat(d / f"f{i}").st_size, 8 << 20)
    q.same(mount.stop(), 0)
    zdb.stop()


def test_flush_holes_are_looked_for_beside_writers():
    """More programs than there are workers ask for holes in files that they write: nobody waits for ever."""
    d = setup()
    n, size = 80, 8 << 20
    stopped = threading.Event()
    count = [0] * n
    wrong = []

    def work(k):
        with open(d / f"sparse{k}", "w+b", buffering=0) as f:
            f.truncate(size)
            while not stopped.is_set():
                at = count[k] * 2 * 131072 % size
                f.seek(at)
                f.write(b"z" * 70000)
                if f.seek(at, os.SEEK_DATA) != at:        # what a program has written it also sees
                    wrong.append(at)
                if count[k] == 0 and f.seek(0, os.SEEK_HOLE) != 131072:
                    wrong.append(-1)
                count[k] += 1
    ts = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(n)]
    [t.start() for t in ts]
    try:
        for _ in range(4):
            before = list(count)
            q.wait_for(lambda before=before: all(a > b for a, b in zip(count, before)), 30, "progress of every thread")
    except q.Failure:
        mount.kill9()                         # or these threads could never end
        raise
    finally:
        stopped.set()
    for t in ts:
        t.join(30 * q.SLOWDOWN)
        q.check(not t.is_alive(), "a thread hangs")
    q.same(wrong, [], "data that was written and not found")
    q.same(mount.stop(), 0)
    zdb.stop()


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
# limit: 300
"""A zdb that does not answer: calls end with EIO by the deadline, what is cached goes on, and everything recovers."""
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import libqsfs as q

TIMEOUT = 3
zdb = mount = d = None


def setup():
    global zdb, mount, d
    if zdb is None:
        zdb = q.start_zdb(unix=True, mode="seq")
        mount = q.mount_zdbfs(zdb, opts=f"autons,timeout={TIMEOUT}")
        d = mount.path / "d"
        d.mkdir()
        (d / "cached").write_bytes(b"in memory" * 1000)
        (d / "cold").write_bytes(os.urandom(1 << 20))
        for i in range(20):
            (d / f"more{i}").write_bytes(b"x" * 200000)
        sync_all()


def sync_all():
    fd = os.open(mount.path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Stopped:
    """zdb is stopped inside the with block."""

    def __enter__(self):
        os.kill(zdb.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(zdb.pid, signal.SIGCONT)


def timed(f, *args):
    """(seconds, errno or None); run in a thread, so that a call that hangs fails the test and not the run."""
    out = []

    def run():
        start = time.monotonic()
        code = None
        try:
            f(*args)
        except OSError as e:
            code = e.errno
        out.append((time.monotonic() - start, code))
    t = threading.Thread(target=run, daemon=True)
    t.start()
    t.join((3 * TIMEOUT + 20) * q.SLOWDOWN)
    q.check(not t.is_alive(), f"{getattr(f, '__name__', f)} hangs")
    return out[0]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def fresh_mount():
    """Empty caches: the next access needs zdb."""
    q.same(mount.stop(), 0, "exit code of zdbfs")
    mount.start()


def test_hang_reads_end_with_eio():
    setup()
    fresh_mount()
    os.stat(d)
    with Stopped():
        took, code = timed(read, d / "cold")
        q.same(code, errno.EIO, "errno of a read")
        q.check(TIMEOUT - 1 <= took <= TIMEOUT + 5 * q.SLOWDOWN, f"took {took:.1f} s")
        took, code = timed(os.listdir, d)
        q.same(code, errno.EIO, "errno of a listing")
        q.check(took <= TIMEOUT + 5 * q.SLOWDOWN, f"took {took:.1f} s")
    q.wait_for(lambda: len(os.listdir(d)) == 22, 30, "recovery of the listing")
    q.same(len(read(d / "cold")), 1 << 20)


def test_hang_many_readers_all_end_in_time():
    """One after the other they would take much longer than the deadline of each."""
    setup()
    fresh_mount()
    q.same(len(os.listdir(d)), 22)
    for n in os.listdir(d):
        os.stat(d / n)
    with Stopped():
        results = []
        ts = [threading.Thread(target=lambda i=i: results.append(timed(read, d / f"more{i}"))) for i in range(20)]
        start = time.monotonic()
        [t.start() for t in ts]
        time.sleep(0.5)
        took, code = timed(os.statvfs, mount.path)
        q.check(code is None and took < 2 * q.SLOWDOWN, f"statfs meanwhile: {took:.1f} s, errno {code}")
        [t.join() for t in ts]
        took = time.monotonic() - start
        q.same({c for _, c in results}, {errno.EIO}, "errnos")
        q.check(took <= 2 * TIMEOUT + 8 * q.SLOWDOWN, f"20 readers took {took:.1f} s")
    for i in range(20):
        q.wait_for(lambda i=i: read(d / f"more{i}") == b"x" * 200000, 30, "recovery")


def test_hang_many_waiters_stop_nobody():
    """A hundred readers and fifty look-ups wait for zdb; what is in memory is read, looked up and made at once."""
    setup()
    for i in range(100):
        (d / f"w{i}").write_bytes(b"w" * 150000)
        (d / f"dir{i % 50}").mkdir(exist_ok=True)
    sync_all()
    fresh_mount()
    for n in os.listdir(d):
        os.stat(d / n)
    fd = os.open(d / "cached", os.O_RDWR)
    os.pread(fd, 9000, 0)
    (d / "probe").mkdir()    # there are keys in stock
    (d / "probe").rmdir()
    wait = []
    with Stopped():
        ts = [threading.Thread(target=lambda i=i: wait.append(timed(read, d / f"w{i}"))) for i in range(100)]
        ts += [threading.Thread(target=lambda i=i: wait.append(timed(os.stat, d / f"dir{i}" / "x"))) for i in range(50)]
        [t.start() for t in ts]
        for i in range(5):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)    # the kernel has to ask the daemon
            start = time.monotonic()
            q.same(os.pread(fd, 9000, 0), b"in memory" * 1000)
            os.stat(d / f"new{i}") if os.path.exists(d / f"new{i}") else (d / f"new{i}").mkdir()
            took = time.monotonic() - start
            q.check(took < 1 * q.SLOWDOWN, f"round {i}: {took:.1f} s, {len(wait)} of the others have ended")
        [t.join() for t in ts]
        codes = [c for _, c in wait]
        q.check(codes.count(errno.EIO) >= 100 and set(codes) <= {errno.EIO, errno.ENOENT}, f"errnos {set(codes)}")
        worst = max(t for t, _ in wait)
        q.check(worst <= TIMEOUT + 5 * q.SLOWDOWN, f"the slowest of them took {worst:.1f} s")
    os.close(fd)
    q.wait_for(lambda: read(d / "w99") == b"w" * 150000, 30, "recovery")
    for i in range(100):
        (d / f"w{i}").unlink()
        if i < 50:
            (d / f"dir{i}").rmdir()
        if i < 5:
            (d / f"new{i}").rmdir()


def waits(code, handle=None):
    """A program inside a call that waits for zdb; `handle` signals are caught."""
    pre = "import os, signal, sys\n"
    if handle:
        pre += f"signal.signal({int(handle)}, lambda *_: None)\n"
    p = subprocess.Popen([sys.executable, "-c", pre + "print('ready', flush=True)\n" + code], stdout=subprocess.PIPE, text=True)
    q.same(p.stdout.readline(), "ready\n")

    def blocked():
        with open(f"/proc/{p.pid}/syscall") as f:
            return f.read().split()[0] == str(CALLS[code.split("(")[0]])

    q.wait_for(blocked, 30, f"{code} to wait")
    return p


CALLS = {"os.stat": 262, "os.listdir": 217, "os.mkdir": 83, "os.fsync": 74, "os.rename": 82}


def test_hang_programs_that_wait_can_be_stopped_at_once():
    """The deadline is far away; whoever waits ends by the signal.  What was interrupted does not happen later."""
    setup()
    mount.stop()
    patient = q.mount_zdbfs(zdb, opts="timeout=300", path=mount.path)
    os.stat(d)
    fd = os.open(mount.path / "open file", os.O_RDWR | os.O_CREAT)
    os.mkdir(mount.path / "here")
    os.fsync(fd)
    os.pwrite(fd, b"z" * 300000, 0)
    with Stopped():
        for code, sig in ((f"os.stat({str(d / 'cold')!r})", signal.SIGKILL), (f"os.listdir({str(d)!r})", signal.SIGTERM),
                          (f"os.mkdir({str(d / 'clod')!r})", signal.SIGINT),
                          (f"os.rename({str(d / 'cold')!r}, {str(d / 'docl')!r})", signal.SIGKILL)):
            p = waits(code)
            p.send_signal(sig)
            q.same(p.wait(60), -sig, f"exit of {code}")
        p = waits(f"os.fsync(os.open({str(mount.path / 'open file')!r}, os.O_RDWR))")
        p.send_signal(signal.SIGTERM)
        q.same(p.wait(60), -signal.SIGTERM, "exit of fsync")
        p = waits(f"os.stat({str(d / 'cached')!r})", handle=signal.SIGUSR1)
        p.send_signal(signal.SIGUSR1)    # caught, and nothing that asks it to stop
        q.wait_for(lambda: os.stat(mount.path / "here") and p.poll() is None, 30, "others go on")
        p.send_signal(signal.SIGTERM)    # later: it counts, too
        q.same(p.wait(60), -signal.SIGTERM, "exit after a second signal")
        p = waits(f"os.stat({str(d / 'more1')!r})", handle=signal.SIGUSR1)
        p.send_signal(signal.SIGUSR1)
    q.same(p.wait(60), 0, "exit of who only had a signal for itself")
    os.fsync(fd)
    os.close(fd)
    q.same(sorted(n for n in os.listdir(d) if n in ("clod", "docl")), [], "interrupted changes")
    q.same(read(d / "cold") is not None and (mount.path / "open file").stat().st_size, 300000)
    q.same(patient.stop(), 0, "exit code of zdbfs")
    mount.start()
    q.same(len([os.stat(d / n) for n in os.listdir(d)]) > 0, True)


def test_hang_cached_work_goes_on():
    setup()
    q.same(read(d / "cached"), b"in memory" * 1000)
    os.statvfs(mount.path)
    with Stopped():
        for what, f in (("read", lambda: read(d / "cached")), ("stat", lambda: os.stat(d / "cached")),
                        ("statfs", lambda: os.statvfs(mount.path)),
                        ("create", lambda: (d / "made while it hung").write_bytes(b"kept")),
                        ("rename", lambda: os.rename(d / "made while it hung", d / "moved while it hung"))):
            took, code = timed(f)
            q.check(code is None and took < 2 * q.SLOWDOWN, f"{what}: {took:.1f} s, errno {code}")
    sync_all()
    fresh_mount()
    q.same(read(d / "moved while it hung"), b"kept")


def test_hang_fsync_ends_with_eio_and_loses_nothing():
    setup()
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.fsync(fd)
    os.pwrite(fd, b"z" * 300000, 0)
    with Stopped():
        took, code = timed(os.fsync, fd)
        q.same(code, errno.EIO, "errno of fsync")
        q.check(took <= 2 * TIMEOUT + 5 * q.SLOWDOWN, f"took {took:.1f} s")
    q.wait_for(lambda: timed(os.fsync, fd)[1] is None, 30, "fsync that works again")
    os.close(fd)
    mount.kill9()
    mount.start()
    q.same(read(d / "f"), b"z" * 300000)


def test_hang_dead_zdb_comes_back():
    setup()
    fresh_mount()
    os.stat(d)
    zdb.kill9()
    took, code = timed(read, d / "cold")
    q.same(code, errno.EIO, "errno of a read")
    q.check(took <= TIMEOUT + 12 * q.SLOWDOWN, f"took {took:.1f} s")
    zdb.start()
    q.wait_for(lambda: len(read(d / "cold")) == 1 << 20, 30, "recovery")
    (d / "after").write_bytes(b"after the restart")
    sync_all()
    mount.kill9()
    mount.start()
    q.same(read(d / "after"), b"after the restart")


def test_hang_unmount_of_a_clean_mount_while_zdb_hangs_ends():
    setup()
    sync_all()
    with Stopped():
        start = time.monotonic()
        mount.p.send_signal(signal.SIGTERM)
        mount.wait(6 * TIMEOUT + 30)
        q.check(time.monotonic() - start < (5 * TIMEOUT + 20) * q.SLOWDOWN, "took too long")
    q.unmount(mount.path)
    mount.start()
    q.same(read(d / "cached"), b"in memory" * 1000)
    q.same(mount.stop(), 0)
    zdb.stop()


if __name__ == "__main__":
    q.main()

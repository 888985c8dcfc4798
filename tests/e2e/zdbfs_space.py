#!/usr/bin/env python3
# limit: 300
"""A full disk is an ordinary state: ENOSPC at the call that causes it, names and deletions go on, the next mount is possible,
and statfs tells the truth at once."""
import errno
import os
import signal
import subprocess
import time

import libqsfs as q
from libzdbfs import fsync

MIB = 1 << 20


class Disk:
    """A zdb and a mount on a disk of their own."""

    def __init__(self, mib, opts="autons,timeout=20,flush=1"):
        self.dir = q.tmpdir("disk")
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.dir], capture_output=True)
        q.check(r.returncode == 0, f"mount: {r.stderr}")
        (self.dir / "z").mkdir()
        self.zdb = q.start_zdb(unix=True, mode="seq", dir=self.dir / "z", datasize=8 * MIB)
        self.mount = q.mount_zdbfs(self.zdb, opts=opts)
        self.path = self.mount.path

    def free(self):
        st = os.statvfs(self.dir)
        return st.f_bavail * st.f_frsize

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            if self.mount.alive():
                self.mount.stop()
            self.zdb.stop()
        finally:
            subprocess.run(["umount", "-l", self.dir], check=True)


def room(path):
    st = os.statvfs(path)
    return st.f_bavail * st.f_frsize


def fill(d, until=10000):
    """Files of 1 MiB, each fsynced, until there is an error: (names that are stored, errno)."""
    kept = []
    for i in range(until):
        p = d / f"f{i}"
        try:
            with open(p, "wb") as f:
                f.write(bytes([i % 251]) * MIB)
                f.flush()
                os.fsync(f.fileno())
            kept.append(p)
        except OSError as e:
            return kept, e.errno
    return kept, None


def right(kept):
    for p in kept:
        q.same(p.read_bytes(), bytes([int(p.name[1:]) % 251]) * MIB, p.name)


def raises(code, f, *args):
    try:
        f(*args)
    except OSError as e:
        q.same(e.errno, code, "errno")
    else:
        raise q.Failure(f"no error, {errno.errorcode[code]} was expected")


def test_space_full_disk():
    with Disk(96) as d:
        kept, code = fill(d.path)
        q.same(code, errno.ENOSPC, f"after {len(kept)} MiB")
        q.check(d.free() > 2 * MIB, f"{d.free()} bytes are kept back")
        q.check(len(kept) > 60, f"only {len(kept)} MiB fit")
        q.check(room(d.path) < 2 * MIB, f"statfs says {room(d.path)} bytes are free")
        os.unlink(d.path / f"f{len(kept)}")
        for i in range(20):                                        # names and attributes have room of their own
            os.mkdir(d.path / f"d{i}")
            fsync(d.path)
        os.rename(kept[0], d.path / "moved")
        os.chmod(kept[1], 0o600)
        for p in kept[2:20]:
            os.unlink(p)
            fsync(d.path)
        right(kept[20:])
        q.same(d.mount.unmount(), 0, "a clean end on a full disk")
        d.mount.start()
        right(kept[20:])
        q.same((d.path / "moved").stat().st_size, MIB)
        q.same(len([n for n in os.listdir(d.path) if n[0] == "d"]), 20)
        d.mount.kill9()
        d.mount.start()
        right(kept[20:])


def test_space_disk_filled_by_others():
    with Disk(64) as d:
        (d.path / "f").write_bytes(b"kept" * 1000)
        fsync(d.path / "f")
        with open(d.dir / "ballast", "wb") as f:                   # to the last byte
            try:
                while True:
                    f.write(bytes(65536))
                    f.flush()
            except OSError as e:
                q.same(e.errno, errno.ENOSPC)
        kept, code = fill(d.path, 3)
        q.same((len(kept), code), (0, errno.ENOSPC), "data")
        raises(errno.ENOSPC, os.mkdir, d.path / "d")
        q.same((d.path / "f").read_bytes(), b"kept" * 1000)
        d.mount.kill9()
        d.mount.start()                                            # possible, at least for reading
        q.same((d.path / "f").read_bytes(), b"kept" * 1000)
        q.same(d.mount.unmount(), 0, d.mount.tail(1500))
        os.unlink(d.dir / "ballast")
        d.mount.start()
        q.check("read-only" not in d.mount.tail(400), d.mount.tail(3000))
        os.mkdir(d.path / "d")
        fsync(d.path)
        q.same(fill(d.path, 3)[1], None, "data when there is room again")


def test_space_comes_back_while_mounted():
    with Disk(64) as d:
        with open(d.dir / "ballast", "wb") as f:
            f.truncate(0)
            os.posix_fallocate(f.fileno(), 0, d.free() - MIB)
        q.same(fill(d.path, 3)[1], errno.ENOSPC)
        os.unlink(d.dir / "ballast")
        q.wait_for(lambda: fill(d.path, 3)[1] is None, 20, "room")
        fsync(d.path)


def test_space_size_is_a_limit():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z, opts="autons,size=20M,flush=1")
    st = os.statvfs(m.path)
    q.same(st.f_blocks * st.f_frsize, 20 * MIB, "size")
    kept, code = fill(m.path, 40)
    q.same(code, errno.ENOSPC, f"after {len(kept)} MiB")
    q.check(17 <= len(kept) <= 20, f"{len(kept)} of 20 MiB fit")
    os.unlink(m.path / f"f{len(kept)}")
    with open(kept[0], "r+b") as f:                                # what has a place is written anew
        f.write(bytes([0]) * MIB)
        f.flush()
        os.fsync(f.fileno())
    os.unlink(kept[1])
    (m.path / "again").write_bytes(b"x" * (MIB // 2))              # at once
    fsync(m.path / "again")
    right(kept[2:])
    st = os.statvfs(m.path)
    q.check(st.f_bavail * st.f_frsize <= 3 * MIB and st.f_blocks * st.f_frsize == 20 * MIB, st)
    q.check(0 < st.f_files - st.f_ffree < 10000, f"inodes: {st.f_files}, {st.f_ffree} free")
    q.same(m.unmount(), 0)
    z.stop()


def test_space_fallocate_books_what_it_promises():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z, opts="autons,size=20M,flush=1")
    fd = os.open(m.path / "booked", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 12 * MIB)
    q.same(os.fstat(fd).st_size, 12 * MIB)
    q.check(os.fstat(fd).st_blocks * 512 >= 12 * MIB, f"{os.fstat(fd).st_blocks} blocks")
    q.check(room(m.path) <= 8 * MIB, f"{room(m.path)} bytes are free")
    other = os.open(m.path / "other", os.O_RDWR | os.O_CREAT)
    raises(errno.ENOSPC, os.posix_fallocate, other, 0, 10 * MIB)
    kept, code = fill(m.path, 20)
    q.same(code, errno.ENOSPC)
    q.check(len(kept) < 9, f"{len(kept)} MiB were taken from what was promised")
    for i in range(12):
        os.pwrite(fd, bytes([i + 1]) * MIB, i * MIB)
    os.fsync(fd)
    for i in range(12):
        q.same(os.pread(fd, MIB, i * MIB), bytes([i + 1]) * MIB)
    os.ftruncate(fd, 0)
    os.unlink(m.path / f"f{len(kept)}")
    os.posix_fallocate(other, 0, 8 * MIB)
    os.unlink(m.path / "other")
    os.close(other)
    q.wait_for(lambda: room(m.path) > 10 * MIB, 10, "what was promised to a file that is gone")
    os.close(fd)
    q.same(m.unmount(), 0)
    z.stop()


def test_space_statfs_does_not_wait_for_zdb():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    (m.path / "f").write_bytes(b"x")
    fsync(m.path / "f")
    before = room(m.path)
    z.p.send_signal(signal.SIGSTOP)
    try:
        times = []
        for _ in range(5):
            start = time.monotonic()
            q.check(abs(room(m.path) - before) < 1 << 30, "room")
            times.append(time.monotonic() - start)
            time.sleep(0.15)                                       # so that what is known gets old
        q.check(sorted(times)[2] < 0.1 * q.SLOWDOWN, f"statfs took {times}")
    finally:
        z.p.send_signal(signal.SIGCONT)
    q.same(m.unmount(), 0)
    z.stop()


def test_space_limits_are_told_by_the_call_that_crosses_them():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z, opts="autons,flush=1")
    most = (8 * MIB - 131072) // 4 * 131072
    fd = os.open(m.path / "f", os.O_RDWR | os.O_CREAT)
    other = os.open(m.path, os.O_RDONLY)
    os.ftruncate(fd, most)
    os.pwrite(fd, b"end", most - 3)
    os.fsync(fd)
    raises(errno.EFBIG, os.ftruncate, fd, most + 1)
    raises(errno.EFBIG, os.posix_fallocate, fd, most - 10, 11)
    direct = os.open(m.path / "f", os.O_WRONLY | os.O_DSYNC)
    raises(errno.EFBIG, os.pwrite, direct, b"x", most)
    os.fsync(other)                                                # the error of one file is not another's
    os.close(direct)
    os.close(fd)
    os.fsync(other)
    os.close(other)
    q.same(m.unmount(), 0)
    m.start()
    fd = os.open(m.path / "f", os.O_RDONLY)
    q.same((os.fstat(fd).st_size, os.pread(fd, 10, most - 3)), (most, b"end"))
    os.close(fd)
    q.same(m.unmount(), 0)
    z.stop()


def test_space_no_room_for_one_file_is_not_told_to_a_directory():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z, opts="autons,size=4M,flush=1")
    (m.path / "d").mkdir()
    with open(m.path / "big", "wb") as f:
        try:
            for _ in range(8):
                f.write(b"x" * MIB)
                f.flush()
            os.fsync(f.fileno())
            raise q.Failure("8 MiB fit into 4")
        except OSError as e:
            q.same(e.errno, errno.ENOSPC)
        (m.path / "d" / "small").touch()
        fsync(m.path / "d")
        fsync(m.path / "d" / "small")
        f.truncate(0)
    fsync(m.path)
    q.same(m.unmount(), 0)
    z.stop()


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
# limit: 300
"""A data namespace at its quota: writers hear ENOSPC from write, fsync or close, what was accepted stays, reads and
deletes go on, and deleting makes room again."""
import errno
import os

import libqsfs as q

MIB = 1 << 20
QUOTA = 16 * MIB
zdb = mount = None


def setup():
    global zdb, mount
    if zdb is None:
        zdb = q.start_zdb(unix=True, mode="seq")
        mount = q.mount_zdbfs(zdb, opts="autons,timeout=20,flush=1")
        with zdb.client() as c:
            c.ok("NSSET", "zdbfs-data", "maxsize", str(QUOTA))


def fill(path, total, sync=True):
    """Write until an error; (bytes accepted by fsync, errno)."""
    good = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while good < total:
            chunk = bytes([good // MIB % 251]) * MIB
            os.pwrite(fd, chunk, good)
            if sync:
                os.fsync(fd)
            good += MIB
    except OSError as e:
        code = e.errno
        try:
            os.close(fd)
        except OSError:
            pass
        return good, code
    try:
        os.close(fd)
    except OSError as e:
        return good, e.errno
    return good, None


def right(path, n):
    with open(path, "rb") as f:
        for i in range(n // MIB):
            q.same(f.read(MIB), bytes([i % 251]) * MIB, f"MiB {i} of {path.name}")


def test_full_fsync_says_enospc_and_accepted_data_stays():
    setup()
    a = mount.path / "a"
    good, code = fill(a, 64 * MIB)
    q.same(code, errno.ENOSPC, f"errno after {good // MIB} MiB")
    q.check(QUOTA - 3 * MIB <= good <= QUOTA, f"accepted {good // MIB} MiB of {QUOTA // MIB}")
    right(a, good)
    st = os.statvfs(mount.path)
    q.check(st.f_bavail * st.f_frsize < 2 * MIB, f"statfs says {st.f_bavail * st.f_frsize} bytes are free")
    (mount.path / "dir").mkdir()                   # names need no data
    os.rename(a, mount.path / "b")
    right(mount.path / "b", good)
    os.truncate(mount.path / "b", good)            # what was taken and does not fit would fail every fsync of the file
    with open(mount.path / "b", "r+b") as f:       # overwriting needs no new room
        f.write(b"\xff" * 4096)
        f.flush()
        os.fsync(f.fileno())
    with open(mount.path / "b", "rb") as f:
        q.same(f.read(4096), b"\xff" * 4096)


def test_full_deleting_makes_room():
    setup()
    os.unlink(mount.path / "b")
    q.wait_for(lambda: fill(mount.path / "c", 8 * MIB) == (8 * MIB, None), 20, "room after deleting")
    right(mount.path / "c", 8 * MIB)
    os.truncate(mount.path / "c", MIB)
    q.wait_for(lambda: fill(mount.path / "d", 10 * MIB) == (10 * MIB, None), 20, "room after truncating")
    right(mount.path / "d", 10 * MIB)
    right(mount.path / "c", MIB)


def test_full_without_fsync_write_or_close_says_it():
    setup()
    good, code = fill(mount.path / "e", 100 * MIB, sync=False)
    q.same(code, errno.ENOSPC, "errno")
    os.unlink(mount.path / "e")


def test_full_small_files_never_vanish_silently():
    setup()
    kept, refused = [], 0
    (mount.path / "small").mkdir()
    for i in range(400):
        p = mount.path / "small" / f"s{i}"
        try:
            with open(p, "wb") as f:
                f.write(bytes([i % 256]) * 50000)
                f.flush()
                os.fsync(f.fileno())
            kept.append((p, i))
        except OSError as e:
            q.same(e.errno, errno.ENOSPC, f"errno of file {i}")
            refused += 1
    q.check(kept and refused, f"{len(kept)} kept, {refused} refused")
    with zdb.client() as c:
        c.ok("NSSET", "zdbfs-data", "maxsize", "0")
    fd = os.open(mount.path, os.O_RDONLY)
    q.wait_for(lambda: os.fsync(fd) is None, 20, "flush when there is room again")
    os.close(fd)
    mount.kill9()
    mount.start()
    for p, i in kept:
        q.same(p.read_bytes(), bytes([i % 256]) * 50000, p.name)


def test_full_last_check():
    q.same(mount.stop(), 0)
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}")
    q.same(p.returncode, 0, p.stdout.decode())
    zdb.stop()


if __name__ == "__main__":
    q.main()

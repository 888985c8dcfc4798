#!/usr/bin/env python3
# limit: 600
"""POSIX behaviour through a real mount: every operation, error codes, times, links, holes, removed but open files."""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import random
import socket
import stat
import struct
import subprocess
import threading
import time

import libqsfs as q

SEED = int(os.environ.get("QSFS_SEED", 20260131))
MIB = 1 << 20
BLOCK = 131072
libc = ctypes.CDLL(None, use_errno=True)
zdb = mount = top = None
_n = 0


def fresh():
    """A new empty directory in the mount."""
    global zdb, mount, top, _n
    if mount is None:
        if os.getuid() == 0:
            os.chmod(q.TMP, 0o711)         # tests as another user reach the mount
        zdb = q.start_zdb(unix=True, mode="seq")
        mount = q.mount_zdbfs(zdb, opts="autons,allow_other,dev,suid" if os.getuid() == 0 else "autons")
        top = mount.path
    _n += 1
    d = top / f"t{_n}"
    d.mkdir()
    return d


def remount():
    q.same(mount.unmount(), 0, "exit code of zdbfs")
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}")
    q.same(p.returncode, 0, f"check: {p.stdout.decode()}")
    q.check(b"unused keys: 0 meta, 0 data" in p.stdout, p.stdout.decode())
    mount.start()


def fails(code, f, *args, **kw):
    try:
        f(*args, **kw)
    except OSError as e:
        q.same(errno.errorcode.get(e.errno), errno.errorcode[code], f"errno of {getattr(f, '__name__', f)}{args}")
        return
    raise q.Failure(f"{getattr(f, '__name__', f)}{args}: no error, want {errno.errorcode[code]}")


def write(path, data, mode="wb"):
    with open(path, mode) as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), str(old))


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def drop():
    """Forget what the kernel has cached, so that zdbfs is asked."""
    q.drop_caches()


# --- files ----------------------------------------------------------------------------------------

def test_ops_create_read_write():
    d = fresh()
    write(d / "f", b"hello")
    q.same(read(d / "f"), b"hello")
    st = os.stat(d / "f")
    q.same((st.st_size, st.st_nlink, stat.S_IMODE(st.st_mode)), (5, 1, 0o644))
    fails(errno.EEXIST, os.open, d / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.ENOENT, os.open, d / "none", os.O_RDONLY)
    fails(errno.ENOTDIR, os.open, d / "f" / "x", os.O_RDONLY)
    fails(errno.EISDIR, os.open, d, os.O_WRONLY)


def test_ops_content_survives_remount():
    d = fresh()
    r = random.Random(SEED)
    want = {}
    for size in (0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * MIB + 17):
        want[f"s{size}"] = r.randbytes(size)
        write(d / f"s{size}", want[f"s{size}"])
    before = q.tree(d)
    remount()
    q.same_tree(q.tree(d), before)
    for name, data in want.items():
        q.same(read(d / name), data, name)


def test_ops_large_file_beyond_the_cache():
    d = fresh()
    size = 200 * MIB
    h = hashlib.sha256()
    r = random.Random(SEED)
    with open(d / "big", "wb") as f:
        for _ in range(size // MIB):
            chunk = r.randbytes(MIB)
            h.update(chunk)
            f.write(chunk)
        os.fsync(f.fileno())
    drop()
    q.same(q.sha256(d / "big"), h.hexdigest(), "content")
    q.same(os.stat(d / "big").st_blocks * 512, size, "st_blocks")
    q.check(q.SLOWDOWN > 1 or mount.rss_kib() < 256 * 1024, f"RSS {mount.rss_kib()} KiB")
    os.unlink(d / "big")


def test_ops_random_writes_match_a_model():
    """Writes, truncates, holes and reads at random against a byte array, with caches dropped and remounts between."""
    d = fresh()
    r = random.Random(SEED)
    fd = os.open(d / "model", os.O_RDWR | os.O_CREAT)
    model = bytearray()
    limit = 6 * BLOCK
    for step in range(1500):
        op = r.random()
        off = r.randrange(limit)
        n = r.choice((1, 100, 4096, 50000, BLOCK, 200000))
        if op < 0.45:
            data = r.randbytes(n)
            os.pwrite(fd, data, off)
            if len(model) < off + n:
                model.extend(bytes(off + n - len(model)))
            model[off:off + n] = data
        elif op < 0.65:
            q.same(os.pread(fd, n, off), bytes(model[off:off + n]), f"step {step}: read {n} at {off}")
        elif op < 0.78:
            os.ftruncate(fd, off)
            del model[off:]
            model.extend(bytes(off - len(model)))
        elif op < 0.84:
            fallocate(fd, 3, off, n)                       # PUNCH_HOLE | KEEP_SIZE
            end = min(off + n, len(model))
            if off < end:
                model[off:end] = bytes(end - off)
        elif op < 0.88:
            fallocate(fd, 0x10, off, n)                    # ZERO_RANGE
            if len(model) < off + n:
                model.extend(bytes(off + n - len(model)))
            model[off:off + n] = bytes(n)
        elif op < 0.92:
            os.fsync(fd)
        elif op < 0.95:
            drop()
        elif op < 0.955:
            os.close(fd)
            remount()
            fd = os.open(d / "model", os.O_RDWR)
        q.same(os.fstat(fd).st_size, len(model), f"step {step}: size")
    q.same(os.pread(fd, limit * 2, 0), bytes(model), "at the end")
    os.close(fd)
    remount()
    q.same(read(d / "model"), bytes(model), "after the last remount")


def test_ops_append():
    d = fresh()
    fd1 = os.open(d / "f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fd2 = os.open(d / "f", os.O_WRONLY | os.O_APPEND)
    want = b""
    for i in range(50):
        os.write(fd1, b"one %d\n" % i)
        os.write(fd2, b"two %d\n" % i)
        want += b"one %d\ntwo %d\n" % (i, i)
    os.close(fd1)
    os.close(fd2)
    q.same(read(d / "f"), want)


def test_ops_o_trunc_and_stale_data():
    d = fresh()
    write(d / "f", b"A" * 300000)
    os.sync()
    write(d / "f", b"short")
    q.same(read(d / "f"), b"short")
    os.truncate(d / "f", 300000)
    q.same(read(d / "f"), b"short" + bytes(299995), "after growing")
    os.truncate(d / "f", 3)
    remount()
    os.truncate(d / "f", 200000)
    q.same(read(d / "f"), b"sho" + bytes(199997), "after a remount")


def test_ops_sparse():
    d = fresh()
    fd = os.open(d / "s", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"end", 100 * MIB)
    os.fsync(fd)
    st = os.fstat(fd)
    q.same(st.st_size, 100 * MIB + 3)
    q.check(st.st_blocks * 512 <= BLOCK, f"st_blocks {st.st_blocks} of a hole of 100 MiB")
    q.same(os.pread(fd, 10, 50 * MIB), bytes(10))
    q.same(os.lseek(fd, 0, os.SEEK_DATA), 100 * MIB, "SEEK_DATA")
    q.same(os.lseek(fd, 0, os.SEEK_HOLE), 0, "SEEK_HOLE")
    q.same(os.lseek(fd, 100 * MIB, os.SEEK_HOLE), 100 * MIB + 3, "SEEK_HOLE at the end")
    fails(errno.ENXIO, os.lseek, fd, 200 * MIB, os.SEEK_DATA)
    os.close(fd)


def test_ops_seek_data_sees_what_is_only_in_the_kernel():
    d = fresh()
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x" * 300000, 0)
    q.same(os.lseek(fd, 0, os.SEEK_DATA), 0, "SEEK_DATA")
    q.same(os.lseek(fd, 0, os.SEEK_HOLE), 300000, "SEEK_HOLE")
    os.close(fd)
    q.run("cp", "--sparse=auto", d / "f", d / "g", check_exit=0)
    q.same(read(d / "g"), b"x" * 300000, "cp")


def test_ops_fallocate():
    d = fresh()
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    fallocate(fd, 0, 0, 100000)
    q.same(os.fstat(fd).st_size, 100000, "allocate")
    fallocate(fd, 1, 0, 500000)
    q.same(os.fstat(fd).st_size, 100000, "keep size")
    os.pwrite(fd, b"y" * 400000, 0)
    os.fsync(fd)
    before = os.fstat(fd).st_blocks * 512
    q.check(before >= 500000, "what was allocated behind the end does not count")
    fallocate(fd, 3, 1000, 300000)
    q.same(os.pread(fd, 500000, 0), b"y" * 1000 + bytes(300000) + b"y" * 99000, "punch")
    os.fsync(fd)
    q.check(os.fstat(fd).st_blocks * 512 <= before - BLOCK, "blocks of the hole are kept")
    fails(errno.EOPNOTSUPP, fallocate, fd, 8, 0, BLOCK)       # COLLAPSE_RANGE
    os.close(fd)


def test_ops_mmap():
    d = fresh()
    write(d / "m", bytes(400000))
    with open(d / "m", "r+b") as f:
        with mmap.mmap(f.fileno(), 400000) as m:
            m[0:5] = b"start"
            m[BLOCK - 2:BLOCK + 2] = b"over"
            m[399996:400000] = b"last"
            m.flush()
            q.same(os.pread(f.fileno(), 5, 0), b"start")
    drop()
    data = read(d / "m")
    q.same((data[:5], data[BLOCK - 2:BLOCK + 2], data[-4:]), (b"start", b"over", b"last"))


def test_ops_mmap_written_after_close():
    d = fresh()
    fd = os.open(d / "m", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 8192)
    m = mmap.mmap(fd, 8192)
    os.close(fd)
    m[0:4] = b"late"
    m.close()
    remount()
    q.same(read(d / "m")[:4], b"late")


def test_ops_direct_io():
    d = fresh()
    buf = mmap.mmap(-1, 2 * BLOCK)
    buf[:] = random.Random(SEED).randbytes(2 * BLOCK)
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    q.same(os.pwritev(fd, [buf], 4096), 2 * BLOCK)
    got = mmap.mmap(-1, 2 * BLOCK)
    q.same(os.preadv(fd, [got], 4096), 2 * BLOCK)
    q.same(got[:], buf[:])
    os.close(fd)
    q.same(read(d / "f"), bytes(4096) + buf[:])


def test_ops_two_writers_of_one_file():
    d = fresh()
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    errors = []

    def worker(k):
        try:
            for i in range(200):
                os.pwrite(fd, bytes([k]) * 5000, (i * 4 + k) * 5000)
        except OSError as e:
            errors.append(e)

    ts = [threading.Thread(target=worker, args=(k,)) for k in range(4)]
    [t.start() for t in ts]
    [t.join() for t in ts]
    q.same(errors, [])
    os.fsync(fd)
    drop()
    q.same(os.pread(fd, 4 * MIB, 0), b"".join(bytes([k]) * 5000 for _ in range(200) for k in range(4)))
    os.close(fd)


# --- names ----------------------------------------------------------------------------------------

def test_ops_names():
    d = fresh()
    for name in (b"n" * 255, "日本語".encode(), b"latin1-\xe9\xff", b"new\nline", b"...", b"-dash", b" ", b"a\\b"):
        p = os.path.join(os.fsencode(d), name)
        write(p, name)
        q.same(read(p), name)
    q.same(len(os.listdir(d)), 8)
    long = os.path.join(os.fsencode(d), b"n" * 256)
    fails(errno.ENAMETOOLONG, write, long, b"")
    fails(errno.ENAMETOOLONG, os.mkdir, long)
    fails(errno.ENAMETOOLONG, os.symlink, b"x", long)
    fails(errno.ENAMETOOLONG, os.rename, os.path.join(os.fsencode(d), b"..."), long)
    fails(errno.ENAMETOOLONG, os.link, os.path.join(os.fsencode(d), b"..."), long)


def test_ops_mkdir_rmdir_links():
    d = fresh()
    q.same(os.stat(d).st_nlink, 2)
    for i in range(3):
        (d / f"sub{i}").mkdir()
    q.same(os.stat(d).st_nlink, 5, "nlink with three subdirectories")
    write(d / "sub0" / "f", b"")
    fails(errno.ENOTEMPTY, os.rmdir, d / "sub0")
    fails(errno.ENOTEMPTY, os.rmdir, d)
    fails(errno.EEXIST, os.mkdir, d / "sub1")
    fails(errno.ENOENT, os.rmdir, d / "none")
    fails(errno.ENOTDIR, os.rmdir, d / "sub0" / "f")
    fails(errno.EISDIR, os.unlink, d / "sub1")
    os.rmdir(d / "sub1")
    q.same(os.stat(d).st_nlink, 4)
    drop()
    q.same(os.stat(d).st_nlink, 4, "nlink from zdbfs")
    remount()
    q.same(os.stat(d).st_nlink, 4, "nlink after a remount")


def test_ops_rmdir_of_any_name_is_refused_when_not_empty():
    d = fresh()
    for name in ("a", "abc", "x" * 200, "zz9"):
        (d / name).mkdir()
        write(d / name / "kept", b"k")
        fails(errno.ENOTEMPTY, os.rmdir, d / name)
        q.same(read(d / name / "kept"), b"k")


def test_ops_hard_links():
    d = fresh()
    write(d / "a", b"shared")
    os.link(d / "a", d / "b")
    (d / "sub").mkdir()
    os.link(d / "b", d / "sub" / "c")
    q.same([os.stat(d / n).st_nlink for n in ("a", "b", "sub/c")], [3, 3, 3])
    write(d / "b", b"+more", "ab")
    q.same(read(d / "sub" / "c"), b"shared+more")
    os.unlink(d / "a")
    q.same(os.stat(d / "b").st_nlink, 2)
    fails(errno.EEXIST, os.link, d / "b", d / "sub" / "c")
    fails(errno.ENOENT, os.link, d / "a", d / "x")
    fails(errno.EPERM, os.link, d / "sub", d / "y")
    remount()
    q.same((os.stat(d / "b").st_nlink, read(d / "sub" / "c")), (2, b"shared+more"))


def test_ops_symlinks():
    d = fresh()
    for target in ("t", "x" * 1000, "y" * 4095, "/nonexistent/é"):
        os.symlink(target, d / "l")
        q.same(os.readlink(d / "l"), target)
        q.same(os.lstat(d / "l").st_size, len(os.fsencode(target)), "size of a symlink")
        drop()
        q.same(os.readlink(d / "l"), target)
        os.unlink(d / "l")
    os.symlink("f", d / "l")
    write(d / "l", b"through")
    q.same(read(d / "f"), b"through")
    fails(errno.EEXIST, os.symlink, "z", d / "l")
    fails(errno.EINVAL, os.readlink, d / "f")


def test_ops_special_files():
    d = fresh()
    os.mkfifo(d / "fifo", 0o640)
    q.same(stat.S_ISFIFO(os.stat(d / "fifo").st_mode), True)
    with socket.socket(socket.AF_UNIX) as s:
        cwd = os.open(".", os.O_RDONLY)
        os.chdir(d)                        # the path of a socket may not be long
        s.bind("sock")
        os.fchdir(cwd)
        os.close(cwd)
    q.same(stat.S_ISSOCK(os.stat(d / "sock").st_mode), True)
    if os.getuid() == 0:
        os.mknod(d / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(d / "blk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
        os.mknod(d / "reg", stat.S_IFREG | 0o600)
    before = {n: (os.lstat(d / n).st_mode, os.lstat(d / n).st_rdev) for n in os.listdir(d)}
    r = os.open(d / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    w = os.open(d / "fifo", os.O_WRONLY)
    os.write(w, b"pipe")
    q.same(os.read(r, 10), b"pipe")
    os.close(r)
    os.close(w)
    remount()
    q.same({n: (os.lstat(d / n).st_mode, os.lstat(d / n).st_rdev) for n in os.listdir(d)}, before)
    if os.getuid() == 0:
        write(d / "null", b"gone")
        q.same(read(d / "null"), b"")


# --- rename ---------------------------------------------------------------------------------------

def make(path, kind):
    if kind == "file":
        write(path, b"file " + path.name.encode())
    elif kind == "empty":
        path.mkdir()
    elif kind == "full":
        path.mkdir()
        write(path / "inside", b"x")
    elif kind == "link":
        os.symlink("somewhere", path)


def test_ops_rename_matrix():
    want = {("file", "file"): 0, ("file", "link"): 0, ("link", "file"): 0, ("link", "link"): 0,
            ("file", "empty"): errno.EISDIR, ("file", "full"): errno.EISDIR, ("link", "empty"): errno.EISDIR,
            ("link", "full"): errno.EISDIR, ("empty", "file"): errno.ENOTDIR, ("full", "file"): errno.ENOTDIR,
            ("empty", "link"): errno.ENOTDIR, ("full", "link"): errno.ENOTDIR, ("empty", "empty"): 0, ("full", "empty"): 0,
            ("empty", "full"): errno.ENOTEMPTY, ("full", "full"): errno.ENOTEMPTY}
    for (a, b), code in want.items():
        for other in (False, True):
            d = fresh()
            e = d / "other" if other else d
            e.mkdir(exist_ok=True)
            make(d / "from", a)
            make(e / "to", b)
            ino = os.lstat(d / "from").st_ino
            links = os.stat(d).st_nlink, os.stat(e).st_nlink
            if code:
                fails(code, os.rename, d / "from", e / "to")
                q.same(os.lstat(d / "from").st_ino, ino, f"{a} to {b}: source")
                continue
            os.rename(d / "from", e / "to")
            q.same(os.lstat(e / "to").st_ino, ino, f"{a} to {b}: inode")
            q.check(not os.path.lexists(d / "from"), f"{a} to {b}: the source is still there")
            if a == "full":
                q.same(read(e / "to" / "inside"), b"x")
            moved = a in ("empty", "full")
            q.same(os.stat(d).st_nlink, links[0] - moved, f"{a} to {b}: links of the old directory")
            if other:
                q.same(os.stat(e).st_nlink, links[1], f"{a} to {b}: links of the new directory")


def test_ops_rename_flags():
    d = fresh()
    (d / "x").mkdir()
    (d / "y").mkdir()
    write(d / "x" / "f", b"file")
    (d / "y" / "dir").mkdir()
    write(d / "y" / "dir" / "in", b"inside")
    fails(errno.EEXIST, renameat2, d / "x" / "f", d / "y" / "dir", 1)
    renameat2(d / "x" / "f", d / "x" / "g", 1)
    renameat2(d / "x" / "g", d / "y" / "dir", 2)              # EXCHANGE of a file and a directory
    q.same(read(d / "y" / "dir"), b"file")
    q.same(read(d / "x" / "g" / "in"), b"inside")
    q.same((os.stat(d / "x").st_nlink, os.stat(d / "y").st_nlink), (3, 2), "links after the exchange")
    fails(errno.ENOENT, renameat2, d / "x" / "g", d / "none", 2)
    fails(errno.EINVAL, renameat2, d / "x" / "g", d / "y" / "z", 3)
    fails(errno.EINVAL, os.rename, d / "x", d / "x" / "g" / "below")
    fails(errno.ENOENT, os.rename, d / "none", d / "z")
    remount()
    q.same((read(d / "y" / "dir"), read(d / "x" / "g" / "in")), (b"file", b"inside"))
    parent = {e.name: e.inode() for e in os.scandir(d / "x")}
    q.same(parent, {"g": os.stat(d / "x" / "g").st_ino})


def test_ops_rename_of_hard_links_to_one_file_does_nothing():
    d = fresh()
    write(d / "a", b"1")
    os.link(d / "a", d / "b")
    os.rename(d / "a", d / "b")
    q.same(sorted(os.listdir(d)), ["a", "b"])


def test_ops_dotdot_follows_a_moved_directory():
    d = fresh()
    (d / "p1" / "c").mkdir(parents=True)
    (d / "p2").mkdir()
    os.rename(d / "p1" / "c", d / "p2" / "c")
    remount()
    q.same(os.stat(d / "p2" / "c" / "..").st_ino, os.stat(d / "p2").st_ino)
    out = q.run("ls", "-a", "-i", "-f", d / "p2" / "c").stdout.decode().split()
    q.same(int(out[out.index("..") - 1]), os.stat(d / "p2").st_ino, "what readdir says of ..")


# --- removed but open -----------------------------------------------------------------------------

def test_ops_unlinked_file_lives_until_closed():
    d = fresh()
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"a" * 200000)
    os.unlink(d / "f")
    q.same(os.listdir(d), [])
    os.fsync(fd)
    drop()
    q.same(os.fstat(fd).st_nlink, 0)
    q.same(os.pread(fd, 5, 199998), b"aa")
    os.pwrite(fd, b"later", 500000)
    os.ftruncate(fd, 600000)
    os.fchmod(fd, 0o600)
    drop()
    q.same(os.pread(fd, 5, 500000), b"later")
    q.same((os.fstat(fd).st_size, stat.S_IMODE(os.fstat(fd).st_mode)), (600000, 0o600))
    os.close(fd)
    remount()                              # --check in it finds no unused keys


def test_ops_replaced_file_lives_until_closed():
    d = fresh()
    write(d / "old", b"old content")
    write(d / "new", b"new content")
    fd = os.open(d / "old", os.O_RDONLY)
    os.rename(d / "new", d / "old")
    drop()
    q.same(os.pread(fd, 100, 0), b"old content")
    q.same(read(d / "old"), b"new content")
    os.close(fd)
    remount()


def test_ops_removed_directory_that_is_open():
    d = fresh()
    (d / "sub").mkdir()
    fd = os.open(d / "sub", os.O_RDONLY)
    os.rmdir(d / "sub")
    q.same(os.listdir(fd), [])
    q.same(os.fstat(fd).st_nlink, 0)
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    fails(errno.ENOENT, os.mkdir, "x", dir_fd=fd)
    os.close(fd)
    remount()


# --- attributes -----------------------------------------------------------------------------------

def test_ops_chmod_chown():
    d = fresh()
    write(d / "f", b"")
    os.chmod(d / "f", 0o4751)
    q.same(stat.S_IMODE(os.stat(d / "f").st_mode), 0o4751)
    if os.getuid() == 0:
        os.chown(d / "f", 100000, 4000000000)
        os.chmod(d / "f", 0o640)
    before = os.stat(d / "f")
    remount()
    st = os.stat(d / "f")
    q.same((st.st_uid, st.st_gid, st.st_mode), (before.st_uid, before.st_gid, before.st_mode))
    if os.getuid() == 0:
        q.same((st.st_uid, st.st_gid), (100000, 4000000000), "32-bit owners")


def test_ops_times_are_nanoseconds():
    d = fresh()
    write(d / "f", b"x")
    (d / "dir").mkdir()
    os.symlink("f", d / "link")
    for name in ("f", "dir", "link"):
        for at, mt in ((1, 2), (1700000000123456789, 1700000001987654321), (-5 * 10 ** 9 + 7, -1), (4102444800 * 10 ** 9 + 3, 5),
                       (20_000_000_000 * 10 ** 9 + 1, 2 ** 62 // 1)):
            os.utime(d / name, ns=(at, mt), follow_symlinks=False)
            st = os.lstat(d / name)
            q.same((st.st_atime_ns, st.st_mtime_ns), (at, mt), name)
            drop()
            st = os.lstat(d / name)
            q.same((st.st_atime_ns, st.st_mtime_ns), (at, mt), f"{name} from zdbfs")
    before = {n: (os.lstat(d / n).st_atime_ns, os.lstat(d / n).st_mtime_ns, os.lstat(d / n).st_ctime_ns) for n in os.listdir(d)}
    remount()
    q.same({n: (os.lstat(d / n).st_atime_ns, os.lstat(d / n).st_mtime_ns, os.lstat(d / n).st_ctime_ns) for n in before}, before)


def test_ops_set_times_survive_later_flushes():
    d = fresh()
    when = 1234567890123456789
    with open(d / "f", "wb") as f:
        f.write(b"y" * 3 * MIB)
        f.flush()
        os.utime(f.fileno(), ns=(when, when))
    q.same(os.stat(d / "f").st_mtime_ns, when, "after close")
    os.sync()
    q.same(os.stat(d / "f").st_mtime_ns, when, "after sync")
    q.run("cp", "-a", d / "f", d / "g", check_exit=0)
    q.run("touch", "-d", "2001-02-03 04:05:06.123456789 UTC", d / "h", check_exit=0)
    remount()
    q.same([os.stat(d / n).st_mtime_ns for n in ("f", "g", "h")], [when, when, 981173106123456789], "after a remount")


def changed(path, action, fields):
    """Which of the times the action moves forward."""
    os.utime(path, ns=(10 ** 18, 10 ** 18), follow_symlinks=False)
    before = os.lstat(path)
    time.sleep(0.02)                       # the kernel's clock for times has steps of up to 10 ms
    action()
    after = os.lstat(path)
    got = {n for n in ("mtime", "ctime") if getattr(after, f"st_{n}_ns") > getattr(before, f"st_{n}_ns")}
    q.same(got, set(fields), f"times changed by {action.__name__ if hasattr(action, '__name__') else action}")


def test_ops_times_change_when_they_should():
    d = fresh()
    f = d / "f"
    write(f, b"x" * 10)
    changed(f, lambda: write(f, b"y", "ab"), ("mtime", "ctime"))
    changed(f, lambda: os.truncate(f, 3), ("mtime", "ctime"))
    changed(f, lambda: os.chmod(f, 0o600), ("ctime",))
    changed(f, lambda: os.link(f, d / "f2"), ("ctime",))
    changed(f, lambda: os.unlink(d / "f2"), ("ctime",))
    changed(f, lambda: os.rename(f, d / "g") or os.rename(d / "g", f), ("ctime",))
    changed(f, lambda: read(f), ())
    changed(d, lambda: write(d / "n", b""), ("mtime", "ctime"))
    changed(d, lambda: os.rename(d / "n", d / "m"), ("mtime", "ctime"))
    changed(d, lambda: os.unlink(d / "m"), ("mtime", "ctime"))
    changed(d, lambda: (d / "s").mkdir(), ("mtime", "ctime"))
    changed(d, lambda: os.rmdir(d / "s"), ("mtime", "ctime"))
    changed(d, lambda: os.symlink("x", d / "l"), ("mtime", "ctime"))
    changed(d, lambda: os.chmod(d, 0o711), ("ctime",))


def test_ops_setgid_directory():
    if os.getuid() != 0:
        return
    d = fresh()
    os.chown(d, 0, 4242)
    os.chmod(d, 0o2775)
    write(d / "f", b"")
    (d / "sub").mkdir()
    os.symlink("f", d / "l")
    q.same([os.lstat(d / n).st_gid for n in ("f", "sub", "l")], [4242] * 3)
    q.same(bool(os.stat(d / "sub").st_mode & stat.S_ISGID), True, "setgid of a new directory")
    q.same(bool(os.stat(d / "f").st_mode & stat.S_ISGID), False, "setgid of a new file")


def as_user(uid, code):
    """Run Python code as another user; its exit code."""
    return q.run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "python3", "-c", code).returncode


def test_ops_setuid_bits_are_cleared():
    if os.getuid() != 0:
        return
    d = fresh()
    os.chmod(d, 0o777)
    write(d / "f", b"12345")
    os.chown(d / "f", 1000, 1000)
    for what in ("open(p, 'ab').write(b'x')", "os.truncate(p, 2)", "os.chown(p, -1, 1000)"):
        os.chmod(d / "f", 0o6777)
        q.same(as_user(1000, f"import os; p = {str(d / 'f')!r}; {what}"), 0, what)
        q.same(stat.S_IMODE(os.stat(d / "f").st_mode), 0o777, what)
        drop()
        q.same(stat.S_IMODE(os.stat(d / "f").st_mode), 0o777, f"{what}, from zdbfs")


def test_ops_permissions():
    if os.getuid() != 0:
        return
    d = fresh()
    os.chmod(d, 0o1777)
    for p in (mount.path.parent, *mount.path.parent.parents):
        if not os.stat(p).st_mode & 1:
            return                         # another user cannot even reach the mount
    write(d / "secret", b"s")
    os.chmod(d / "secret", 0o600)
    for what in ("open(p + '/secret')", "os.unlink(p + '/secret')", "os.rename(p + '/secret', p + '/x')", "os.chmod(p + '/secret', 0)"):
        q.same(as_user(1000, f"import os, sys, errno; p = {str(d)!r}\ntry:\n {what}\nexcept PermissionError:\n sys.exit(7)"), 7, what)
    q.same(as_user(1000, f"open({str(d)!r} + '/mine', 'w').write('x')"), 0, "own file in a sticky directory")


# --- directories ----------------------------------------------------------------------------------

def test_ops_5000_entries():
    d = fresh()
    names = [f"entry-{i:05d}-{'x' * (i % 50)}" for i in range(5000)]
    for n in names:
        os.close(os.open(d / n, os.O_CREAT | os.O_WRONLY))
    q.same(sorted(os.listdir(d)), names)
    drop()
    got = {e.name: e.is_file() for e in os.scandir(d)}
    q.same((len(got), all(got.values())), (5000, True))
    remount()
    q.same(sorted(os.listdir(d)), names, "after a remount")
    q.same(os.stat(d).st_size, sum(11 + len(n) for n in names), "size of the directory")


def test_ops_scandir_and_unlink_leaves_nothing():
    d = fresh()
    for i in range(2000):
        write(d / f"f{i}", b"")
    with os.scandir(d) as it:
        for e in it:
            os.unlink(e)
    q.same(os.listdir(d), [])
    os.rmdir(d)


def test_ops_readdir_is_stable_while_entries_come_and_go():
    d = fresh()
    kept = {f"keep{i}" for i in range(600)}
    for n in kept:
        write(d / n, b"")
    for i in range(600):
        write(d / f"goes{i}", b"")
    seen = []
    with os.scandir(d) as it:
        for k, e in enumerate(it):
            seen.append(e.name)
            if k < 600:
                if os.path.exists(d / f"goes{k}"):
                    os.unlink(d / f"goes{k}")
                write(d / f"new{k}", b"")
    q.same(len(seen), len(set(seen)), "names seen twice")
    q.check(kept <= set(seen), f"missed {sorted(kept - set(seen))[:5]}")


def test_ops_telldir_and_seekdir():
    d = fresh()
    for i in range(300):
        write(d / f"n{i}", b"")
    opendir, readdir, telldir, seekdir, closedir = (getattr(libc, n) for n in ("opendir", "readdir64", "telldir", "seekdir", "closedir"))
    opendir.restype = readdir.restype = ctypes.c_void_p
    telldir.restype = ctypes.c_long
    readdir.argtypes = telldir.argtypes = closedir.argtypes = [ctypes.c_void_p]
    seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def name(p):
        return ctypes.string_at(p + 19)

    h = opendir(os.fsencode(d))
    first, places = [], []
    while True:
        places.append(telldir(h))
        p = readdir(h)
        if not p:
            break
        first.append(name(p))
    for k in (0, 7, 150, 301, 44):
        seekdir(h, places[k])
        q.same(name(readdir(h)), first[k], f"entry {k}")
    closedir(h)
    q.same(len(first), 302)


def test_ops_readdir_types():
    d = fresh()
    write(d / "file", b"")
    (d / "dir").mkdir()
    os.symlink("x", d / "link")
    os.mkfifo(d / "fifo")
    remount()
    got = {e.name: (e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False), e.is_symlink()) for e in os.scandir(d)}
    q.same(got, {"file": (False, True, False), "dir": (True, False, False), "link": (False, False, True), "fifo": (False,) * 3})


def test_ops_deep_tree():
    d = fresh()
    p = d
    for i in range(60):
        p = p / f"level{i}"
        p.mkdir()
    write(p / "bottom", b"deep")
    drop()
    q.same(read(p / "bottom"), b"deep")
    q.run("rm", "-rf", d / "level0", check_exit=0)
    q.same(os.listdir(d), [])


def test_ops_many_files_and_threads():
    d = fresh()
    errors = []

    def worker(k):
        r = random.Random(SEED + k)
        mine = {}
        try:
            base = d / f"w{k}"
            base.mkdir()
            for i in range(150):
                op = r.random()
                if op < 0.6 or not mine:
                    name, data = f"f{i}", r.randbytes(r.choice((0, 10, 5000, 140000)))
                    write(base / name, data)
                    mine[name] = data
                elif op < 0.8:
                    name = r.choice(sorted(mine))
                    os.rename(base / name, base / f"r{i}")
                    mine[f"r{i}"] = mine.pop(name)
                else:
                    name = r.choice(sorted(mine))
                    os.unlink(base / name)
                    del mine[name]
            q.same(sorted(os.listdir(base)), sorted(mine))
            for n, data in mine.items():
                q.same(read(base / n), data, n)
        except (OSError, q.Failure) as e:
            errors.append(e)

    ts = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
    [t.start() for t in ts]
    [t.join() for t in ts]
    q.same(errors, [])
    before = q.tree(d)
    remount()
    q.same_tree(q.tree(d), before)


# --- the rest -------------------------------------------------------------------------------------

def test_ops_names_that_are_too_long_and_unknown_ioctls():
    d = fresh()
    for f in (os.stat, os.unlink, os.rmdir, os.mkdir, lambda p: open(p, "w"), lambda p: os.rename(d, p)):
        fails(errno.ENAMETOOLONG, f, d / ("n" * 256))
    fd = os.open(d, os.O_RDONLY)
    fails(errno.ENOTTY, fcntl.ioctl, fd, 0x1234, bytearray(8))
    os.close(fd)


def test_ops_set_id_bits_go_when_others_change_the_content():
    d = fresh()
    os.chmod(d, 0o777)
    changes = {"O_TRUNC": "os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))",
               "truncate": "os.truncate(p, 100)",
               "fallocate": "f.fallocate(0)",
               "punch": "f.fallocate(3)",
               "zero": "f.fallocate(16)",
               "write": "f.write()"}
    for what, how in changes.items():
        p = d / what
        p.write_bytes(b"x" * 200000)
        for mode, left in ((0o6777, 0o777), (0o4666, 0o666), (0o2666, 0o666)):
            if (what, mode) == ("write", 0o2666):
                continue                   # the kernel decides that for a mount with its own cache, and keeps it
            os.chmod(p, mode)
            r = q.run("python3", "-c", f"""
import ctypes, os
p = {str(p)!r}
os.setgroups([]); os.setgid(1234); os.setuid(1234)
class f:
    def fallocate(how):
        fd = os.open(p, os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate(fd, how, ctypes.c_long(0), ctypes.c_long(150000)):
            raise OSError(ctypes.get_errno(), "fallocate")
    def write():
        fd = os.open(p, os.O_RDWR)
        os.write(fd, b"y")
{how}
""")
            q.same(r.returncode, 0, r.stderr.decode())
            q.same(oct(os.stat(p).st_mode & 0o7777), oct(left), f"{what} of mode {mode:o}")


def test_ops_entries_move_a_directory_time_from_before_1970():
    d = fresh()
    (d / "a").touch()
    (d / "b").touch()
    steps = (lambda: (d / "x").touch(), lambda: os.unlink(d / "x"), lambda: os.mkdir(d / "y"), lambda: os.rmdir(d / "y"),
             lambda: os.link(d / "a", d / "l"), lambda: os.symlink("a", d / "s"), lambda: os.rename(d / "a", d / "c"),
             lambda: os.rename(d / "c", d / "b"), lambda: os.mkfifo(d / "p"))
    for i, step in enumerate(steps):
        for old in (-1790112277, -5):
            os.utime(d, (old, old))
            q.same(os.stat(d).st_mtime, old)
        step()
        q.check(abs(os.stat(d).st_mtime - time.time()) < 60, f"step {i}: {os.stat(d).st_mtime}")
    remount()
    q.check(abs(os.stat(d).st_mtime - time.time()) < 60, "after a remount")


def test_ops_statfs():
    fresh()
    st = os.statvfs(top)
    q.same((st.f_bsize, st.f_frsize, st.f_namemax), (BLOCK, 1024, 255))
    disk = os.statvfs(zdb.data)
    q.check(st.f_bavail * st.f_frsize <= disk.f_bavail * disk.f_frsize, "more is free than on the disk")
    q.check(0 < st.f_bavail <= st.f_blocks, st.f_bavail)


def test_ops_ioctl_statistics_and_snapshot():
    d = fresh()
    write(d / "f", b"12345")
    fd = os.open(top, os.O_RDONLY)
    buf = bytearray(240)
    fcntl.ioctl(fd, 0x80F04501, buf)
    v = struct.unpack("<30Q", buf)
    q.same((v[0], v[7]), (2, 1024), "version and branches")
    q.check(v[1] > 0 and v[14] > 0 and v[26] >= 1 and v[28] >= 5, v)
    before = int(time.time())
    snap = bytearray(8)
    fcntl.ioctl(fd, 0x80084500, snap)
    q.check(before <= struct.unpack("<Q", snap)[0] <= time.time() + 1, "time of the snapshot")
    fails(errno.ENOTTY, fcntl.ioctl, fd, 0x80084599, bytearray(8))
    os.close(fd)
    q.same(read(d / "f"), b"12345")


def test_ops_locks():
    d = fresh()
    write(d / "f", b"")
    with open(d / "f", "r+b") as a, open(d / "f", "r+b") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(a, fcntl.LOCK_UN)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ops_copy_file_range():
    d = fresh()
    data = random.Random(SEED).randbytes(300000)
    write(d / "a", data)
    with open(d / "a", "rb") as a, open(d / "b", "wb") as b:
        n = 0
        while n < len(data):
            n += os.copy_file_range(a.fileno(), b.fileno(), len(data) - n)
    q.same(read(d / "b"), data)


def test_ops_real_tree():
    """What tar and cp make of a piece of this system."""
    d = fresh()
    src = "/usr/share/perl5" if os.path.isdir("/usr/share/perl5") else "/usr/share/doc"
    q.run("sh", "-c", f"tar -C {src} --format=posix -cf - . | tar -C {d} -xf -", check_exit=0, timeout=120)
    want = q.tree(src)
    remount()
    got = q.tree(d)
    for t in (want, got):
        t.pop(".")
    same_kind = {p: v for p, v in want.items()}
    q.same_tree({p: v[:7] for p, v in got.items()}, {p: v[:7] for p, v in same_kind.items()})


def test_ops_unmount_stores_everything_of_open_files():
    d = fresh()
    fds = []
    for i in range(4):
        fd = os.open(d / f"f{i}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, bytes([i]) * 1000)
        fds.append(fd)
    q.same(mount.stop(), 0, "exit code after SIGTERM")
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass
    mount.start()
    q.same([read(d / f"f{i}") for i in range(4)], [bytes([i]) * 1000 for i in range(4)])


def test_ops_background_and_bad_calls():
    d = q.tmpdir("bg")
    (d / "mnt").mkdir()
    z = q.start_zdb(unix=True, mode="seq")
    p = subprocess.run([q.BIN / "zdbfs", "-o", f"autons,background,unix={z.socket}", d / "mnt"], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=60 * q.SLOWDOWN, env=q.environment())
    q.same(p.returncode, 0, p.stderr.decode())
    q.check(os.path.ismount(d / "mnt"), "the parent returned before the mount was ready")
    out = p.stdout.decode()
    for text in ("initializing zdbfs v", "blocks cache size", "virtual filesystem size: 10.0 GB", "auto creating namespace",
                 "fuse: ready, waiting events"):
        q.check(text in out, f"{text!r} is not in {out!r}")
    (d / "mnt" / "x").write_bytes(b"1")
    q.run("fusermount3", "-u", d / "mnt", check_exit=0)
    q.wait_for(lambda: q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={z.socket}").returncode == 0, 20, "end of the daemon")
    for args, text in ((["-o", "autons,foo=1", d / "mnt"], "foo"), (["-o", "autons"], "mount point is missing"),
                       (["-o", f"unix={z.socket}", d / "none"], "mount point"), (["-o", "size=abc", d / "mnt"], "size"),
                       (["-o", "port=99999", d / "mnt"], "port"), (["-o", f"unix={d}/no.sock", d / "mnt"], "no.sock"),
                       (["-o", "sync=sometimes", d / "mnt"], "sync"), (["-o", "timeout=0", d / "mnt"], "timeout")):
        p = q.run(q.BIN / "zdbfs", *args)
        q.same((p.returncode, p.stderr.count(b"\n")), (1, 1), f"{args}: {p.stderr.decode()}")
        q.check(text in p.stderr.decode(), f"{args}: {p.stderr.decode()}")
    z.stop()


def test_ops_damaged_header_is_refused():
    d = q.tmpdir("hdr")
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    m.unmount()
    with z.client("zdbfs-meta") as c:
        good = c.ok("GET", bytes(8))
        for bad in (b"ZDBFSD" + good[6:], good[:6] + b"\x02\x00" + good[8:], b"short"):
            c.ok("SET", bytes(8), bad)
            p = q.run(q.BIN / "zdbfs", "-f", "-o", f"unix={z.socket}", d)
            q.same((p.returncode, p.stderr.count(b"\n")), (1, 1), p.stderr.decode())
            q.check(b"header" in p.stderr, p.stderr)
        c.ok("SET", bytes(8), good)
    m.start()
    q.same(m.unmount(), 0)
    z.stop()


def test_ops_nocache_and_sync_close():
    z = q.start_zdb(unix=True, mode="seq")
    for opts in ("autons,nocache", "autons,sync=close,flush=3600"):
        m = q.mount_zdbfs(z, opts=opts)
        (m.path / opts[7:9]).mkdir()
        (m.path / opts[7:9] / "f").write_bytes(b"data" * 1000)
        m.kill9()
        m.start()
        q.same((m.path / opts[7:9] / "f").read_bytes(), b"data" * 1000, opts)
        q.same(m.unmount(), 0)
    z.stop()


def test_ops_operation_log():
    z = q.start_zdb(unix=True, mode="seq")
    log = z.dir / "ops.log"
    m = q.mount_zdbfs(z, opts=f"autons,logfile={log}")
    (m.path / "d").mkdir()
    (m.path / "d" / "f").write_bytes(b"")
    os.rename(m.path / "d" / "f", m.path / "g")
    os.symlink("t", m.path / "d" / "l")
    os.unlink(m.path / "g")
    m.unmount()
    text = log.read_text()
    for line in ("[mkdir] /d [mode", "[create] /d/f [mode", "[rename] /d/f -> /g", "[symlink] /d/l -> t", "[unlink] /g"):
        q.check(line in text, f"{line!r} is not in {text!r}")
    z.stop()


def test_ops_last_unmount():
    remount()
    q.same(mount.unmount(), 0)
    zdb.stop()


if __name__ == "__main__":
    q.main()

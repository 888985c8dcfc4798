#!/usr/bin/env python3
# limit: 180
"""Files without a name, whiteouts, the time of birth, file handles, copies made by the filesystem: each on a native
filesystem, too, where that has it."""
import ctypes
import errno
import json
import os
import stat
import struct
import subprocess

import libqsfs as q

libc = ctypes.CDLL(None, use_errno=True)
zdb = mount = native = None
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = -100, 0x1000, 0x400


def setup():
    global zdb, mount, native
    if zdb is None:
        zdb = q.start_zdb(unix=True, mode="seq")
        mount = q.mount_zdbfs(zdb)
        native = q.tmpdir("native")


def both(check, name):
    """check(directory) on either; the results are the same."""
    setup()
    got = []
    for base in (native, mount.path):
        d = base / name
        d.mkdir()
        got.append(check(d))
    q.same(got[1], got[0], name)


def call(name, *args):
    r = getattr(libc, name)(*args)
    if r < 0:
        raise OSError(ctypes.get_errno(), name)
    return r


def outcome(f, *args, **kw):
    try:
        return f(*args, **kw)
    except OSError as e:
        return errno.errorcode[e.errno]


def renameat2(old, new, flags):
    return call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def link_fd(fd, path):
    """Gives the open file a name."""
    return call("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW)


def checked():
    """--check has no finding, and no key is left over."""
    q.same(mount.stop(), 0, "exit code of zdbfs")
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}")
    q.check(p.returncode == 0 and b"unused keys: 0 meta, 0 data; 0 findings" in p.stdout, p.stdout.decode())
    mount.start()


def test_posix_files_without_a_name():
    def check(d):
        old = os.umask(0o027)
        fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666)
        os.umask(old)
        out = [oct(os.fstat(fd).st_mode), os.fstat(fd).st_nlink, os.listdir(d)]
        os.write(fd, b"content" * 50000)
        out.append(link_fd(fd, d / "named"))
        out += [os.fstat(fd).st_nlink, os.listdir(d), (d / "named").read_bytes() == b"content" * 50000]
        out += [outcome(link_fd, fd, d / "named"), link_fd(fd, d / "again"), os.stat(d / "again").st_nlink]
        (d / "named").unlink()
        (d / "again").unlink()
        out += [os.fstat(fd).st_nlink, outcome(link_fd, fd, d / "late")]
        os.close(fd)
        fd = os.open(d, os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
        out.append(outcome(link_fd, fd, d / "never"))
        os.close(fd)
        out.append(outcome(os.open, d, os.O_TMPFILE | os.O_RDONLY, 0o600))
        return out
    both(check, "nameless")
    checked()


def test_posix_files_without_a_name_and_a_crash():
    """One that got a name and was fsynced is there after kill -9; one that got none leaves nothing."""
    setup()
    keep = os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    lost = os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    for fd in (keep, lost):
        os.write(fd, os.urandom(300000))
        os.fsync(fd)
    want = os.pread(keep, 300000, 0)
    link_fd(keep, mount.path / "kept")
    os.fsync(keep)
    mount.kill9()
    outcome(os.close, keep)
    outcome(os.close, lost)
    mount.start()
    q.check((mount.path / "kept").read_bytes() == want, "content of the linked file")
    q.same(os.stat(mount.path / "kept").st_nlink, 1)
    checked()
    (mount.path / "kept").unlink()


def test_posix_rename_leaves_a_whiteout():
    def check(d):
        (d / "f").write_bytes(b"f")
        (d / "g").write_bytes(b"g")
        (d / "sub").mkdir()
        out = [renameat2(d / "f", d / "moved", RENAME_WHITEOUT)]
        st = os.lstat(d / "f")
        out += [stat.S_ISCHR(st.st_mode), st.st_rdev, st.st_nlink, sorted(os.listdir(d)), (d / "moved").read_bytes()]
        out += [renameat2(d / "moved", d / "g", RENAME_WHITEOUT), (d / "g").read_bytes(), os.lstat(d / "moved").st_rdev]
        out += [renameat2(d / "g", d / "sub" / "g", RENAME_WHITEOUT), sorted(os.listdir(d)), os.listdir(d / "sub")]
        out += [renameat2(d / "sub", d / "sub2", RENAME_WHITEOUT), os.stat(d).st_nlink]
        out.append(outcome(renameat2, d / "sub2", d / "g", RENAME_WHITEOUT | RENAME_NOREPLACE))
        out.append(outcome(renameat2, d / "sub2", d / "g", RENAME_WHITEOUT | RENAME_EXCHANGE))
        out.append(renameat2(d / "sub2", d / "other", RENAME_WHITEOUT | RENAME_NOREPLACE))
        return out
    both(check, "whiteout")
    checked()


def birth(path):
    """(mask has it, seconds since 1970) of statx."""
    b = ctypes.create_string_buffer(256)
    call("statx", AT_FDCWD, os.fsencode(path), 0, 0xfff, b)
    mask, = struct.unpack_from("<I", b.raw, 0)
    sec, nsec = struct.unpack_from("<qI", b.raw, 80)
    mode, = struct.unpack_from("<H", b.raw, 28)
    ino, size = struct.unpack_from("<QQ", b.raw, 32)
    st = os.stat(path)
    q.same((mode, ino, size), (st.st_mode, st.st_ino, st.st_size), "statx and stat")
    return bool(mask & 0x800), sec * 10**9 + nsec


def test_posix_time_of_birth():
    setup()
    f = mount.path / "born"
    f.write_bytes(b"x")
    has, first = birth(f)
    q.check(has and abs(first - os.stat(f).st_ctime_ns) < 60 * 10**9, f"birth {first}")
    os.utime(f, (1, 1))
    f.write_bytes(b"more")
    q.same(birth(f), (True, first), "birth after changes")
    q.same(mount.stop(), 0)
    mount.start()
    q.same(birth(f), (True, first), "birth after a remount")


def handle_of(path):
    h = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + bytes(128))
    n = ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, os.fsencode(path), h, ctypes.byref(n), 0)
    return h.raw[:8 + struct.unpack_from("<I", h.raw)[0]]


def open_handle(handle, flags=os.O_RDONLY):
    fd = os.open(mount.path, os.O_RDONLY)
    try:
        return call("open_by_handle_at", fd, ctypes.create_string_buffer(handle), flags)
    finally:
        os.close(fd)


def test_posix_file_handles_outlive_every_cache():
    setup()
    d = mount.path / "handles" / "deep" / "er"
    d.mkdir(parents=True)
    (d / "f").write_bytes(b"by handle")
    (d / "dead").write_bytes(b"dead")
    handles = {p: handle_of(p) for p in (d, d / "f", d / "dead", mount.path)}
    (d / "dead").unlink()
    q.same(mount.stop(), 0)
    mount.start()
    fd = open_handle(handles[d / "f"])
    q.same(os.read(fd, 100), b"by handle")
    os.close(fd)
    fd = open_handle(handles[d])
    q.same(os.listdir(fd), ["f"])
    q.same(os.readlink(f"/proc/self/fd/{fd}"), str(d), "path of a directory, found by its parents")
    os.close(fd)
    q.same(outcome(open_handle, handles[d / "dead"]), "ESTALE")
    q.same(outcome(open_handle, handles[d / "f"][:-4] + b"\xff\xff\xff\x7f"), "ESTALE")


def test_posix_copies_made_by_the_filesystem():
    def check(d):
        data = bytes(range(256)) * 20000 + b"tail"    # 5 MB
        (d / "a").write_bytes(data)
        with open(d / "a", "rb") as a, open(d / "b", "w+b") as b:
            done = 0
            while (n := os.copy_file_range(a.fileno(), b.fileno(), 1 << 30)):
                done += n
            out = [done]
            b.seek(0)
            out.append(b.read() == data)
            out.append([os.copy_file_range(a.fileno(), b.fileno(), 1000, 100, 4999000), os.fstat(b.fileno()).st_size])
            out.append(outcome(os.copy_file_range, a.fileno(), a.fileno(), 10, 0, 0))
            out.append(outcome(os.copy_file_range, b.fileno(), a.fileno(), 10, 0, 0))
            b.seek(4999000)
            out.append(b.read(1000) == data[100:1100])
        with open(d / "c", "w+b") as c:
            c.truncate(3 << 20)
            c.seek(2 << 20)
            c.write(b"behind a hole")
            c.flush()
            out.append(os.copy_file_range(c.fileno(), os.open(d / "b", os.O_RDWR), 3 << 20, 0, 7))
        out.append(q.sha256(d / "b"))
        (d / "b").chmod(0o4755)
        code = f"import os; os.setuid(77); a = os.open({str(d / 'a')!r}, 0); os.copy_file_range(a, b, 5, 0, 0)"
        (d / "b").chmod(0o6777)
        b = os.open(d / "b", os.O_RDWR)
        p = subprocess.run(["python3", "-c", f"b = {b}\n" + code], pass_fds=[b], stderr=subprocess.PIPE)
        os.close(b)
        out += [p.returncode, oct(os.stat(d / "b").st_mode)]
        return out
    both(check, "copies")
    checked()


def test_posix_check_says_what_it_found():
    """A lost block and a name with odd bytes: exit codes of fsck(8), and JSON."""
    setup()
    os.makedirs(mount.path / "odd")
    with open(os.fsencode(mount.path / "odd") + b"/quote\"\\\xff", "wb") as f:
        f.write(b"data")
    q.same(mount.stop(), 0)
    where = ("--check", "--json", "-o", f"unix={zdb.socket}")
    p = q.run(q.BIN / "zdbfs", *where)
    q.same((p.returncode, json.loads(p.stdout)["found"]), (0, []))
    with zdb.client("zdbfs-data") as c:
        key = max(int.from_bytes(k, "little") for k in keys(c))
        lost = c.cmd("GET", key.to_bytes(8, "little"))
        q.same(lost, b"data")
        c.cmd("DEL", key.to_bytes(8, "little"))
    p = q.run(q.BIN / "zdbfs", *where)
    got = json.loads(p.stdout)
    q.same((p.returncode, got["findings"], len(got["found"])), (4, 1, 1))
    q.check(f"is missing (data key {key})" in got["found"][0], got)
    p = q.run(q.BIN / "zdbfs", "--check", "-o", "unix=/nowhere/zdb.sock")
    q.same(p.returncode, 8)
    mount.start()
    (mount.path / "odd").rename(mount.path / "was odd")


def keys(c):
    out, cursor = [], None
    while True:
        r = c.cmd("SCAN", *([cursor] if cursor else []))
        if isinstance(r, q.Error):
            return out
        cursor = r[0]
        out += [e[0] for e in r[1]]


def test_posix_end():
    q.same(mount.stop(), 0)


if __name__ == "__main__":
    q.main()

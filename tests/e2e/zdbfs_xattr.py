#!/usr/bin/env python3
# limit: 300
"""Extended attributes, ACLs and what runs with a file's privileges: the same random operations on a mount and on the disk's own
filesystem give the same answers and leave the same trees, also after kill -9.  Root: two users take part.  On a machine whose disk
has no ACLs the comparison is a failure, as nothing would be compared."""
import errno
import fcntl
import os
import pickle
import random
import stat
import struct

import libqsfs as q

SEED = int(os.environ.get("QSFS_SEED", 20261201))
ROUNDS = int(os.environ.get("QSFS_XATTR_STEPS", 1500))
USERS = ((0, 0, ()), (1001, 1001, (1003,)), (1002, 1003, ()))
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")      # cap_net_raw+ep, revision 2
NAMES = ("user.a", "user.b", "user.with a space", "user.ü", "trusted.t", "security.capability", ACCESS, ACCESS, DEFAULT,
         "user." + "n" * 250, "user." + "n" * 251, "user.", "other.x", "system.other")
NODES = ("f0", "f1", "f2", "d0", "d0/f3", "d0/d1", "d0/d1/f4", "link", "fifo", "new0", "d0/new1", "d0/d1/new2")

zdb = mount = None


def acl(r):
    """Bytes of an ACL: mostly valid."""
    named = [(2, r.randrange(8), r.choice((1001, 1002, 7))) for _ in range(r.randrange(2))]
    groups = [(8, r.randrange(8), r.choice((1001, 1003))) for _ in range(r.randrange(2))]
    none = 0xFFFFFFFF
    e = [(1, r.randrange(8), none), *named, (4, r.randrange(8), none), *groups]
    if named or groups or r.random() < 0.3:
        e.append((16, r.randrange(8), none))
    e.append((32, r.randrange(8), none))
    if r.random() < 0.05:
        del e[r.randrange(len(e))]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in e)


def value_of(name, r):
    if name in (ACCESS, DEFAULT):
        return acl(r)
    if name == "security.capability":
        return CAPABILITY
    return r.randbytes(r.choice((0, 1, 10, 100, 300)))


def opened(p, flags, do):
    fd = os.open(p, flags | os.O_NONBLOCK)      # a fifo without another end is an error
    try:
        return do(fd)
    finally:
        os.close(fd)


def read(p):
    return len(opened(p, os.O_RDONLY, lambda fd: os.read(fd, 10000)))


def make(kind, p, mode):
    if kind == "mkdir":
        os.mkdir(p, mode)
    elif kind == "mknod":
        os.mknod(p, stat.S_IFREG | mode)
    elif kind == "fifo":
        os.mkfifo(p, mode)
    elif kind == "symlink":
        os.symlink("target", p)
    else:
        os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))


def remove(p):
    os.rmdir(p) if stat.S_ISDIR(os.lstat(p).st_mode) else os.unlink(p)


OPERATIONS = {
    "set": lambda p, name, value, flags: os.setxattr(p, name, value, flags, follow_symlinks=False),
    "get": lambda p, name: os.getxattr(p, name, follow_symlinks=False),
    "list": lambda p: sorted(n for n in os.listxattr(p, follow_symlinks=False) if n != "security.selinux"),
    "remove": lambda p, name: os.removexattr(p, name, follow_symlinks=False),
    "chmod": os.chmod,
    "chown": lambda p, uid, gid: os.chown(p, uid, gid, follow_symlinks=False),
    "make": lambda p, kind, mode: make(kind, p, mode),
    "delete": remove,
    "write": lambda p, how, size: opened(p, os.O_WRONLY | how, lambda fd: os.write(fd, b"x" * size)),
    "truncate": os.truncate,
    "ftruncate": lambda p, size: opened(p, os.O_WRONLY, lambda fd: os.ftruncate(fd, size)),
    "pwrite": lambda p: opened(p, os.O_RDWR, lambda fd: os.pwrite(fd, b"m", 0)),
    "access": lambda p, how: os.access(p, how, effective_ids=True),
    "read": read,
    "readdir": lambda p: sorted(os.listdir(p)),
}


def operation(r):
    p = r.choice(NODES)
    kind = r.choices(list(OPERATIONS), (24, 6, 4, 6, 6, 4, 9, 3, 5, 2, 2, 2, 6, 2, 2))[0]
    name = r.choice(NAMES)
    args = {"set": lambda: (name, value_of(name, r), r.choice((0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))), "get": lambda: (name,),
            "list": tuple, "remove": lambda: (name,), "chmod": lambda: (r.randrange(0o10000),),
            "chown": lambda: (r.choice((-1, 0, 1001, 1002)), r.choice((-1, 0, 1001, 1003))),
            "make": lambda: (r.choice(("open", "open", "mkdir", "mknod", "fifo", "symlink")), r.randrange(0o10000) & 0o7777),
            "delete": tuple, "write": lambda: (r.choice((0, 0, os.O_TRUNC, os.O_APPEND)), r.choice((1, 5000))),
            "truncate": lambda: (r.randrange(6000),), "ftruncate": lambda: (r.randrange(6000),), "pwrite": tuple,
            "access": lambda: (r.randrange(8),), "read": tuple, "readdir": tuple}[kind]()
    user = r.choice(USERS) if kind not in ("chown", "mknod") else r.choice((USERS[0], USERS[0], USERS[1]))
    return p, kind, args, user, r.choice((0, 0o022, 0o077, 0o027))


class Actor:
    """Does operations in both places as one user; a process of its own."""

    def __init__(self, user):
        (a, self.w), (self.r, b) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.w), os.close(self.r)
            code = 1
            try:
                os.setgroups(user[2]), os.setresgid(user[1], user[1], user[1]), os.setresuid(user[0], user[0], user[0])
                self.serve(os.fdopen(a, "rb"), os.fdopen(b, "wb"))
                code = 0
            finally:
                os._exit(code)
        os.close(a), os.close(b)
        self.w, self.r = os.fdopen(self.w, "wb"), os.fdopen(self.r, "rb")

    @staticmethod
    def serve(requests, replies):
        while True:
            what = pickle.load(requests)
            if what is None:
                return
            path, kind, args, umask = what
            os.umask(umask)
            try:
                out = OPERATIONS[kind](path, *args)
            except OSError as e:
                out = errno.errorcode[e.errno]
            pickle.dump(out, replies)
            replies.flush()

    def do(self, *what):
        pickle.dump(what, self.w)
        self.w.flush()
        return pickle.load(self.r)

    def end(self):
        pickle.dump(None, self.w)               # the other actors hold this pipe, too: closing would not tell
        self.w.close()
        self.r.close()
        q.same(os.waitpid(self.pid, 0)[1], 0, "an actor's end")


def snapshot(root):
    out = {}
    for d, dirs, files in os.walk(root):
        for n in [".", *dirs, *files]:
            p = os.path.join(d, n)
            st = os.lstat(p)
            attrs = {a: os.getxattr(p, a, follow_symlinks=False) for a in os.listxattr(p, follow_symlinks=False)
                     if a != "security.selinux"}
            size = st.st_size if stat.S_ISREG(st.st_mode) else 0
            out[os.path.relpath(p, root)] = (stat.filemode(st.st_mode), st.st_uid, st.st_gid, size, attrs)
    return out


def same_trees(native, ours, when):
    want, got = snapshot(native), snapshot(ours)
    for p in sorted(want.keys() | got.keys()):
        q.same(got.get(p), want.get(p), f"{p}, {when}")


def begin():
    global zdb, mount
    q.check(os.getuid() == 0, "this test needs root: other users take part")
    os.chmod(q.TMP, 0o711)
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,allow_other,dev,suid")


def lay_out(root):
    root.mkdir()
    os.chmod(root, 0o777)
    for d in ("d0", "d0/d1"):
        (root / d).mkdir()
        os.chmod(root / d, 0o777)
    for f in ("f0", "f1", "f2", "d0/f3", "d0/d1/f4"):
        (root / f).write_bytes(b"content")
        os.chmod(root / f, 0o666)
    os.symlink("f0", root / "link")
    os.mkfifo(root / "fifo")


def test_the_same_as_the_disks_own_filesystem():
    begin()
    r = random.Random(SEED)
    native, ours = q.tmpdir("native") / "t", mount.path / "t"
    lay_out(native), lay_out(ours)
    os.chmod(native.parent, 0o711)
    os.setxattr(native / "f0", "user.probe", b"")       # a failure here: no attributes on this disk, nothing to compare with
    os.removexattr(native / "f0", "user.probe")
    actors = {u: Actor(u) for u in USERS}
    answers = {}
    for n in range(ROUNDS):
        p, kind, args, user, umask = operation(r)
        want = actors[user].do(str(native / p), kind, args, umask)
        got = actors[user].do(str(ours / p), kind, args, umask)
        q.same(got, want, f"seed {SEED}, step {n}: {kind} {p} {args} as {user[0]}, umask {umask:o}")
        if os.environ.get("QSFS_EVERY"):
            same_trees(native, ours, f"after {kind} {p} {args} as {user[0]}")
        word = want if isinstance(want, str) else "ok"
        answers[kind, word] = answers.get((kind, word), 0) + 1
        if n % 100 == 99:
            same_trees(native, ours, f"seed {SEED}, after step {n}")
    for a in actors.values():
        a.end()
    for kind in OPERATIONS:
        q.check(answers.get((kind, "ok"), 0) > 0, f"{kind} never succeeded: {answers}")
    for d, _, files in os.walk(ours):
        for p in (d, *(os.path.join(d, f) for f in files)):
            if stat.S_ISREG(os.lstat(p).st_mode) or stat.S_ISDIR(os.lstat(p).st_mode):
                opened(p, os.O_RDONLY, os.fsync)
    mount.kill9()
    mount.start()
    same_trees(native, ours, "after kill -9 of zdbfs")
    q.same(mount.unmount(), 0, "exit code")
    zdb.stop()
    zdb.start()
    mount.start()
    same_trees(native, ours, "after a clean end")


def test_large_and_many():
    d = mount.path / "large"
    d.mkdir()
    f = d / "f"
    f.write_bytes(b"")
    big = random.Random(SEED).randbytes(65536)
    os.setxattr(f, "user.big", big)
    q.check(os.getxattr(f, "user.big") == big, "a value of 64 KiB")
    for n in range(500):
        os.setxattr(f, f"user.number{n}", b"%d" % n)
    q.same(len(os.listxattr(f)), 501)
    try:
        for n in range(500, 5000):
            os.setxattr(f, f"user.number{n}", b"%d" % n)
        q.check(False, "without end")
    except OSError as e:
        q.same(e.errno, errno.ENOSPC)
    last = n
    fd = os.open(f, os.O_RDWR)
    os.pwrite(fd, b"data", 0)
    os.fsync(fd)
    os.close(fd)
    mount.kill9()
    mount.start()
    q.check(os.getxattr(f, "user.big") == big, "a value of 64 KiB after kill -9")
    q.same(sorted(os.listxattr(f)), sorted(["user.big", *(f"user.number{n}" for n in range(last))]))
    os.removexattr(f, "user.big")
    os.setxattr(f, f"user.number{last}", b"there is room again")
    q.same(f.read_bytes(), b"data")


def test_a_write_does_not_ask_for_attributes():
    f = mount.path / "writes"
    fd = os.open(f, os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"first")

    def requests():
        record = bytearray(240)
        at = os.open(mount.path, os.O_RDONLY)
        try:
            fcntl.ioctl(at, 0x80f04501, record, True)
        finally:
            os.close(at)
        return struct.unpack_from("<Q", record, 8)[0]

    before = requests()
    for n in range(100):
        os.write(fd, b"more")
    q.check(requests() - before < 50, f"{requests() - before} requests for 100 cached writes")
    os.close(fd)


def test_without_acls():
    """What would not be obeyed is not taken."""
    d = mount.path / "without"
    d.mkdir()
    os.setxattr(d, DEFAULT, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, 7, 0xFFFFFFFF) for t in (1, 4, 32)))
    q.same(mount.unmount(), 0, "exit code")
    other = q.mount_zdbfs(zdb, opts="noacl", path=mount.path)
    try:
        os.setxattr(d, ACCESS, acl(random.Random(1)))
        q.check(False, "an ACL was taken")
    except OSError as e:
        q.same(e.errno, errno.EOPNOTSUPP)
    old = os.umask(0o027)
    (d / "sub").mkdir()
    os.umask(old)
    q.same(stat.S_IMODE(os.stat(d / "sub").st_mode), 0o750)
    os.setxattr(d, "user.a", b"still")
    q.same(other.unmount(), 0, "exit code")
    mount.start()
    q.check(os.getxattr(d, DEFAULT), "the default ACL is there again")


def test_the_end():
    q.same(mount.unmount(), 0, "exit code")
    q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}", check_exit=0)
    zdb.stop()


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
# limit: 300
"""One volume, one owner: a second mount is refused and told who has it, a dead owner is in nobody's way, and whoever lost
the volume never writes again.  What another program wrote after a crash of ours stays."""
import errno
import os
import signal
import struct

import libqsfs as q
from libzdbfs import fsync

NONE = 0x4242424242424242


def key(n):
    return struct.pack("<Q", n)


def refused(mount, *words):
    mount.spawn()
    q.same(mount.wait(30), 1, "exit code")
    for w in words:
        q.check(w in mount.tail(2000), f"{w!r} is missing: {mount.tail(2000)}")


def crc32c(data):
    c = 0xffffffff
    for b in data:
        c ^= b
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xffffffff


class Head:
    """Key 0 of the meta namespace, cut into its fields."""

    def __init__(self, zdb):
        self.zdb = zdb
        with zdb.client("zdbfs-meta") as c:
            v = c.ok("GET", key(0))
        self.in_use = v[8] & 1
        self.classic, self.fields = v[:24], {}
        n, crc = struct.unpack_from("<II", v, 32)
        q.same((v[24:28], crc), (b"QFSH", crc32c(v[24:36] + v[40:40 + n])), "tail")
        off = 40
        while off < 40 + n:
            kind, _, size = struct.unpack_from("<HHI", v, off)
            self.fields[kind] = v[off + 8:off + 8 + size]
            off += 8 + size

    def store(self):
        body = b"".join(struct.pack("<HHI", k, 0, len(f)) + f for k, f in sorted(self.fields.items()))
        head = b"QFSH" + struct.pack("<BBHI", 1, 0, 0, len(body))
        with self.zdb.client("zdbfs-meta") as c:
            c.ok("SET", key(0), self.classic + head + struct.pack("<I", crc32c(head + body)) + body)


# --- the lease ------------------------------------------------------------------------------------

def test_owner_second_mount_is_refused_and_names_the_first():
    z = q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z)
    (a.path / "f").write_bytes(b"first")
    fsync(a.path / "f")
    h = Head(z)
    q.check(h.in_use and 3 in h.fields, f"header while mounted: {h.fields}")
    refused(q.Mount(z), "mounted already", f"process {a.pid} ", str(a.path), "takeover")
    (a.path / "g").write_bytes(b"still the owner")
    fsync(a.path / "g")
    q.same(a.unmount(), 0)
    h = Head(z)
    q.check(not h.in_use and 3 not in h.fields, f"header after the end: {h.fields}")
    b = q.mount_zdbfs(z)
    q.same((b.path / "g").read_bytes(), b"still the owner")
    q.same(b.unmount(), 0)
    z.stop()


def test_owner_second_mount_on_the_same_directory_is_refused():
    z, y = q.start_zdb(unix=True, mode="seq"), q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z)
    for zdb in (z, y):
        refused(q.Mount(zdb, path=a.path), str(a.path), "is mounted there")
    (a.path / "f").write_bytes(b"x")
    q.same(a.unmount(), 0)
    z.stop()
    y.stop()


def test_owner_killed_is_in_nobodys_way():
    z = q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z)
    (a.path / "f").write_bytes(b"kept")
    fsync(a.path / "f")
    a.kill9()
    b = q.mount_zdbfs(z)
    q.check("waiting 5 s" not in b.tail(2000), b.tail(2000))
    q.same((b.path / "f").read_bytes(), b"kept")
    q.same(b.unmount(), 0)
    z.stop()


def test_owner_in_the_background_is_known_by_its_final_process():
    z = q.start_zdb(unix=True, mode="seq")
    d = q.tmpdir("mnt")
    p = q.run(q.BIN / "zdbfs", "-o", f"autons,background,unix={z.socket}", d)
    q.same(p.returncode, 0, p.stderr.decode())
    pid, = struct.unpack_from("<I", Head(z).fields[3], 36)
    comm = open(f"/proc/{pid}/comm").read().strip()
    q.same(comm, "zdbfs")
    refused(q.Mount(z), "mounted already", f"process {pid} ")
    q.same(q.run("fusermount3", "-u", d).returncode, 0)
    q.wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "end of the mount")
    z.stop()


def test_owner_that_was_taken_over_never_writes_again():
    z = q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z, opts="autons,idle=0")    # "late" stays unsynced
    (a.path / "f").write_bytes(b"of the first")
    fsync(a.path / "f")
    (a.path / "late").write_bytes(b"never synced")
    b = q.mount_zdbfs(z, opts="takeover")
    (b.path / "f").write_bytes(b"of the second")
    fsync(b.path / "f")
    for what in (lambda: fsync(a.path), lambda: (a.path / "x").write_bytes(b"y"), lambda: os.mkdir(a.path / "d"),
                 lambda: os.unlink(a.path / "f")):
        try:
            what()
        except OSError as e:
            q.check(e.errno in (errno.EROFS, errno.EIO), f"errno {e.errno}")
        else:
            raise q.Failure("a mount that lost the volume has changed it")
    q.check("taken over by" in a.tail(4000) and str(b.path) in a.tail(4000), a.tail(4000))
    a.stop()
    (b.path / "g").write_bytes(b"going on")
    fsync(b.path / "g")
    q.same(b.unmount(), 0)
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={z.socket}")
    q.same(p.returncode, 0, p.stdout.decode())
    c = q.mount_zdbfs(z)
    q.same({p.name: p.read_bytes() for p in c.path.iterdir() if p.name in "fgx"}, {"f": b"of the second", "g": b"going on"})
    q.same(c.unmount(), 0)
    z.stop()


def test_owner_that_slept_finds_that_it_lost_the_volume():
    """Stopped in the middle of its work, as a machine that was suspended."""
    z = q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z, opts="autons,flush=1")
    (a.path / "f").write_bytes(b"a" * 300000)
    fsync(a.path / "f")
    with open(a.path / "f", "r+b") as f:
        f.write(b"b" * 300000)
    a.p.send_signal(signal.SIGSTOP)
    b = q.mount_zdbfs(z, opts="takeover")
    q.check(len((b.path / "f").read_bytes()) == 300000, "the synced file")
    (b.path / "f").write_bytes(b"c" * 200000)
    fsync(b.path / "f")
    a.p.send_signal(signal.SIGCONT)
    q.wait_for(lambda: "taken over by" in a.tail(4000), 30, "the first one to see it")
    q.check(a.stop() != 0, "what was lost is not told by the exit code")
    q.same((b.path / "f").read_bytes(), b"c" * 200000)
    q.same(b.unmount(), 0)
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={z.socket}")
    q.same(p.returncode, 0, p.stdout.decode())
    z.stop()


def test_owner_on_another_machine():
    z = q.start_zdb(unix=True, mode="seq")
    a = q.mount_zdbfs(z)
    (a.path / "f").write_bytes(b"kept")
    fsync(a.path / "f")
    a.kill9()
    h = Head(z)
    owner = bytearray(h.fields[3])
    owner[52:84] = os.urandom(32)                                  # another boot of another machine
    h.fields[3] = bytes(owner)
    h.store()
    refused(q.Mount(z), "mounted already", "can be mounted in", "takeover")
    ttl, = struct.unpack_from("<I", owner, 32)
    wall, = struct.unpack_from("<Q", owner, 24)
    struct.pack_into("<Q", owner, 24, wall - ttl - 1000)           # not heard of for longer than it promised
    h.fields[3] = bytes(owner)
    h.store()
    b = q.mount_zdbfs(z)
    q.same((b.path / "f").read_bytes(), b"kept")
    q.same(b.unmount(), 0)
    z.stop()


def test_owner_says_while_it_has_it_that_older_programs_must_not_mount():
    """The journal says changes that only newer ones know; after a clean unmount there is no journal."""
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)

    def features():
        with z.client("zdbfs-meta") as c:
            head = c.ok("GET", bytes(8))
        at = 40
        while at < len(head):
            kind, _, n = struct.unpack_from("<HHI", head, at)
            if kind == 1:
                return struct.unpack_from("<Q", head, at + 8)[0]
            at += 8 + n
    q.same(features(), 1)
    m.kill9()
    q.unmount(m.path)
    q.same(features(), 1)
    m.start()
    q.same(m.stop(), 0)
    q.same(features(), 0)


def test_owner_features_of_a_newer_program_are_refused():
    z = q.start_zdb(unix=True, mode="seq")
    q.same(q.mount_zdbfs(z).unmount(), 0)
    h = Head(z)
    h.fields[1] = struct.pack("<Q", 1 << 63)
    h.store()
    refused(q.Mount(z), "features 0x8000000000000000", "newer")
    z.stop()


# --- mount(8) --------------------------------------------------------------------------------------

def mounted(path):
    """(type, source) of what is mounted there, or None."""
    for line in open("/proc/self/mounts"):
        source, where, kind, *_ = line.split()
        if where == str(path):
            return kind, source
    return None


def ended(path):
    def running():
        for p in os.listdir("/proc"):
            try:
                if p.isdigit() and str(path).encode() in open(f"/proc/{p}/cmdline", "rb").read():
                    return True
            except OSError:
                pass                                               # it has just ended
        return False
    q.same(q.run("fusermount3", "-u", path).returncode, 0)
    q.wait_for(lambda: not running(), 30, "end of the mount")


def test_owner_as_mount_8_and_fstab_call_it():
    z, tcp = q.start_zdb(unix=True, mode="seq"), q.start_zdb(mode="seq")
    fstab = "rw,autons,nofail,noatime,_netdev,x-systemd.automount,user"
    for source, zdb in ((z.socket, z), (f"{tcp.host}:{tcp.port}", tcp)):
        d = q.tmpdir("mnt")
        p = q.run(q.BIN / "zdbfs", source, d, "-o", fstab)
        q.same(p.returncode, 0, p.stderr.decode())
        q.same(mounted(d), ("fuse.zdbfs", str(source)))
        (d / "f").write_bytes(b"x")
        ended(d)
    d = q.tmpdir("mnt")
    p = q.run(q.BIN / "zdbfs", z.socket, d, "-o", "ro,fsname=photos,subtype=mine")
    q.same((p.returncode, mounted(d)), (0, ("fuse.mine", "photos")), p.stderr.decode())
    try:
        (d / "g").write_bytes(b"")
        raise q.Failure("written to a read-only mount")
    except OSError as e:
        q.same(e.errno, errno.EROFS)
    ended(d)
    for wrong, word in ((["nosource", d], "nosource"), (["a", "b", d], "too many"), (["-o", "port=x", d], "-o port"),
                        (["-o", "nonsense=3", d], "nonsense")):
        p = q.run(q.BIN / "zdbfs", *wrong)
        q.check(p.returncode == 1 and word in p.stderr.decode(), p.stderr)
    z.stop()
    tcp.stop()


# --- what the original wrote after a crash of ours ------------------------------------------------

class Original:
    """Does to a volume what the original does: lists with four bytes of garbage, inodes without a tail."""

    def __init__(self, zdb):
        self.c = zdb.client("zdbfs-meta")

    def new_file(self, name):
        """An empty file in the root directory."""
        inode = struct.pack("<IQIHHQIIIIQ", 0o100644, 1, 0, 0, 0, 0, 1, 5, 5, 5, 0)
        ino, = struct.unpack("<Q", self.c.ok("SET", "", inode))
        root = bytearray(self.c.ok("GET", key(1))[:1068])
        at = 44 + 8 * (sum(name) % 128)
        lst, = struct.unpack_from("<Q", root, at)
        entries = []
        if lst == NONE:
            lst, = struct.unpack("<Q", self.c.ok("SET", "", b"L"))
            struct.pack_into("<Q", root, at, lst)
        else:
            v = self.c.ok("GET", key(lst))
            off = 16
            for _ in range(struct.unpack_from("<I", v, 8)[0]):
                n, = struct.unpack_from("<H", v, off)
                entries.append((v[off + 10:off + 10 + n], v[off + 2:off + 10]))
                off += 11 + n
        entries.append((name, key(ino)))
        body = b"".join(struct.pack("<H", len(n)) + i + n + b"\0" for n, i in sorted(entries))
        self.c.ok("SET", key(lst), struct.pack("<QII", lst, len(entries), 0x7f12ab40) + body)
        struct.pack_into("<Q", root, 20, struct.unpack_from("<Q", root, 20)[0] + 11 + len(name))
        self.c.ok("SET", key(1), bytes(root))

    def clean_end(self, keep_tail):
        v = self.c.ok("GET", key(0))
        self.c.ok("SET", key(0), v[:8] + bytes([v[8] & 0xfe]) + v[9:None if keep_tail else 24])


def names_in_root(zdb):
    """As a program sees them that does not know the journal."""
    names = set()
    with zdb.client("zdbfs-meta") as c:
        root = c.ok("GET", key(1))
        for lst in struct.unpack_from("<128Q", root, 44):
            v = c.ok("GET", key(lst)) if lst != NONE else None
            off = 16
            for _ in range(struct.unpack_from("<I", v, 8)[0] if v else 0):
                n, = struct.unpack_from("<H", v, off)
                names.add(v[off + 10:off + 10 + n].decode())
                off += 11 + n
    return names


def crashed():
    """The last commit may be in the journal alone for a moment after the fsync, where the original would not see it."""
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    ours = {f"ours{i}" for i in range(40)}
    for i in range(40):
        (m.path / f"ours{i}").write_bytes(b"x" * i)
        fsync(m.path / f"ours{i}")
    q.wait_for(lambda: ours <= names_in_root(z), what="the classic values")
    m.kill9()
    q.unmount(m.path)
    return z, m


def both_there(m):
    m.start()
    q.same(set(os.listdir(m.path)), {f"ours{i}" for i in range(40)} | {f"theirs{i}" for i in range(60)})
    q.same(m.unmount(), 0)
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={m.zdb.socket}")
    q.same(p.returncode, 0, p.stdout.decode())
    m.zdb.stop()


def test_owner_clean_session_of_the_original_after_a_crash_stays():
    for keep_tail in (True, False):
        z, m = crashed()
        o = Original(z)
        for i in range(60):
            o.new_file(b"theirs%d" % i)
        o.clean_end(keep_tail)
        both_there(m)


def test_owner_killed_session_of_the_original_after_a_crash_stays():
    z, m = crashed()
    o = Original(z)
    for i in range(60):
        o.new_file(b"theirs%d" % i)
    both_there(m)


def test_owner_journal_over_values_of_the_original_is_carried_out():
    """A volume of the original, changed by us for the first time: its values are older than our journal."""
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    q.same(m.unmount(), 0)
    o = Original(z)
    for i in range(60):
        o.new_file(b"theirs%d" % i)
    m.start()
    with z.client("zdbfs-meta") as c:
        before = {k: c.ok("GET", key(k)) for k in range(1, 400)}
    for i in range(60):
        (m.path / f"theirs{i}").write_bytes(b"new %d" % i)
    os.unlink(m.path / "theirs7")
    fsync(m.path)
    m.kill9()
    q.unmount(m.path)
    with z.client("zdbfs-meta") as c:                              # as if nothing of the commit had been applied
        for k, v in before.items():
            if v and len(v) > 16:
                if c.ok("GET", key(k)) is not None:
                    c.ok("SET", key(k), v)
    m.start()
    q.same({p.name: p.read_bytes() for p in m.path.iterdir()}, {f"theirs{i}": b"new %d" % i for i in range(60) if i != 7})
    q.same(m.unmount(), 0)
    z.stop()


if __name__ == "__main__":
    q.main()

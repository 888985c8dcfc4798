#!/usr/bin/env python3
# limit: 300
"""What others see and send: the stored bytes read by rules of the original's format alone, a zdb without our extensions,
journals made by hand, passwords and names of namespaces."""
import os
import random
import re
import socket
import struct
import threading

import libqsfs as q
from libclassic import Classic

SEED = int(os.environ.get("QSFS_SEED", 20260131))


def test_compat_the_original_format_alone_shows_the_tree():
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    r = random.Random(SEED)
    (m.path / "dir" / "sub").mkdir(parents=True)
    for i in range(300):
        (m.path / "dir" / f"name-{r.getrandbits(40)}").write_bytes(r.randbytes(r.choice((0, 5, 200000))))
    (m.path / "big").write_bytes(r.randbytes(3 * 131072 + 5))
    os.truncate(m.path / "big", 2 * 131072 + 100)
    (m.path / "sparse").write_bytes(b"")
    with open(m.path / "sparse", "r+b") as f:
        f.seek(5 * 131072 + 7)
        f.write(b"end")
    os.symlink("dir/sub", m.path / "link")
    os.link(m.path / "big", m.path / "dir" / "hard")
    for n in ("gone1", "gone2"):
        (m.path / n).mkdir()
        (m.path / n).rmdir()
    os.chown(m.path / "big", 70000 if os.getuid() == 0 else -1, -1)
    os.utime(m.path / "big", ns=(5 * 10 ** 9 + 1, 6 * 10 ** 9 + 2))
    want = q.tree(m.path)
    inos = {p: os.lstat(m.path / p).st_ino for p in want}
    q.same(m.unmount(), 0)
    c = Classic(z)
    for conn, magic in ((c.meta, b"ZDBFSM"), (c.data, b"ZDBFSD"), (c.temp, b"ZDBFST")):
        c.header(conn, magic)
    seen = {}

    def walk(ino, rel):
        mode, uid, gid, size, links, at, mt, ct, _ = c.inode(ino)
        kind, perm, wuid, wgid, wsize, mtime_ns, content, wlinks = want[rel]
        q.same((ino, mode & 0o7777, uid, gid, mt), (inos[rel], perm, wuid & 0xffff, wgid & 0xffff, mtime_ns // 10 ** 9), rel)
        seen[rel] = True
        if kind == "d":
            for name, child in c.entries(ino).items():
                walk(child, os.path.normpath(os.path.join(rel, os.fsdecode(name))))
            return
        q.same(links, wlinks, f"links of {rel}")
        if kind == "l":
            q.same(os.fsdecode(c.target(ino)), content, rel)
        else:
            import hashlib
            q.same(hashlib.sha256(c.content(ino)).hexdigest(), content, rel)
    walk(1, ".")
    q.same(sorted(seen), sorted(want), "paths")
    for ns, entries in (("zdbfs-temp", 1),):
        with z.client() as conn:
            q.same(int(conn.info(ns)["entries"]), entries, "keys left in the temp namespace")
    z.stop()


def test_compat_what_the_original_drops_is_not_missed():
    """The original rewrites inodes without our tail: the classic fields count then."""
    z = q.start_zdb(unix=True, mode="seq")
    m = q.mount_zdbfs(z)
    (m.path / "f").write_bytes(b"12345")
    (m.path / "d" / "e").mkdir(parents=True)
    os.chmod(m.path / "f", 0o600)
    f, d = os.stat(m.path / "f").st_ino, os.stat(m.path / "d").st_ino
    m.unmount()
    c = Classic(z)
    v = c.get(c.meta, f)
    c.meta.ok("SET", struct.pack("<Q", f), v[:36] + struct.pack("<I", 1000000000) + v[40:56])   # mtime, no tail
    v = c.get(c.meta, d)
    c.meta.ok("SET", struct.pack("<Q", d), v[:1068])
    m.start()
    q.same(os.stat(m.path / "f").st_mtime_ns, 10 ** 18)
    q.same((m.path / "f").read_bytes(), b"12345")
    q.same(os.stat(m.path / "d").st_nlink, 3, "counted anew")
    q.same(m.unmount(), 0)
    z.stop()


# --- a zdb without our extensions -------------------------------------------------------------------

class OldZdb(threading.Thread):
    """In front of a real one: SYNC is not known, FLUSH says OK and does nothing (as the original)."""

    def __init__(self, zdb, path):
        super().__init__(daemon=True)
        self.zdb, self.path = zdb, path
        self.s = socket.socket(socket.AF_UNIX)
        self.s.bind(str(path))
        self.s.listen(64)
        self.start()

    def run(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        up = socket.socket(socket.AF_UNIX)
        up.connect(str(self.zdb.socket))
        back = up.makefile("rb")
        f = c.makefile("rb")
        try:
            while True:
                head = f.readline()
                if not head:
                    return
                raw, args = head, []
                for _ in range(int(head[1:])):
                    n = f.readline()
                    v = f.read(int(n[1:]) + 2)
                    raw += n + v
                    args.append(v[:-2])
                word = args[0].upper()
                if word == b"SYNC":
                    c.sendall(b"-Command not supported\r\n")
                elif word == b"FLUSH":
                    c.sendall(b"+OK\r\n")
                else:
                    up.sendall(raw)
                    c.sendall(self.reply(back))
        except (OSError, ValueError):
            pass
        finally:
            c.close()
            up.close()

    def reply(self, f):
        line = f.readline()
        if line[:1] == b"$" and int(line[1:]) >= 0:
            return line + f.read(int(line[1:]) + 2)
        if line[:1] == b"*":
            return line + b"".join(self.reply(f) for _ in range(int(line[1:])))
        return line

    def close(self):
        self.s.close()


def test_compat_zdb_without_sync_and_flush():
    z = q.start_zdb(unix=True, mode="seq")
    old = OldZdb(z, z.dir / "old.sock")
    m = q.Mount(z, opts="autons")
    m.argv[3] = f"autons,unix={old.path}"
    m.start()
    for run in range(3):
        for i in range(40):
            (m.path / f"f{run}-{i}").write_bytes(bytes([i]) * 5000)
        fd = os.open(m.path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        if run == 1:
            m.kill9()
        else:
            q.same(m.unmount(), 0)
        m.start()
    q.same(m.log.read_text().count("has no SYNC command"), 4, "warnings: one for each start")
    q.check("says OK to FLUSH and deletes nothing" in m.log.read_text(), "the reason")
    q.check("public 0" not in m.log.read_text(), "advice that does not help")
    q.same(len(os.listdir(m.path)), 120)
    for run in range(3):
        for i in range(40):
            q.same((m.path / f"f{run}-{i}").read_bytes(), bytes([i]) * 5000)
    q.same(m.unmount(), 0)
    with z.client() as c:
        q.same(int(c.info("zdbfs-temp")["entries"]), 1, "keys left in the temp namespace")
    old.close()
    z.stop()


# --- journals made by hand --------------------------------------------------------------------------

def crc32c(data, table=[]):
    if not table:
        for i in range(256):
            c = i
            for _ in range(8):
                c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
            table.append(c)
    c = 0xffffffff
    for b in data:
        c = c >> 8 ^ table[(c ^ b) & 255]
    return c ^ 0xffffffff


def chunk(seq, payload, generation, index=0, last=True, kind=1):
    head = b"QFSREDO1" + struct.pack("<BBHIQQI", kind, last, 0, index, seq, generation, len(payload))
    return head + struct.pack("<I", crc32c(head + payload)) + payload


def redo_set(key, value):
    return struct.pack("<BQI", 1, key, len(value)) + value


def redo_del(op, *keys):
    return struct.pack("<BI", op, len(keys)) + b"".join(struct.pack("<I" if op == 3 else "<Q", k) for k in keys)


class Crafted:
    """A volume with some reserved keys, to whose temp namespace records are added by hand."""

    def __init__(self):
        self.zdb = q.start_zdb(unix=True, mode="seq")
        self.mount = q.mount_zdbfs(self.zdb)
        self.mount.unmount()
        self.c = Classic(self.zdb)
        self.keys = [struct.unpack("<Q", self.c.meta.ok("SET", "", b"X"))[0] for _ in range(6)]
        head = self.c.get(self.c.meta, 0)
        self.c.meta.ok("SET", bytes(8), head[:8] + b"\1" + head[9:])          # in use, as after a crash
        self.generation = int.from_bytes(head[10:16], "little")
        q.check(self.generation > 0, "the volume has no generation")

    def add(self, *values):
        for v in values:
            self.c.temp.ok("SET", "", v)

    def replay(self):
        self.mount.start()
        q.same(self.mount.unmount(), 0)
        out = [self.c.get(self.c.meta, k) for k in self.keys]
        self.zdb.stop()
        return out


def test_compat_journal_records_are_carried_out_in_order():
    v = Crafted()
    a, b, c, d, *_ = v.keys
    g = v.generation
    v.add(chunk(8, redo_set(a, b"second") + redo_del(2, c), g),
          chunk(7, redo_set(a, b"first") + redo_set(b, b"kept") + redo_set(c, b"set, then deleted"), g),
          chunk(9, redo_set(d, b"third"), g))
    q.same(v.replay()[:4], [b"second", b"kept", None, b"third"])


def test_compat_journal_records_that_do_not_count():
    v = Crafted()
    a, b, c, d, e, f = v.keys
    g = v.generation
    torn = chunk(12, redo_set(a, b"torn"), g)
    v.add(chunk(3, redo_set(a, b"before a gap"), g),
          chunk(10, redo_set(b, b"good"), g), chunk(11, redo_set(c, b"good too"), g),
          torn[:-1],                                                    # cut off
          chunk(12, redo_set(d, b"not whole"), g, 0, False),            # its last chunk is missing
          chunk(11, redo_set(e, b"old generation"), g - 1),
          b"spilled block of the original " * 100)
    q.same(v.replay(), [b"X", b"good", b"good too", b"X", b"X", b"X"])


def test_compat_journal_records_of_several_chunks():
    v = Crafted()
    a, b, *_ = v.keys
    stream = redo_set(a, b"one") + redo_set(b, os.urandom(100000))
    part = len(stream) // 3
    v.add(chunk(5, stream[part:2 * part], v.generation, 1, False), chunk(5, stream[2 * part:], v.generation, 2, True),
          chunk(5, stream[:part], v.generation, 0, False), chunk(5, stream[:part], v.generation, 0, False))
    got = v.replay()
    q.same((got[0], len(got[1])), (b"one", 100000))


def test_compat_journal_gives_back_reserved_keys_and_orphans():
    v = Crafted()
    a, b, c, *_ = v.keys
    data = [struct.unpack("<Q", v.c.data.ok("SET", "", b"block"))[0] for _ in range(2)]
    inode = struct.pack("<IQIHHQIIII", 0o100644, 1, 0, 0, 0, 131077, 0, 1, 1, 1) + struct.pack("<Q2I", 2, *data)
    v.add(chunk(4, redo_set(c, inode) + redo_del(4, c), v.generation),
          chunk(1, struct.pack("<3Q", a, b, c), 0, kind=2))
    q.same(v.replay()[:4], [None, None, None, b"X"])


def redo_inode(key, inode, nslots, *pairs):
    return (struct.pack("<BQI", 6, key, len(inode)) + inode + struct.pack("<II", nslots, len(pairs)) +
            b"".join(struct.pack("<2I", *p) for p in pairs))


def redo_entry(key, name, ino):
    return struct.pack("<BQQH", 7, key, ino, len(name)) + name


def file_inode(size, *slots):
    return struct.pack("<IQIHHQIIII", 0o100644, 1, 0, 0, 0, size, 1, 1, 1, 1) + struct.pack(f"<Q{len(slots)}I", len(slots), *slots)


def name_list(key, **entries):
    return struct.pack("<QII", key, len(entries), 0) + b"".join(
        struct.pack("<HQ", len(n), ino) + n.encode() + b"\0" for n, ino in sorted(entries.items()))


def test_compat_journal_changes_of_values_may_be_made_twice():
    v = Crafted()
    a, b, c, d, *_ = v.keys
    records = [redo_set(a, file_inode(100 * 131072, *range(500, 600))) + redo_set(b, name_list(b, aa=5, bb=6, dd=8)) +
               redo_set(c, name_list(c, zz=9)),
               redo_inode(a, file_inode(50 * 131072), 50, (3, 700), (49, 701)) + redo_entry(b, b"bb", 0) + redo_entry(b, b"cc", 7),
               redo_entry(b, b"cc", 17) + redo_entry(c, b"yy", 1) + redo_inode(a, file_inode(80 * 131072), 80, (79, 702), (3, 0)),
               redo_del(2, c)]
    for round in range(3):                 # the first time over keys that are only reserved, then over what came of it
        head = v.c.get(v.c.meta, 0)
        v.add(*(chunk(i + 1, r, int.from_bytes(head[10:16], "little")) for i, r in enumerate(records)))
        v.mount.start()
        q.same(v.mount.unmount(), 0)
        got = [v.c.get(v.c.meta, k) for k in (a, b, c, d)]
        slots = [500, 501, 502, 0] + list(range(504, 549)) + [701] + [0] * 29 + [702]
        q.same(got[0][20:28], struct.pack("<Q", 80 * 131072))
        q.same(struct.unpack_from("<Q80I", got[0], 44), (80, *slots))
        q.same(got[1:], [name_list(b, aa=5, cc=17, dd=8), None, b"X"], f"round {round}")
        head = v.c.get(v.c.meta, 0)
        v.c.meta.ok("SET", bytes(8), head[:8] + b"\1" + head[9:])           # in use, as after a crash
    v.zdb.stop()


def test_compat_journal_of_the_future_is_refused_or_ignored_but_never_half_done():
    v = Crafted()
    a, b, *_ = v.keys
    v.add(chunk(5, redo_set(a, b"x") + b"\x63unknown operation", v.generation))
    v.mount.spawn()
    q.same(v.mount.wait(30), 1, "exit code")
    q.check("journal" in v.mount.tail(), v.mount.tail())
    q.same([v.c.get(v.c.meta, k) for k in (a, b)], [b"X", b"X"])
    v.zdb.stop()


# --- names, passwords -------------------------------------------------------------------------------

def test_compat_names_and_passwords_of_namespaces():
    z = q.start_zdb(mode="seq")
    opts = "autons,mn=m1,dn=d1,tn=t1,ts=other"
    m = q.mount_zdbfs(z, opts=opts)
    (m.path / "f").write_bytes(b"x")
    q.same(m.unmount(), 0)
    with z.client() as c:
        q.same({n.decode() for n in c.ok("NSLIST")}, {"default", "m1", "d1", "t1"})
        q.same((c.info("t1")["password"], c.info("t1")["public"], c.info("m1")["mode"]), ("yes", "no", "sequential"))
        c.ok("SELECT", "t1", "other")
        for ns in ("m1", "d1"):
            c.ok("NSSET", ns, "password", "secret")
            c.ok("NSSET", ns, "public", "0")
    ro = q.Mount(z, opts=opts.replace("autons,", "") + ",ms=wrong,ds=secret")
    ro.spawn()
    q.same(ro.wait(), 1)
    q.check(re.search("denied|not reachable|refused", ro.tail()), ro.tail())
    q.check("secret" not in ro.tail(), "a password in a message")
    rw = q.mount_zdbfs(z, opts=opts.replace("autons,", "") + ",ms=secret,ds=secret")
    q.check(b"secret" not in open(f"/proc/{rw.pid}/cmdline", "rb").read(), "a password in the arguments of the process")
    q.same((rw.path / "f").read_bytes(), b"x")
    q.same(rw.unmount(), 0)
    with z.client() as c:
        for ns in ("m1", "d1"):
            c.ok("NSSET", ns, "public", "1")
    pub = q.mount_zdbfs(z, opts=opts.replace("autons,", ""))
    q.same((pub.path / "f").read_bytes(), b"x")
    try:
        (pub.path / "g").write_bytes(b"")
        raise q.Failure("written without the password")
    except OSError as e:
        q.same(e.errno, 30, "errno (EROFS)")
    q.same(pub.unmount(), 0)
    z.stop()


def test_compat_no_namespaces_and_no_autons():
    z = q.start_zdb(unix=True, mode="seq")
    for opts in ("", "ro", "ro,autons"):
        m = q.Mount(z, opts=opts)
        m.spawn()
        q.same(m.wait(), 1, opts)
        errors = [line for line in m.tail().splitlines() if not line.startswith(("[+]", "\x1b"))]
        q.same(len(errors), 1, f"lines: {errors}")
        q.check("not found" in errors[0], errors)
        m.log.unlink()
    with z.client() as c:
        q.same(c.ok("NSLIST"), [b"default"], "nothing was made")
    z.stop()


if __name__ == "__main__":
    q.main()

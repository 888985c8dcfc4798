#!/usr/bin/env python3
"""A reader of the original zdbfs' format, nothing else.  "libclassic.py SOCKET" prints the sums of all files,
"libclassic.py DIRECTORY" those of the files there."""
import hashlib
import os
import stat
import struct
import sys

import libqsfs as q

NONE = 0x4242424242424242


class Classic:
    """The volume as the original reads it: fields at their offsets, everything behind a record ignored."""

    def __init__(self, zdb, ours=True):
        self.ours = ours    # all of it was written by us: what the original leaves undefined is zero, and names are sorted
        self.meta, self.data, self.temp = (zdb.client(ns, pw) for ns, pw in
                                           (("zdbfs-meta", None), ("zdbfs-data", None), ("zdbfs-temp", "hello")))

    def get(self, c, key):
        return c.ok("GET", struct.pack("<Q", key))

    def header(self, c, magic):
        v = self.get(c, 0)
        q.same((v[:6], struct.unpack_from("<HH", v, 6)), (magic, (1, 0)), "header")
        q.same(v[24:28], b"QFSH" if magic == b"ZDBFSM" else b"", "behind the header")

    def inode(self, ino):
        v = self.get(self.meta, ino)
        q.check(v is not None and len(v) >= 52, f"inode {ino}: {v!r}")
        mode, _, dev, uid, gid, size, links, at, mt, ct = struct.unpack_from("<IQIHHQIIII", v)
        q.same(dev, 0, "dev")
        return mode, uid, gid, size, links, at, mt, ct, v

    def entries(self, ino):
        mode, *_, size, links, _, _, _, v = self.inode(ino)
        q.check(stat.S_ISDIR(mode) and len(v) >= 1068, f"inode {ino} is no directory")
        q.same(links, 0, "links of a directory")
        out, total = {}, 0
        for i, key in enumerate(struct.unpack_from("<128Q", v, 44)):
            if key == NONE:
                continue
            lst = self.get(self.meta, key)
            own, count, zero = struct.unpack_from("<QII", lst)
            q.same((own, zero if self.ours else 0), (key, 0), "head of a list")
            q.check(count > 0 or not self.ours, "an empty list is stored")
            off, names = 16, []
            for _ in range(count):
                n, child = struct.unpack_from("<HQ", lst, off)
                name = lst[off + 10:off + 10 + n]
                q.same((lst[off + 10 + n], sum(name) % 128), (0, i), "an entry")
                off += 11 + n
                names.append(name)
                if name not in (b".", b".."):
                    out[name] = child
                    total += 11 + n
            q.same(off, len(lst), "bytes behind a list")
            q.check(not self.ours or names == sorted(names), "order of names")
        q.check(size == total or not self.ours, "size of a directory")
        return out

    def content(self, ino):
        *_, v = self.inode(ino)
        size = struct.unpack_from("<Q", v, 20)[0]
        n, = struct.unpack_from("<Q", v, 44)
        out = bytearray(size)
        for i, key in enumerate(struct.unpack_from(f"<{n}I", v, 52)):
            if key:
                block = self.get(self.data, key)
                q.check(block is not None and len(block) <= 131072, f"block {i}")
                q.check(i * 131072 + len(block) <= size, "a payload is longer than the file")
                out[i * 131072:i * 131072 + len(block)] = block
        return bytes(out)

    def target(self, ino):
        *_, v = self.inode(ino)
        size = struct.unpack_from("<Q", v, 20)[0]
        q.same(v[44 + size - 1:44 + size + 1], b"\0\x42", "end of a symlink")
        return v[44:44 + size - 1]

    def files(self, ino=1, path=""):
        for name, child in sorted(self.entries(ino).items()):
            rel = os.path.join(path, os.fsdecode(name))
            if self.get(self.meta, child) is None:
                continue    # the original forgets entries
            mode = self.inode(child)[0]
            if stat.S_ISDIR(mode):
                yield from self.files(child, rel)
            elif stat.S_ISREG(mode):
                yield rel, self.content(child)


class AtSocket:
    """A zdb that runs already."""

    def __init__(self, path):
        self.path = path

    def client(self, ns, password):
        c = q.Redis(path=self.path)
        c.ok("SELECT", ns, *([password] if password else []))
        return c


def files_below(top):
    for base, _, names in os.walk(top):
        for path in (os.path.join(base, n) for n in names):
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as f:
                    yield os.path.relpath(path, top), f.read()


if __name__ == "__main__":
    where = sys.argv[1]
    for file, data in sorted(files_below(where) if os.path.isdir(where) else Classic(AtSocket(where), False).files()):
        print(hashlib.sha256(data).hexdigest(), os.fsencode(file))

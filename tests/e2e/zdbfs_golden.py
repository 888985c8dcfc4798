#!/usr/bin/env python3
"""Volumes written by the original zdbfs: each mounts read-only and shows what its manifest says, and nothing is written.
Corrections of the original's faults: a directory's link count is 2 + subdirectories, a symlink's size does not count the
NUL, an entry without an inode is not shown."""
import hashlib
import json
import os
import shutil
import stat

import libqsfs as q

CASES = sorted(p.name for p in (q.GOLDEN / "zdbfs").iterdir() if p.is_dir())
KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}


class Volume:
    def __init__(self, case):
        self.dir = q.tmpdir(case)
        for part in ("data", "index"):
            shutil.copytree(q.GOLDEN / "zdbfs" / case / part, self.dir / part)
        self.manifest = json.loads((q.GOLDEN / "zdbfs" / case / "manifest.json").read_text())
        self.zdb = q.start_zdb(unix=True, dir=self.dir, mode="seq")

    def state(self):
        """What would change if anything was stored."""
        with self.zdb.client() as c:
            return {ns: {k: c.info(ns)[k] for k in ("entries", "data_size_bytes", "next_internal_id", "data_current_offset")}
                    for ns in ("zdbfs-meta", "zdbfs-data", "zdbfs-temp")}


def name_of(e):
    return bytes.fromhex(e["path_hex"]) if "path_hex" in e else e["path"].encode()


def content_sha(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def compare(root, entries):
    want = {name_of(e): e for e in entries}
    subdirs = {}
    for p, e in want.items():
        if e["type"] == "dir" and p != b".":
            up = os.path.dirname(p) or b"."
            subdirs[up] = subdirs.get(up, 0) + 1
    found = {b"."}
    for base, dirs, files in os.walk(os.fsencode(root), onerror=_raise):
        found |= {os.path.relpath(os.path.join(base, n), os.fsencode(root)) for n in dirs + files}
    q.same(sorted(found), sorted(want), "names")
    for p, e in want.items():
        full = os.path.join(os.fsencode(root), p)
        st = os.lstat(full)
        q.same(KINDS[stat.S_IFMT(st.st_mode)], e["type"], f"type of {p}")
        got = {"mode": "%06o" % st.st_mode, "ino": st.st_ino, "uid": st.st_uid, "gid": st.st_gid, "size": st.st_size,
               "mtime": int(st.st_mtime), "atime": int(st.st_atime), "ctime": int(st.st_ctime), "nlink": st.st_nlink}
        expect = {k: e[k] for k in got if k in e}
        if e["type"] == "dir":
            expect["nlink"] = 2 + subdirs.get(p, 0)
        if e["type"] == "symlink" and "size" in e:
            expect["size"] -= 1
            q.same(os.readlink(full), os.fsencode(e["target"]), f"target of {p}")
        q.same({k: got[k] for k in expect}, expect, f"attributes of {p}")
        if "sha256" in e:
            q.same(content_sha(full), e["sha256"], f"content of {p}")
        if "content" in e:
            with open(full, "rb") as f:
                q.same(f.read(), e["content"].encode(), f"content of {p}")


def _raise(e):
    raise q.Failure(f"directory cannot be read: {e}")


def read_only(case):
    v = Volume(case)
    before = v.state()
    m = q.mount_zdbfs(v.zdb, opts="ro")
    compare(m.path, v.manifest["entries"])
    try:
        (m.path / "new").write_bytes(b"x")
        raise q.Failure("a read-only mount took a new file")
    except OSError as e:
        q.same(e.errno, 30, "errno of a write (EROFS)")
    q.same(m.unmount(), 0, "exit code of zdbfs")
    q.same(v.state(), before, "state of zdb")
    v.zdb.stop()


def read_write(case):
    """The same under a mount that may write, then changed, checked and mounted again."""
    v = Volume(case)
    m = q.mount_zdbfs(v.zdb)
    compare(m.path, v.manifest["entries"])
    d = m.path / "added by the test"
    d.mkdir()
    (d / "file").write_bytes(b"content" * 50000)
    os.symlink("file", d / "link")
    for dangling in v.manifest.get("dangling", ()):
        (m.path / dangling).write_bytes(b"a name that dangled can be used again")
        q.check(os.listdir(os.path.dirname(m.path / dangling)).count(os.path.basename(dangling)) == 1, "listed once")
    q.same(m.unmount(), 0, "exit code of zdbfs")
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={v.zdb.socket}")
    q.same(p.returncode, 0, f"check: {p.stdout.decode()}")
    m.start()
    q.same((d / "file").read_bytes(), b"content" * 50000)
    (d / "file").unlink()
    (d / "link").unlink()
    d.rmdir()
    for dangling in v.manifest.get("dangling", ()):
        (m.path / dangling).unlink()
    for e in v.manifest["entries"]:          # these directories have had names added and removed: new times
        if e["path"] in (".", *(os.path.dirname(p) for p in v.manifest.get("dangling", ()))):
            e.pop("mtime", None)
            e.pop("ctime", None)
    compare(m.path, v.manifest["entries"])
    q.same(m.unmount(), 0, "exit code of zdbfs")
    v.zdb.stop()


for _case in CASES:
    globals()[f"test_golden_{_case}_read_only"] = lambda c=_case: read_only(c)
    globals()[f"test_golden_{_case}_read_write"] = lambda c=_case: read_write(c)

if __name__ == "__main__":
    q.main()

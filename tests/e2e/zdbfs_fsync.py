#!/usr/bin/env python3
# limit: 200
"""What fsync promised is there: also when other programs change the file meanwhile, and when zdb loses everything that it
had only acknowledged (its machine was restarted: its files are as of the last SYNC, and its process is another one)."""
import ctypes
import mmap
import os
import random
import shutil
import threading

import libqsfs as q
from libzdbfs import fsync

BLOCK = 131072
libc = ctypes.CDLL(None, use_errno=True)


def push(fd, off=0, n=0):
    """The kernel hands its pages over to the daemon; nobody asks for durability."""
    if libc.sync_file_range(fd, ctypes.c_int64(off), ctypes.c_int64(n), 7) < 0:
        raise OSError(ctypes.get_errno(), "sync_file_range")


def volume_check(zdb):
    p = q.run(q.BIN / "zdbfs", "--check", "-o", f"unix={zdb.socket}", timeout=120)
    q.same(p.returncode, 0, f"check: {p.stdout.decode()} {p.stderr.decode()}")


class Dirtier(threading.Thread):
    """Changes one byte through a mapping and pushes it to the daemon, again and again."""

    def __init__(self, path, at):
        super().__init__(daemon=True)
        self.f = open(path, "r+b")
        self.map = mmap.mmap(self.f.fileno(), 0)
        self.at, self.n, self.stopped = at, 0, threading.Event()

    def run(self):
        page = self.at // mmap.PAGESIZE * mmap.PAGESIZE
        try:
            while not self.stopped.is_set():
                self.map[self.at] = self.n % 256
                push(self.f.fileno(), page, mmap.PAGESIZE)
                self.n += 1
        except OSError:
            pass                              # the mount was killed


def test_fsync_keeps_the_size_while_a_block_is_changed_again():
    """flush=600: nothing but fsync stores anything.  After the kill every file has the length that fsync promised."""
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,flush=600,idle=0,timeout=20")
    size = 10 << 20
    data = random.Random(1).randbytes(size)
    for i in range(3):
        path = mount.path / f"f{i}"
        with open(path, "wb") as f:
            f.write(data[:BLOCK * 4])
        d = Dirtier(path, BLOCK * 3 + 5000)
        d.start()
        q.wait_for(lambda d=d: d.n > 3, 20, "changes")
        f = open(path, "r+b", buffering=0)
        f.seek(BLOCK * 4)
        f.write(data[BLOCK * 4:])
        os.fdatasync(f.fileno())
        mount.kill9()
        d.stopped.set()
        d.join()
        d.map.close()
        for x in (d.f, f):
            try:
                x.close()
            except OSError:
                pass                          # its mount is dead
        mount.start()
        got = path.read_bytes()
        q.same(len(got), size, f"length of f{i}")
        at = BLOCK * 3 + 5000
        q.check(got[:at] == data[:at] and got[at + 1:] == data[at + 1:], f"content of f{i}")
    q.same(mount.stop(), 0)
    volume_check(zdb)


# ---- zdb loses what it had only acknowledged --------------------------------------------------------

def snapshot(zdb, to):
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name, src in (("data", zdb.data), ("index", zdb.index)):
        shutil.copytree(src, to / name)


def lose(zdb, saved):
    """Power cut of zdb's machine: its files are as they were at the last SYNC; another process answers."""
    zdb.kill9()
    for name, dst in (("data", zdb.data), ("index", zdb.index)):
        shutil.rmtree(dst)
        shutil.copytree(saved / name, dst)
    zdb.start()


def synced_state(zdb, mount, saved):
    """Everything so far is on zdb's disk: copy it."""
    fsync(mount.path)
    with zdb.client() as c:
        for ns in ("zdbfs-meta", "zdbfs-data"):   # temp is, by the fsync
            c.ok("SELECT", ns)
            c.ok("SYNC")
    snapshot(zdb, saved)


def test_fsync_stores_again_what_zdb_had_only_acknowledged():
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,flush=600,idle=0,timeout=20")
    saved = q.tmpdir("saved")
    r = random.Random(2)
    old = r.randbytes(BLOCK * 3)
    (mount.path / "old").write_bytes(old)
    (mount.path / "other").write_bytes(old)
    for round in range(3):
        synced_state(zdb, mount, saved)
        with zdb.client() as c:
            before = int(c.info("zdbfs-data")["entries"])
        files = {}
        for i in range(5):
            files[f"n{round}-{i}"] = r.randbytes(BLOCK * 4)
            (mount.path / f"n{round}-{i}").write_bytes(files[f"n{round}-{i}"])
        old = r.randbytes(BLOCK) + old[BLOCK:]
        with open(mount.path / "old", "r+b") as f:
            f.write(old[:BLOCK])
        for name in [*files, "old"]:          # into the daemon, and from there into zdb
            with open(mount.path / name, "r+b") as f:
                push(f.fileno())

        def acknowledged(before=before):
            with zdb.client() as c:
                return int(c.info("zdbfs-data")["entries"]) >= before + 20
        q.wait_for(acknowledged, 20, "blocks in zdb")
        lose(zdb, saved)
        for i in range(3):                    # keys are given away again meanwhile
            with open(mount.path / f"x{round}-{i}", "wb") as f:
                f.write(b"%d" % i * 1000)
                f.flush()
                os.fsync(f.fileno())
        for name, want in [*files.items(), ("old", old)]:
            fsync(mount.path / name)
        mount.kill9()
        mount.start()
        for name, want in [*files.items(), ("old", old)]:
            q.check((mount.path / name).read_bytes() == want, f"round {round}: content of {name}")
        for i in range(3):
            q.same((mount.path / f"x{round}-{i}").read_bytes(), b"%d" % i * 1000)
    q.check((mount.path / "other").read_bytes()[BLOCK:] == old[BLOCK:], "a file that was not touched")
    q.same(mount.stop(), 0)
    volume_check(zdb)


def test_fsync_metadata_that_zdb_had_only_acknowledged():
    """A commit's changes are applied without a SYNC of meta: the journal holds them until one.  Journal and names are on
    disk, meta is as of before."""
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,flush=600,idle=0,timeout=20")
    d = mount.path / "d"
    d.mkdir()
    saved = q.tmpdir("saved")
    synced_state(zdb, mount, saved)
    for i in range(8):
        with open(d / f"f{i}", "wb") as f:
            f.write(b"%d" % i)
            f.flush()
            os.fsync(f.fileno())

    def meta_of_before():
        """The namespace meta alone goes back: a SYNC of temp does not cover it."""
        zdb.kill9()
        for name, dst in (("data", zdb.data), ("index", zdb.index)):
            shutil.rmtree(dst / "zdbfs-meta")
            shutil.copytree(saved / name / "zdbfs-meta", dst / "zdbfs-meta")
        zdb.start()
    meta_of_before()
    for i in range(8, 12):
        (d / f"f{i}").write_bytes(b"%d" % i)
    fsync(d)
    q.same(mount.stop(), 0)
    mount.start()
    q.same({p.name: p.read_bytes() for p in d.iterdir()}, {f"f{i}": b"%d" % i for i in range(12)})
    q.same(mount.stop(), 0)
    volume_check(zdb)


def stored_bytes(zdb):
    with zdb.client() as c:
        return sum(int(c.info(ns)["data_current_offset"]) for ns in ("zdbfs-meta", "zdbfs-data", "zdbfs-temp"))


def test_fsync_stores_what_has_changed_not_how_large_it_is():
    """Counted in bytes: 4 KiB at 250 GiB costs what it costs at 0, a name among many what it costs among few."""
    zdb = q.start_zdb(unix=True, mode="seq", datasize=1 << 30)
    mount = q.mount_zdbfs(zdb, opts="autons,flush=600,idle=0,point=0")

    def cost(act):
        best = 1 << 60
        for n in range(5):                 # a checkpoint or keys reserved meanwhile are not of it
            before = stored_bytes(zdb)
            act(n)
            best = min(best, stored_bytes(zdb) - before)
        return best

    def at(offset):
        def act(n):
            os.pwrite(fd, b"%d" % n * 4096, offset + n * BLOCK)
            os.fsync(fd)
        return act
    costs = []
    for offset in (0, 250 << 30):
        fd = os.open(mount.path / f"at{offset}", os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"x", offset + 10 * BLOCK)
        os.fsync(fd)
        costs.append(cost(at(offset)))
        os.close(fd)
    q.check(costs[1] < costs[0] + 400, f"fsync of 4 KiB at 0: {costs[0]} bytes, at 250 GiB: {costs[1]}")

    def create(d):
        def act(n):
            fd = os.open(d / f"new{n}", os.O_RDWR | os.O_CREAT)
            os.fsync(fd)
            os.close(fd)
        return act
    costs = []
    for n in (10, 1000000 if os.environ.get("QSFS_LONG") else 3000):
        d = mount.path / f"d{n}"
        d.mkdir()
        (d / "0").write_bytes(b"")
        for i in range(1, n):
            os.mknod(d / str(i))
        fsync(d)
        costs.append(cost(create(d)))
    q.check(costs[1] < costs[0] + 400, f"create among 10: {costs[0]} bytes, among many: {costs[1]}")
    mount.kill9()
    mount.start()
    q.same(len(os.listdir(d)), n + 5)
    q.same((mount.path / f"at{250 << 30}").stat().st_size, (250 << 30) + 10 * BLOCK + 1)
    q.same(mount.stop(), 0)
    volume_check(zdb)


if __name__ == "__main__":
    q.main()

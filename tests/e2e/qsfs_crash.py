#!/usr/bin/env python3
# limit: 900
"""kill -9 of each daemon in turn while files are written: after a restart everything that had been fsynced is there and
right, and a job that zstor had accepted is done in the end."""
import errno
import hashlib
import os
import random
import re
import threading

import libqsfs as q
from libsystem import DAEMONS, Install

SEED = int(os.environ.get("QSFS_SEED", 20260131))
inst = Install()
synced = {}         # relative path -> sha256 of what was fsynced under that name


class Writer(threading.Thread):
    """Writes files of random size, fsyncs each and its directory, notes it; ends at the first error or stop()."""

    def __init__(self, name, seed):
        super().__init__(daemon=True)
        self.dir = inst.mnt / name
        self.random = random.Random(seed)
        self.count = 0
        self.error = None
        self.ended = threading.Event()

    def run(self):
        try:
            os.makedirs(self.dir, exist_ok=True)
            self.sync(inst.mnt)
            while not self.ended.is_set():
                self.one()
        except OSError as e:
            self.error = e

    @staticmethod
    def sync(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def one(self):
        data = self.random.randbytes(self.random.choice((1, 700, 4096, 131072, 131073, 400_000)))
        path = self.dir / f"f{self.count:05d}"
        with open(path, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.sync(self.dir)
        synced[str(path.relative_to(inst.mnt))] = hashlib.sha256(data).hexdigest()
        self.count += 1

    def stop(self):
        self.ended.set()
        self.join(60 * q.SLOWDOWN)
        q.check(not self.is_alive(), "the writer hangs")


def check_synced(what):
    wrong = []
    for name, want in synced.items():
        try:
            if q.sha256(inst.mnt / name) != want:
                wrong.append(f"{name} differs")
        except OSError as e:
            wrong.append(f"{name}: {e.strerror}")
    q.check(not wrong, f"{what}: {len(wrong)} of {len(synced)} fsynced files: {'; '.join(wrong[:4])}")


def check_listing(what):
    """Every name in every directory can be looked at and read: nothing dangles."""
    for base, _, names in os.walk(inst.mnt, onerror=_raise):
        for name in names:
            path = os.path.join(base, name)
            try:
                with open(path, "rb") as f:
                    while f.read(1 << 20):
                        pass
            except OSError as e:
                raise q.Failure(f"{what}: {path} cannot be read: {e.strerror}") from None


def _raise(e):
    raise q.Failure(f"directory cannot be read: {e}")


def kill_while_writing(name, run):
    w = Writer(f"{name}-{run}", f"{SEED} {name} {run}")
    goal = random.Random(SEED + run).randint(3, 12)
    w.start()
    q.wait_for(lambda: w.count >= goal or w.error, 60, f"{goal} files")
    q.check(w.error is None, f"writer before the kill: {w.error}")
    inst.kill9(name)
    # what depends on the dead one fails or waits, the rest goes on; then everything is started again
    q.wait_for(lambda: w.error or w.count >= goal + 3 or name in ("zdb", "zdbfs"), 60, "writer going on")
    inst.qsfs("start")
    w.stop()
    if w.error:
        q.check(name in ("zdb", "zdbfs"), f"writer after kill -9 of {name}: {w.error}")
        q.check(w.error.errno in (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EBADF,
                                  errno.ETIMEDOUT, errno.ENODEV), f"odd error {w.error}")
    check_synced(f"after kill -9 of {name}")
    check_listing(f"after kill -9 of {name}")
    if name in ("zdb", "zdbfs"):
        inst.check_volume()


def test_crash_setup():
    inst.bootstrap("--cache", "16M")


def test_crash_zdbfs_loses_nothing_fsynced():
    for run in range(3):
        kill_while_writing("zdbfs", run)


def test_crash_zdb_loses_nothing_fsynced():
    for run in range(3):
        kill_while_writing("zdb", run)


def test_crash_zstor_is_not_noticed_by_writers():
    for run in range(2):
        kill_while_writing("zstor", run)


def test_crash_backend_is_not_noticed_by_writers():
    for run in range(2):
        kill_while_writing("backend1", run)


def test_crash_of_everything_at_once():
    w = Writer("all", SEED)
    w.start()
    q.wait_for(lambda: w.count >= 8 or w.error, 60, "files")
    for name in reversed(DAEMONS):
        inst.kill9(name)
    w.stop()
    inst.qsfs("start")
    check_synced("after kill -9 of everything")
    check_listing("after kill -9 of everything")
    inst.check_volume()


def test_crash_queued_jobs_survive_kill_of_zstor():
    for n in (1, 2, 3):
        inst.kill9(f"backend{n}")
    data = os.urandom(3_000_000)
    with open(inst.mnt / "queued", "wb") as f:
        f.write(data)
        os.fsync(f.fileno())
    synced["queued"] = hashlib.sha256(data).hexdigest()
    with inst.local() as c:
        for ns in ("zdbfs-data", "zdbfs-meta"):
            c.ok("SELECT", ns)
            c.ok("NSJUMP")
        active = re.search(r"^data_active: (.*)$", c.ok("NSINFO", "zdbfs-data").decode(), re.M)[1]
        q.wait_for(lambda: c.ok("HOOKS", "PENDING") == 0, 60, "end of the hooks")
    head, number = re.fullmatch(r"(.*/d)(\d+)", active).groups()
    sealed = f"{head}{int(number) - 1}"
    with inst.zstor_client() as c:
        q.check(c.cmd("QUEUE") > 0, "nothing in the queue with one of four backends")
    inst.kill9("zstor")
    inst.qsfs("start")
    inst.qsfs("wait")
    got = inst.zstor("check", "--file", sealed).stdout.decode().strip()
    q.same(got, hashlib.blake2b(open(sealed, "rb").read(), digest_size=16).hexdigest() if os.path.exists(sealed) else got,
           f"checksum of {sealed}")
    q.check(re.fullmatch("[0-9a-f]{32}", got), f"{sealed} is not stored: {got!r}")
    check_synced("queued")


def test_crash_evicted_data_is_right_after_everything():
    inst.qsfs("wait")
    inst.qsfs("stop")
    q.drop_caches()
    inst.qsfs("start")
    inst.wait_evicted()
    check_synced("at the end")
    inst.qsfs("stop")


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
"""Sequential write + fsync, cold read and small files through the mount, against the directory below it."""
import os
import shutil

from libbench import RUNS, figure, median, mib_per_s, q, timed

SIZE = int(os.environ.get("QSFS_BENCH_MB", 256)) << 20
SMALL = 1000
BLOCK = os.urandom(1 << 20)


def write_file(path):
    with open(path, "wb", buffering=0) as f:
        for i in range(SIZE // len(BLOCK)):
            f.write(BLOCK[i % 997:] + BLOCK[:i % 997])
        os.fsync(f.fileno())


def read_file(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def small_files(directory):
    directory.mkdir()
    for i in range(SMALL):
        (directory / f"f{i}").write_bytes(b"x" * 4096)
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def measure(top, fresh):
    """(write MiB/s, cold read MiB/s, small files per second)"""
    file = top / "big"

    def write_rate():
        if file.exists():
            file.unlink()
        q.os.sync()
        return mib_per_s(SIZE, timed(write_file, file))

    def read_rate():
        fresh()
        return mib_per_s(SIZE, timed(read_file, file))

    def small_rate():
        shutil.rmtree(top / "small", ignore_errors=True)
        return SMALL / timed(small_files, top / "small")

    return median(write_rate), median(read_rate), median(small_rate)


def main():
    zdb = q.start_zdb(unix=True, mode="seq", datasize=32 << 20)
    mount = q.mount_zdbfs(zdb, opts=f"autons,size={64 << 30}")
    native = q.tmpdir("native")

    def fresh_mount():
        mount.unmount()
        if not q.drop_caches():
            print("# not root: kernel caches stay warm")
        mount.start()

    reference = measure(native, q.drop_caches)
    got = measure(mount.path, fresh_mount)
    names = ("write + fsync", "cold read", "create 4 KiB files")
    for name, unit, value, ref in zip(names, ("MiB/s", "MiB/s", "1/s"), got, reference):
        figure(f"mount: {name}", value, unit, ref, "native")
    figure("zdb peak memory", zdb.rss_kib() / 1024, "MiB")
    figure("zdbfs peak memory", mount.rss_kib() / 1024, "MiB")
    print(f"# file of {SIZE >> 20} MiB, median of {RUNS}")
    mount.unmount()


if __name__ == "__main__":
    main()
    q.finish()

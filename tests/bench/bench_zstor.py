#!/usr/bin/env python3
"""zstor: store and retrieve of random segments, 2 of 4, backends on loopback; per processor second, and peak memory."""
import os

from libbench import RUNS, cpu_seconds, figure, median, mib_per_s, q, timed

ORIGINAL = 95 * 1e6 / (1 << 20)     # MiB per second of one core: the original on such a segment


def main():
    backends = q.start_backends(4)
    peaks = {}
    for mib in (64, 256):
        conf = q.zstor_config(backends, state_dir=q.tmpdir("state"))
        zstor = q.start_zstor(conf)
        file = q.tmpdir("seg") / "d0"
        wall, cpu, back = [], [], []

        def store():
            with open(file, "wb") as f:
                for _ in range(mib):
                    f.write(os.urandom(1 << 20))
            before = cpu_seconds(zstor.pid)
            wall.append(timed(lambda: zstor.cli("store", "--file", file, check_exit=0)))
            cpu.append(cpu_seconds(zstor.pid) - before)
            want = q.sha256(file)
            file.unlink()
            back.append(timed(lambda: zstor.cli("retrieve", "--file", file, check_exit=0)))
            q.same(q.sha256(file), want, "content")
            return 0

        median(store)
        middle = RUNS // 2
        size = mib << 20
        figure(f"zstor: store {mib} MiB, per cpu second", mib_per_s(size, sorted(cpu)[middle]), "MiB/s", ORIGINAL, "original")
        figure(f"zstor: store {mib} MiB, wall clock", mib_per_s(size, sorted(wall)[middle]), "MiB/s")
        figure(f"zstor: retrieve {mib} MiB, wall clock", mib_per_s(size, sorted(back)[middle]), "MiB/s")
        peaks[mib] = zstor.rss_kib() / 1024
        figure(f"zstor: peak memory with {mib} MiB", peaks[mib], "MiB")
        zstor.stop()


if __name__ == "__main__":
    main()
    q.finish()

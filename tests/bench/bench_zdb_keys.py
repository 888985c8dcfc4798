#!/usr/bin/env python3
"""Memory of zdb per key and time of a restart: N keys in each mode, after a clean stop and after kill -9.

    tests/bench/bench_zdb_keys.py [--keys N] [--check]

Promised, with --check exit 1 when it does not hold: user mode at most 100 bytes + the key, sequential mode at most 1 byte a
key, and a restart with 1,000,000 keys within 0.5 s."""
import argparse
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from libbench import RUNS, cpu_seconds, q  # noqa: E402

BATCH = 500
KEY = 20
VALUE = b"v" * 16


def resident(pid):
    """Bytes of memory that are the process's own (no files)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def fill(c, mode, n):
    for at in range(0, n, BATCH):
        keys = [b"" if mode == "seq" else b"k%0*d" % (KEY - 1, i) for i in range(at, min(at + BATCH, n))]
        c.pipeline([("SET", k, b"%d" % i + VALUE) for i, k in enumerate(keys, at)])


def start(z, n):
    """(seconds from the start of the process to the answer that all keys are there, its processor time)"""
    begin = time.perf_counter()
    z.start()
    with z.client() as c:
        q.same(c.cmd("DBSIZE"), n, "keys after the start")
    return time.perf_counter() - begin, cpu_seconds(z.p.pid)


def measure(mode, n):
    z = q.Zdb(mode=mode)
    z.start()
    empty = resident(z.p.pid)
    with z.client() as c:
        fill(c, mode, n)
        grown = (resident(z.p.pid) - empty) / n
        c.ok("SYNC")
    times = []
    for _ in range(RUNS):
        z.stop()
        times.append(start(z, n))
    clean = min(times)
    loaded = (resident(z.p.pid) - empty) / n
    z.stop(signal.SIGKILL)
    killed = start(z, n)
    z.stop()
    print(f"{mode}: {n} keys: {grown:.1f} bytes a key when written, {loaded:.1f} when loaded; restart {clean[0]:.3f} s "
          f"(processor {clean[1]:.2f} s), after kill -9 {killed[0]:.3f} s ({killed[1]:.2f} s)", flush=True)
    return max(grown, loaded), clean[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true")
    a = parser.parse_args()
    good = True
    for mode, limit in (("user", 100 + KEY), ("seq", 1)):
        used, clean = measure(mode, a.keys)
        good &= used <= limit and clean <= 0.5 * max(1, a.keys / 1_000_000)
    return 0 if good or not a.check else 1


if __name__ == "__main__":
    sys.exit(main())

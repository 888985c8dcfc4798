"""libbench - what the benchmarks share: the helpers of the end-to-end tests, medians, one line per figure."""
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import libqsfs as q  # noqa: E402

RUNS = int(os.environ.get("QSFS_BENCH_RUNS", 3))


def timed(f, *args):
    start = time.perf_counter()
    f(*args)
    return time.perf_counter() - start


def median(f, runs=RUNS):
    """Median of the numbers that f() answers."""
    return statistics.median(f() for _ in range(runs))


def figure(name, value, unit, reference=None, reference_name=""):
    line = f"{name:44s} {value:12.1f} {unit}"
    if reference is not None:
        line += f"   {value / reference:6.2f} x {reference_name} ({reference:.1f})"
    print(line, flush=True)


def mib_per_s(nbytes, seconds):
    return nbytes / seconds / (1 << 20)


def cpu_seconds(pid):
    """User and system time of a process so far."""
    w = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(w[11]) + int(w[12])) / os.sysconf("SC_CLK_TCK")

#!/usr/bin/env python3
# alone
"""Many namespaces are cheap: 1,000 of them take no more room than their contents, and are open in under a second."""
import os
import pathlib
import signal
import sys
import time

import libqsfs as q

COUNT = 1000
HERE = q.tmpdir("many")
server = q.Zdb(dir=HERE)


def excess():
    """Files that take more room than their contents: [(path, bytes taken, size)]."""
    unit = os.statvfs(HERE).f_frsize
    out = []
    for root in (server.data, server.index):
        for base, _, files in os.walk(root):
            for name in files:
                st = os.lstat(os.path.join(base, name))
                if st.st_blocks * 512 > -(-st.st_size // unit) * unit:
                    out.append((os.path.relpath(os.path.join(base, name), HERE), st.st_blocks * 512, st.st_size))
    return out


def value(i):
    return b"value %d" % i


def test_created_without_reserved_space():
    server.start()
    start = time.monotonic()
    with server.client() as c:
        for first in range(0, COUNT, 100):
            names = [f"ns-{i}" for i in range(first, first + 100)]
            requests = [r for i, n in zip(range(first, first + 100), names) for r in (
                ("NSNEW", n), ("NSSET", n, "mode", "seq" if i % 2 else "user"), ("SELECT", n),
                ("SET", b"" if i % 2 else b"key", value(i)), ("SYNC",))]
            bad = [r for r in c.pipeline(requests) if isinstance(r, q.Error)]
            q.check(not bad, f"-{bad[:1]}")
        q.same(len(c.ok("NSLIST")), COUNT + 1, "NSLIST")
    print(f"# {COUNT} namespaces made in {time.monotonic() - start:.2f} s", flush=True)
    q.check(not excess(), f"while open: {excess()[:3]}")


def test_stopped_without_reserved_space():
    q.same(server.stop(), 143, "exit code")
    q.check(not excess(), f"after the stop: {excess()[:3]}")


def start_seconds():
    """From the start of the process to the answer that counts them all."""
    begin = time.monotonic()
    server.spawn()
    while True:
        try:
            with server.client() as c:
                names = c.ok("NSLIST")
                break
        except OSError:
            q.check(server.alive(), server.tail())
            time.sleep(0.002)
    seconds = time.monotonic() - begin
    q.same(len(names), COUNT + 1, "NSLIST")
    return seconds


def test_open_in_under_a_second():
    times = []
    for _ in range(3):
        times.append(start_seconds())
        server.stop()
    print(f"# started in {' '.join(f'{t:.3f}' for t in times)} s", flush=True)
    q.check(min(times) < 1.0 * q.SLOWDOWN, f"the best of three starts took {min(times):.3f} s")


def test_open_in_under_a_second_after_kill_9():
    start_seconds()
    with server.client() as c:
        bad = [r for i in range(COUNT) for r in c.pipeline([
            ("SELECT", f"ns-{i}"), ("SET", b"" if i % 2 else b"other", b"unsynced %d" % i)]) if isinstance(r, q.Error)]
    q.check(not bad, f"-{bad[:1]}")
    server.kill9()
    seconds = start_seconds()
    print(f"# started in {seconds:.3f} s", flush=True)
    q.check(seconds < 1.0 * q.SLOWDOWN, f"it took {seconds:.3f} s")


def test_everything_is_there():
    with server.client() as c:
        for i in range(COUNT):
            replies = c.pipeline([("SELECT", f"ns-{i}"), ("GET", (0).to_bytes(8, "little") if i % 2 else b"key"),
                                  ("DBSIZE",)])
            q.same(replies, ["OK", value(i), 2], f"ns-{i}")
        open_files = len(list(pathlib.Path(f"/proc/{server.pid}/fd").iterdir()))
        print(f"# {open_files} open descriptors, {server.rss_kib()} KiB", flush=True)
    q.check(not excess(), f"at the end: {excess()[:3]}")
    server.stop()


def test_more_segments_than_open_files():
    """A load reads records of many segments while it walks over one: what it walks over is not closed meanwhile."""
    for mode in ("seq", "user"):
        z = q.start_zdb(mode=mode)
        want = {}
        with z.client() as c:
            for i in range(700):
                key = c.ok("SET", b"" if mode == "seq" else b"key%d" % i, b"value %d" % i)
                want[key] = b"value %d" % i
                c.ok("NSJUMP")
            c.ok("SYNC")
        z.stop()
        z.start()
        with z.client() as c:
            for i, key in enumerate(list(want)):    # more than a walk reads at once
                want[key] = b"again %d " % i * 500
                c.ok("SET", key, want[key])
        q.same(z.stop(signal.SIGKILL), -signal.SIGKILL, "exit code")
        for what in ("after kill -9", "after kill -9, without a watermark"):
            z.start()
            with z.client() as c:
                for key in want:
                    q.same(c.cmd("GET", key), want[key], f"{mode} mode, {what}, {key}")
            q.same(z.stop(signal.SIGKILL), -signal.SIGKILL, "exit code")
            (z.index / "default/zdb-watermark").unlink()


if __name__ == "__main__":
    sys.exit(q.main())

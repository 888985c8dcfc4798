#!/usr/bin/env python3
"""zstor's memory is bounded and hooks are served, whatever clients of the control socket and the queue do."""
# limit: 300
import os
import time

import libqsfs as q

JOBS = int(os.environ.get("QSFS_JOBS", 20000))
RSS_LIMIT = 256 << 10       # KiB


TABLE = None


def crc32c(data):
    """As a job file begins: queue/journal.h."""
    global TABLE
    if TABLE is None:
        TABLE = []
        for i in range(256):
            c = i
            for _ in range(8):
                c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
            TABLE.append(c)
    crc = 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def make_jobs(state, n):
    """n queued stores of files that exist, as a daemon that had no backends for weeks would leave them."""
    queue = state / "queue"
    queue.mkdir(parents=True)
    source = q.tmpdir("src") / "d1"
    source.write_bytes(b"x" * 1000)
    now = int(time.time())
    for i in range(1, n + 1):
        name = f"/objects/{i:08d}"
        argv = [b"zstor-job", b"1", b"store", name.encode(), str(source).encode(), b"0", b"1000", str(now).encode()]
        body = b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in argv)
        (queue / f"{i:020d}.job").write_bytes(b"%08x\n" % crc32c(body) + body)


def served(z, what):
    """What a hook does, in good time."""
    f = q.tmpdir("hook") / "f"
    f.write_bytes(os.urandom(100))
    begun = time.monotonic()
    p = z.cli("store", "-n", "-f", f, timeout=60)
    q.same(p.returncode, 0, f"{what}: {p.stderr}")
    q.check(time.monotonic() - begun < 20 * q.SLOWDOWN, f"{what}: {time.monotonic() - begun:.1f} s")


def bounded(z, what):
    if q.SLOWDOWN == 1:     # sanitizer builds keep freed memory
        q.check(z.rss_kib() < RSS_LIMIT, f"{what}: {z.rss_kib()} KiB")


def test_clients_and_a_long_queue():
    backends = q.start_backends(4)
    conf = q.zstor_config(backends)
    for b in backends:
        b.stop()
    state = q.pathlib.Path(conf["state_dir"])
    make_jobs(state, JOBS)
    z = q.Zstor(conf)
    with q.case(f"{JOBS} queued jobs are taken up, and a hook is served beside them"):
        z.start()
        with z.client() as c:
            q.wait_for(lambda: c.cmd("QUEUE") >= JOBS, 60, "all jobs")
        served(z, "long queue")
        bounded(z, "long queue")
    with q.case("QUEUE LIST of a long queue is of a bounded length, and says so"):
        with z.client() as c:
            lines = c.cmd("QUEUE", "LIST")
        q.check(len(lines) == 501 and lines[-1].startswith(b"and "), (len(lines), lines[-1]))
    with q.case("STATUS and QUEUE LIST a thousand times in one go by clients that do not read"):
        silent = []
        for word in (("STATUS",), ("QUEUE", "LIST"), ("STATUS", "JSON"), ("QUEUE", "LIST")):
            c = z.client()
            c.s.setblocking(False)
            data = c.encode(*word) * 1000
            try:
                while data:
                    data = data[c.s.send(data):]
            except BlockingIOError:
                pass
            silent.append(c)
        for _ in range(3):
            served(z, "silent clients")
        bounded(z, "silent clients")
        for c in silent:
            c.close()
    with q.case("who reads gets every one of a thousand answers"):
        with z.client() as c:
            c.s.sendall(c.encode("QUEUE", "COUNT") * 1000)
            q.check(all(c.recv()[0] >= JOBS for _ in range(1000)))
    with q.case("512 idle connections keep no hook out"):
        idle = [z.client() for _ in range(520)]
        served(z, "idle connections")
        with z.client() as c:
            q.same(c.cmd("PING"), "PONG")
        q.same(idle[-1].cmd("PING"), "PONG", "the youngest idle one is still there")
        bounded(z, "idle connections")
        for c in idle:
            c.close()
    z.stop()


if __name__ == "__main__":
    q.main()

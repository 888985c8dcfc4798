#!/usr/bin/env python3
"""Clients that misbehave: malformed streams, readers that do not read, giant pipelines, disconnects, too many of them."""
import os
import random
import socket
import struct
import threading
import time

import libqsfs as q

MIB = 1 << 20


def connect(zdb):
    return q.Redis(zdb.port, zdb.socket, zdb.host)


def read_all(c):
    """Everything until the server closes."""
    out = b""
    c.s.settimeout(20 * q.SLOWDOWN)
    while True:
        try:
            data = c.s.recv(65536)
        except ConnectionResetError:
            return out
        if not data:
            return out
        out += data


def test_malformed_streams_get_one_error_and_are_closed():
    zdb = q.start_zdb()
    table = [
        (b"PING\r\n", b"-Malformed request, array expected\r\n"),
        (b"\r\n\nPING\r\n", b"-Malformed request, array expected\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"-Malformed request, array expected\r\n"),
        (b"$4\r\nPING\r\n", b"-Malformed request, array expected\r\n"),
        (b"*0\r\n", b"-Missing arguments\r\n"),
        (b"*\r\n", b"-Missing arguments\r\n"),
        (b"*abc\r\n", b"-Missing arguments\r\n"),
        (b"*1025\r\n", b"-Too many arguments\r\n"),
        (b"*99999999999999999999\r\n", b"-Too many arguments\r\n"),
        (b"*18446744073709551617\r\n$4\r\nPING\r\n", b"-Too many arguments\r\n"),
        (b"*-1\r\n", b"-Internal memory error\r\n"),
        (b"*-9223372036854775808\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n+PING\r\n", b"-Malformed query string\r\n"),
        (b"*1\r\n:1\r\n", b"-Malformed query string\r\n"),
        (b"*3\r\n$3\r\nSET\r\n$-1\r\nx\r\n$1\r\nv\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$-2\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$-5\r\n", b"-Internal memory error\r\n"),
        (b"*+1\r\n$4\r\nPING\r\n", b"-Missing arguments\r\n"),
        (b"* 1\r\n$4\r\nPING\r\n", b"-Missing arguments\r\n"),
        (b"*1 \r\n$4\r\nPING\r\n", b"-Missing arguments\r\n"),
        (b"*-0\r\n", b"-Missing arguments\r\n"),
        (b"*1\r\n$+4\r\nPING\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$ 4\r\nPING\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$abc\r\nPING\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$\r\nPING\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$-0\r\n", b"-Internal memory error\r\n"),
        (b"*1\r\n$9999999999\r\n", b"-Payload too big\r\n"),
        (b"*2147483647\r\n", b"-Too many arguments\r\n"),
        (b"\0\0\0\n", b"-Malformed request, array expected\r\n"),
        (b"*1\r\n$4\r\nPI\0G\r\n*0\r\n", b"-Command not supported\r\n-Missing arguments\r\n"),
        (b"*01\r\n$0004\r\nPING\r\n*\0\n", b"+PONG\r\n-Missing arguments\r\n"),
        (b"a" * (1 << 20), b""),
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$8388609\r\n", b"-Payload too big\r\n"),
        (b"*1\r\n$99999999999999999999999\r\n", b"-Payload too big\r\n"),
        (b"*1\r\n$18446744073709551620\r\nPING\r\n", b"-Payload too big\r\n"),
        (b"*1\r\n$4\r\nPINGXX", b"-Malformed request, payload not followed by CRLF\r\n"),
        (b"*1\r\n$4\r\nPING\r\n*0\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n-Missing arguments\r\n"),
        (b"*" + b"1" * 9000, b""),
        (b"x" * 9000, b""),
        (b"*1\r\n$" + b"0" * 9000, b""),
    ]
    for sent, want in table:
        c = connect(zdb)
        c.send_raw(sent)
        q.same(read_all(c), want, f"answer to {sent[:60]!r}")
        c.close()
    with connect(zdb) as c:
        q.same(c.cmd("PING"), "PONG", "server afterwards")
        q.same(c.cmd("DBSIZE"), 0, "nothing was stored")
    zdb.stop()


def test_requests_in_any_pieces():
    zdb = q.start_zdb()
    for size in (1, 2, 3, 7, 100):
        key = f"k{size:03d}"
        stream = b"".join([q.Redis.encode("SET", key, "v" * 300), q.Redis.encode("GET", key), b"*1\n$4\nPING\r\n",
                           q.Redis.encode("GET", "none")])
        want = f"$4\r\n{key}\r\n$300\r\n{'v' * 300}\r\n+PONG\r\n$-1\r\n".encode()
        c = connect(zdb)
        for i in range(0, len(stream), size):
            c.send_raw(stream[i:i + size])
        q.same(c.f.read(len(want)), want, f"pieces of {size}")
        c.close()
    zdb.stop()


def test_limits_of_keys_and_values():
    zdb = q.start_zdb(datasize=64 * MIB)
    c = connect(zdb)
    value = os.urandom(8 * MIB)
    key = b"k" * 255
    q.same(c.cmd("SET", key, value), key, "8 MiB value, 255 byte key")
    q.same(c.cmd("GET", key), value, "its value")
    q.same(c.cmd("SET", b"k" * 256, "v"), "Key too large", "256 byte key")
    q.same(c.cmd("GET", b"k" * 256), "Invalid key", "256 byte key")
    keys = [f"m{i}" for i in range(1023)]
    c.pipeline([("SET", k, k * 2) for k in keys])
    q.same(c.cmd("MGET", *keys), [(k * 2).encode() for k in keys], "MGET of 1023 keys")
    # many big arguments in one request: refused before they are all in memory
    c.send_raw(b"*10\r\n$4\r\nMGET\r\n" + (b"$8388608\r\n" + b"x" * 8388608 + b"\r\n"))
    try:
        c.send_raw(b"$8388608\r\n")
    except OSError:
        pass
    q.same(read_all(c), b"-Payload too big\r\n", "request of 72 MiB")
    c.close()
    zdb.stop()


def test_reader_that_does_not_read_costs_bounded_memory():
    zdb = q.start_zdb(datasize=64 * MIB)
    with connect(zdb) as c:
        c.ok("SET", "big", os.urandom(8 * MIB))
        c.ok("GET", "big")
    before = zdb.rss_kib(peak=False)
    slow = connect(zdb)
    slow.s.settimeout(1)
    asked = 0
    try:
        for _ in range(200):        # 1.6 GiB of replies
            slow.send("GET", "big")
            asked += 1
    except socket.timeout:
        pass
    mget = connect(zdb)
    mget.send("MGET", *["big"] * 1000)   # 8 GiB in one reply
    with connect(zdb) as c:
        t0 = time.monotonic()
        for _ in range(100):
            q.same(c.cmd("PING"), "PONG", "another client")
        q.check(time.monotonic() - t0 < 5 * q.SLOWDOWN, "others are served meanwhile")
    grown = zdb.rss_kib() - before
    print(f"# memory grew by {grown} KiB")
    q.check(grown < 128 * 1024 * q.SLOWDOWN, f"memory grew by {grown} KiB")
    # and the slow one gets all it asked for when it reads
    slow.s.settimeout(60 * q.SLOWDOWN)
    for i in range(min(asked, 20)):
        q.same(len(slow.recv()), 8 * MIB, f"reply {i}")
    slow.close()
    q.same(mget.f.readline(), b"*1000\r\n", "head of the big MGET")
    for i in range(10):
        q.same(len(mget.recv()), 8 * MIB, f"element {i}")
    mget.close()
    with connect(zdb) as c:
        q.same(c.cmd("PING"), "PONG", "server afterwards")
    zdb.stop()


def test_huge_pipelines():
    zdb = q.start_zdb()
    c = connect(zdb)
    n = 20000
    blob = b"".join(q.Redis.encode("SET", f"k{i % 500}", f"v{i}") for i in range(n))
    # sent by a child process: a single blocking thread would stop when both directions are full
    pid = os.fork()
    if pid == 0:
        try:
            c.s.settimeout(120)
            c.s.sendall(blob)
        finally:
            os._exit(0)
    for i in range(n):
        q.same(c.recv(), f"k{i % 500}".encode(), f"reply {i}")
    os.waitpid(pid, 0)
    q.same(c.cmd("DBSIZE"), 500, "DBSIZE")
    # pipelines that end exactly at 8192, 16384, 65536 bytes
    for size in (8192, 16384, 65536):
        ping = q.Redis.encode("PING")
        fill = size - len(ping) - len(q.Redis.encode("SET", "f", b"")) - 10
        head = q.Redis.encode("SET", "f", b"x" * fill)
        head = q.Redis.encode("SET", "f", b"x" * (fill + size - len(ping) - len(head)))
        c.send_raw(head + ping)
        q.check(c.recv() in (b"f", None), f"SET in {size} bytes")
        q.same(c.recv(), "PONG", f"PING at the end of {size} bytes")
        c.send_raw(head)
        c.send_raw(ping)
        c.recv()
        q.same(c.recv(), "PONG", "PING in its own packet")
    c.close()
    zdb.stop()


def test_half_requests_of_many_clients():
    """Together they hold no more than --max-buffers; those that are silent for longest go, and whoever sends is served."""
    zdb = q.start_zdb(max_buffers=64 * MIB, datasize=64 * MIB)
    before = zdb.rss_kib(peak=False)
    half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (8 * MIB) + bytes(6 * MIB)
    conns = [connect(zdb) for _ in range(40)]
    for c in conns:
        c.s.sendall(half)       # what the server has taken of it all: 240 MiB
    with connect(zdb) as c:
        value = os.urandom(8 * MIB)
        q.same(c.cmd("SET", "other", value), b"other", "who sends a whole request meanwhile")
        q.same(c.cmd("GET", "other"), value, "GET")
    grown = zdb.rss_kib() - before
    print(f"# memory grew by {grown} KiB")
    q.check(grown < 200 * 1024 * q.SLOWDOWN, f"memory grew by {grown} KiB")
    conns[-1].s.sendall(bytes(2 * MIB) + b"\r\n")
    q.same(conns[-1].recv(), b"k", "the last one, when it sends the rest")
    q.check(conns[0].closed(), "the first one is closed")
    for c in conns:
        c.close()
    zdb.stop()


def test_requests_that_come_faster_than_they_can_be_run():
    """What waits for its turn is bounded for each connection, however much is sent."""
    # what is freed is given back at once: AddressSanitizer holds 256 MiB of it otherwise
    asan = {"ASAN_OPTIONS": q.environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=4:thread_local_quarantine_size_kb=64"}
    zdb = q.start_zdb(max_output=262144, env=asan)  # the WAITs of one are events for the others
    before = zdb.rss_kib(peak=False)
    blob = q.Redis.encode("WAIT", "*", "1800000") * 5000
    conns = [[connect(zdb), 0] for _ in range(4)]
    for c, _ in conns:
        c.s.setblocking(False)
    sent, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        for x in conns:
            try:
                n = x[0].s.send(blob[x[1]:])
            except BlockingIOError:
                continue
            sent += n
            x[1] = (x[1] + n) % len(blob)
    grown = zdb.rss_kib() - before
    print(f"# {sent >> 20} MiB sent, memory grew by {grown} KiB")
    q.check(grown < 8 * 1024 * q.SLOWDOWN ** 2, f"memory grew by {grown} KiB")
    with connect(zdb) as c:
        q.same(c.cmd("PING"), "PONG", "another client")
    for c, _ in conns:
        c.close()
    q.same(zdb.stop(), 143, "exit code")


def test_scan_over_many_dead_records():
    """It takes turns with the others; and what happens to the namespace meanwhile does no harm."""
    for mode in ("user", "seq"):
        zdb = q.start_zdb(mode=mode)
        c = connect(zdb)
        for words in (("NSNEW", "p"), ("NSSET", "p", "password", "pw"), ("NSSET", "p", "public", "0"), ("SELECT", "p", "pw")):
            c.ok(*words)
        n = 100000
        key = lambda i: struct.pack("<Q", i) if mode == "seq" else f"k{i}"
        for at in range(0, n, 2000):
            c.pipeline([("SET", "" if mode == "seq" else key(i), "v") for i in range(at, at + 2000)])
        last = c.ok("SET", "" if mode == "seq" else "last", "v")
        for at in range(0, n, 2000):
            c.pipeline([("DEL", key(i)) for i in range(at, at + 2000)])
        q.same([e[0] for e in c.ok("SCAN")[1]], [last], f"{mode}: SCAN")
        q.same([e[0] for e in c.ok("RSCAN")[1]], [last], f"{mode}: RSCAN")
        first = c.ok("SET", "" if mode == "seq" else "newest", "v")
        q.same([e[0] for e in c.ok("SCAN")[1]], [last, first], f"{mode}: SCAN")
        q.same(c.ok("DEL", last), "OK", "DEL")
        q.same(c.ok("DEL", first), "OK", "DEL")
        others = [zdb.client("p", "pw") for _ in range(20)]
        for o in others:
            o.send_raw(q.Redis.encode("SCAN") + q.Redis.encode("RSCAN") + q.Redis.encode("PING"))
        times = []
        for _ in range(50):
            t0 = time.perf_counter()
            q.same(c.cmd("PING"), "PONG", "another client")
            times.append(time.perf_counter() - t0)
        q.check(sorted(times)[25] < 0.02 * q.SLOWDOWN ** 2, f"{mode}: median of others {sorted(times)[25] * 1000:.1f} ms")
        for o in others:
            q.same([o.recv(), o.recv(), o.recv()], ["No more data", "No more data", "PONG"], f"{mode}: answers")
        for o in others:
            o.send("SCAN")
        others[0].close()
        c.ok("RELOAD", "p")
        for o in others[1:]:
            q.same(o.recv(), "No more data", f"{mode}: RELOAD meanwhile")
            o.send("RSCAN")
        c.ok("FLUSH")
        for o in others[1:]:
            q.same(o.recv(), "No more data", f"{mode}: FLUSH meanwhile")
            o.send("SCAN")
        c.ok("SELECT", "default")
        c.ok("NSDEL", "p")
        q.same(zdb.stop(), 143, "exit code")


def test_half_closed_connection_gets_its_replies():
    zdb = q.start_zdb()
    c = connect(zdb)
    c.send_raw(q.Redis.encode("SET", "a", "1") + q.Redis.encode("GET", "a") + b"*1\r\n$4\r\nPI")
    c.s.shutdown(socket.SHUT_WR)
    q.same(read_all(c), b"$1\r\na\r\n$1\r\n1\r\n", "replies")
    c.close()
    zdb.stop()


def test_disconnects_at_any_moment():
    zdb = q.start_zdb(datasize=64 * MIB)
    request = q.Redis.encode("SET", "k", b"x" * 200000)
    for cut in (0, 1, 5, 20, 30, 1000, 100000, 200000, len(request) - 1, len(request)):
        c = connect(zdb)
        c.send_raw(request[:cut])
        if cut % 2 and cut < len(request):      # reset instead of FIN
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    for _ in range(30):     # replies nobody takes
        c = connect(zdb)
        c.send_raw(q.Redis.encode("GET", "k") * 50)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    with connect(zdb) as c:
        q.wait_for(lambda: c.cmd("GET", "k") == b"x" * 200000, what="the one whole request")
        q.same(c.cmd("PING"), "PONG", "server")
    q.wait_for(lambda: len(os.listdir(f"/proc/{zdb.pid}/fd")) < 30, what="closed descriptors")
    q.same(zdb.stop(), 143, "exit code")


def test_disconnect_while_parked():
    d = q.tmpdir("parked")
    hook = d / "hook.sh"
    hook.write_text('#!/bin/sh\n[ "$1" = missing-data ] && echo $$ >>"$MARK" && sleep 60\nexit 0\n')
    hook.chmod(0o755)
    zdb = q.start_zdb(dir=d, hook=hook, datasize=524288, hook_timeout=2 * q.SLOWDOWN, env={"MARK": d / "mark"})
    c = connect(zdb)
    for i in range(3):
        c.ok("SET", f"k{i}", bytes([65 + i]) * 300000)
    q.wait_for(lambda: c.cmd("HOOKS", "PENDING") == 0, what="end of hooks")
    zdb.stop()
    (zdb.data / "default" / "d0").unlink()
    zdb.start()
    for i in range(20):
        w = connect(zdb)
        w.send("GET", "k0")
        w.send("MGET", "k0", "k1")
        if i % 2:
            w.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if i == 0:
            q.wait_for(lambda: (d / "mark").exists(), what="hook")
        w.close()
    c = connect(zdb)
    q.wait_for(lambda: len(os.listdir(f"/proc/{zdb.pid}/fd")) < 35, what="closed descriptors")
    q.same(c.cmd("GET", "k1"), b"B" * 300000, "other key")
    q.same(c.cmd("GET", "k0"), "Internal Error", "the missing one at the deadline")
    q.same(c.cmd("GET", "k1"), b"B" * 300000, "afterwards")
    q.same(len((d / "mark").read_text().split()), 1, "hook runs")
    q.same(zdb.stop(), 143, "exit code")


def test_connection_cap():
    zdb = q.start_zdb(max_clients=5)
    q.wait_for(lambda: len(os.listdir(f"/proc/{zdb.pid}/fd")), what="descriptors")
    held = []
    refused = None
    for _ in range(12):
        c = connect(zdb)
        try:
            reply = c.cmd("PING")
        except (ConnectionError, OSError):
            continue
        if reply == "PONG":
            held.append(c)
        else:
            refused = reply
    q.same(len(held), 5, "connections")
    q.check(refused is None or refused == "Too many clients", f"answer over the cap: {refused!r}")
    for c in held:
        c.close()
    q.wait_for(lambda: connect(zdb).cmd("PING") == "PONG", what="room after others have gone")
    zdb.stop()


def test_out_of_descriptors():
    zdb = q.Zdb()
    zdb.argv = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh"] + zdb.argv
    zdb.start()
    held = []
    for _ in range(80):
        c = connect(zdb)
        c.s.settimeout(0.5)
        held.append(c)
    cpu = lambda: sum(int(x) for x in open(f"/proc/{zdb.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
    before = cpu()
    served = 0
    for c in held:
        try:
            served += c.cmd("PING") == "PONG"
        except (OSError, ConnectionError):
            break
    q.check(10 <= served < 64, f"{served} connections served")
    t0 = time.monotonic()
    spent = (cpu() - before) / os.sysconf("SC_CLK_TCK")
    q.check(spent < 2 * q.SLOWDOWN, f"{spent:.1f} s of processor time while out of descriptors")
    for c in held:
        c.close()
    q.wait_for(lambda: connect(zdb).cmd("PING") == "PONG", what="room after the others have gone")
    q.check(time.monotonic() - t0 < 30 * q.SLOWDOWN, "accepting goes on")
    q.same(zdb.stop(), 143, "exit code")


def test_mirrors_that_vanish_or_do_not_read():
    zdb = q.start_zdb(max_output=65536)
    c = connect(zdb)
    for i in range(20):
        m = connect(zdb)
        m.send_raw(q.Redis.encode("MIRROR") + (q.Redis.encode("WAIT", "*", "60000") if i % 2 else b""))
        m.recv()
        if i % 3 == 0:
            m.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.send("SET", f"k{i}", "v" * 1000)
        m.close()
        q.same(c.recv(), f"k{i}".encode(), "SET")
    lazy, good = connect(zdb), connect(zdb)
    lazy.ok("MIRROR")
    good.ok("MIRROR")
    before = zdb.rss_kib(peak=False)
    for i in range(300):    # 30 MB: more than the socket buffers and eight times --max-output take
        c.ok("SET", "big", bytes([i % 256]) * 100000)
        q.same(good.recv()[4:], [b"big", bytes([i % 256]) * 100000], f"mirrored request {i}")
    q.check(zdb.rss_kib() - before < 16 * 1024 * q.SLOWDOWN ** 2, "memory")
    with q.case("a_mirror_that_does_not_read_is_dropped"):
        lazy.s.settimeout(20 * q.SLOWDOWN)
        total = 0
        try:
            while data := lazy.s.recv(1 << 20):
                total += len(data)
        except ConnectionResetError:
            pass
        q.check(total < 25_000_000, f"it got {total} bytes")
    good.close()
    q.same(zdb.stop(), 143, "exit code")


def test_idle_timeout():
    zdb = q.start_zdb(idle_timeout=1)
    quiet, waiting = connect(zdb), connect(zdb)
    waiting.send("WAIT", "SET", "4000")
    t0 = time.monotonic()
    q.check(quiet.closed(), "silent connection is closed")
    q.check(0.9 <= time.monotonic() - t0 < 3.5 * q.SLOWDOWN, f"after {time.monotonic() - t0:.1f} s")
    q.same(waiting.recv(), "Timeout", "a waiting connection is not idle")
    zdb.stop()


def test_crafted_cursors_are_refused():
    zdb = q.start_zdb(mode="user")
    c = connect(zdb)
    payload = struct.pack("<BIIBIIIIII", 1, 28, 1, 0, 0, 0, 0, 0, 0, 0)
    c.ok("SET", "a", payload * 3)
    for i in range(20):
        c.ok("SET", f"key-{i}", f"value {i}")
    cur = c.ok("KEYCUR", "key-3")
    id_, f, length, off, crc = struct.unpack("<BIIII", cur)
    accepted = 0
    for d in range(-60, 61):
        if d == 0:
            continue
        for ln, cr in ((length, crc), (0, 0), (1, 0)):
            reply = c.cmd("SCAN", struct.pack("<BIIII", id_, f, ln, max(0, off + d), cr))
            accepted += not isinstance(reply, q.Error)
    reply = c.cmd("SCAN", struct.pack("<BIIII", id_, 4000000000, length, off, crc))
    q.same(reply, "Invalid key format", "file that does not exist")
    q.same(accepted, 0, "cursors that point into the middle of records")
    q.same(c.cmd("HISTORY", "", struct.pack("<II", 0, 29)), "Invalid arguments (invalid key)", "HISTORY of an empty key")
    q.same(c.cmd("HISTORY", "key", struct.pack("<II", f, off)), "Invalid arguments (invalid key)", "HISTORY of a prefix")
    zdb.stop()


CHAOS_HOOK = """#!/bin/sh
[ "$1" = missing-data ] || exit 0
n=$(od -An -N1 -tu1 /dev/urandom)
[ $((n % 4)) = 0 ] && exit 1
[ $((n % 4)) = 1 ] && sleep 0.1
[ -e "$KEPT/$(basename "$3")" ] && cp "$KEPT/$(basename "$3")" "$3.part" && mv "$3.part" "$3"
exit 0
"""


class Chaos(threading.Thread):
    """A client that does anything, and goes away in the middle of it."""

    def __init__(self, zdb, seed, until):
        super().__init__()
        self.zdb, self.random, self.until, self.fault, self.done = zdb, random.Random(seed), until, None, 0

    def request(self):
        r = self.random
        ns, key = r.choice(["a", "b", "default"]), f"k{r.randrange(40)}"
        cursor = struct.pack("<BIIII", r.choice([2, 3, 8]), r.randrange(4), r.randrange(9), r.randrange(2000), r.randrange(9))
        return r.choice([
            ("SET", key, bytes([r.randrange(256)]) * r.choice([0, 1, 100, 5000, 200000])), ("SET", key, "same"), ("GET", key),
            ("MGET", *[f"k{r.randrange(40)}" for _ in range(30)]), ("DEL", key), ("CHECK", key), ("SCAN",), ("RSCAN",),
            ("SCAN", cursor), ("HISTORY", key), ("HISTORY", key, struct.pack("<II", r.randrange(4), r.randrange(3000))),
            ("KEYCUR", key), ("SYNC",), ("SYNC",), ("NSJUMP",), ("RELOAD", ns), ("FLUSH",), ("NSINFO", ns), ("INFO",), ("NSLIST",),
            ("DATA", "RAW", r.randrange(4), r.randrange(3000)), ("INDEX", "DIRTY"), ("HOOKS",),
            ("SELECT", ns, "pw"), ("SELECT", ns, "pw"), ("DBSIZE",), ("NSNEW", ns), ("NSDEL", ns),
            ("NSSET", ns, r.choice(["lock", "freeze", "worm"]), "0"), ("NSSET", ns, "password", "pw"), ("NSSET", ns, "public", "0"),
            ("NSSET", ns, "mode", r.choice(["user", "seq"])), ("AUTH", "SECURE", "CHALLENGE"), ("TIME",)])

    def run(self):
        while time.monotonic() < self.until:
            try:
                self.connection(connect(self.zdb))
            except ConnectionError:
                continue
            except Exception as e:  # pylint: disable=broad-except
                self.fault = repr(e)
                return

    def connection(self, c):
        with c:
            for _ in range(self.random.randrange(1, 40)):
                batch = [self.request() for _ in range(self.random.choice([1, 1, 3, 20]))]
                if self.random.random() < 0.05:
                    batch = [("WAIT", "*", "100")]      # alone: a second one would replace it
                c.send_raw(b"".join(q.Redis.encode(*x) for x in batch))
                if self.random.random() < 0.05:
                    return      # without taking the replies
                for _ in batch:
                    c.recv()
                    self.done += 1


def lose_segments(zdb, kept, rng):
    """What an evictor does: sealed data files go away, a copy is kept."""
    for f in (zdb.data / "default").glob("d*"):
        active = max((int(x.name[1:]) for x in (zdb.data / "default").glob("d[0-9]*") if x.name[1:].isdigit()), default=0)
        if f.name[1:].isdigit() and int(f.name[1:]) < active and rng.random() < 0.3:
            try:
                (kept / f.name).write_bytes(f.read_bytes())
                f.unlink()
            except FileNotFoundError:
                pass


def test_clients_that_do_anything_at_once():
    """RELOAD and FLUSH while SYNC runs, NSDEL under parked requests, disconnects anywhere: nothing hangs, nothing dies."""
    d = q.tmpdir("chaos")
    hook = d / "hook.sh"
    hook.write_text(CHAOS_HOOK)
    hook.chmod(0o755)
    kept = d / "kept"
    kept.mkdir()
    seconds = int(os.environ.get("QSFS_CHAOS_S", 4))
    seed = int(os.environ.get("QSFS_SEED", time.time()))
    print(f"# seed {seed}")
    zdb = q.start_zdb(dir=d, hook=hook, datasize=524288, hook_timeout=5, env={"KEPT": kept})
    clients = [Chaos(zdb, seed + i, time.monotonic() + seconds) for i in range(8)]
    for t in clients:
        t.start()
    rng = random.Random(seed)
    while any(t.is_alive() for t in clients):
        lose_segments(zdb, kept, rng)
        time.sleep(0.2)
    q.same([t.fault for t in clients], [None] * len(clients), "clients")
    print(f"# {sum(t.done for t in clients)} replies, {zdb.rss_kib()} KiB")
    q.check(zdb.alive(), f"zdb lives: {zdb.tail()}")
    with connect(zdb) as c:
        q.same(c.cmd("PING"), "PONG", "server")
        q.wait_for(lambda: c.cmd("HOOKS", "PENDING") == 0, what="end of the hooks")
    q.same(zdb.stop(), 143, "exit code")
    zdb.start()
    q.same(zdb.stop(), 143, "exit code of the next run")


if __name__ == "__main__":
    q.main()

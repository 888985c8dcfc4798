#!/usr/bin/env python3
"""What a pipeline writes is handed to the kernel together, before its replies: seen from outside nothing is different.  Values
are there right behind their SET; a full disk or a write error in the middle of a batch costs what does not fit and nothing
else; what was answered survives kill -9."""
import os
import random
import resource
import signal
import subprocess

import libqsfs as q

KIB, MIB = 1 << 10, 1 << 20


def filled(**options):
    """Far enough for disk space to be reserved ahead: smaller files are written at once."""
    zdb = q.start_zdb(mode="user", **options)
    with zdb.client() as c:
        grow(c)
    return zdb


def grow(c):
    c.pipeline([("SET", f"fill{i}", os.urandom(500)) for i in range(600)])


def test_a_value_is_there_right_behind_its_set():
    zdb = filled()
    rng = random.Random(1)
    with zdb.client() as c:
        for size in (0, 1, 100, 1000, 5000, 20_000, 200_000):
            value, other = rng.randbytes(size), rng.randbytes(size + 1)
            got = c.pipeline([("SET", "k", value), ("GET", "k"), ("EXISTS", "k"), ("LENGTH", "k"), ("CHECK", "k"),
                              ("MGET", "k", "fill3", "k"), ("SET", "k", value), ("SET", "k", other), ("GET", "k"),
                              ("HISTORY", "k"), ("SET", "l", value), ("DEL", "k"), ("GET", "k"), ("GET", "l"), ("DEL", "l"),
                              ("EXISTS", "l"), ("SET", "k", other), ("GET", "k"), ("DEL", "k")])
            q.same(got[1], value, f"GET of {size} bytes")
            q.same(got[2:5], [1, size, 1], "EXISTS LENGTH CHECK")
            q.same([got[5][0], got[5][2]], [value, value], "MGET")
            q.same(got[6], None, "SET of what is there")
            q.same(got[8], other, "GET of the second version")
            q.same(got[9][2], other, "HISTORY, newest")
            q.same(got[12:14], [None, value], "GET after DEL")
            q.same(got[15], 0, "EXISTS after DEL")
            q.same(got[17], other, "GET after DEL and SET")
        scans = c.pipeline([("SET", "last", "x"), ("RSCAN",), ("KEYCUR", "last"), ("SCAN",), ("DBSIZE",)])
        q.same(scans[1][1][0][0], b"last", "RSCAN begins with the newest")
        q.same(scans[4], 601, "DBSIZE")
        q.same(c.cmd("SCAN", scans[2]), q.Error("No more data"), "nothing behind the newest")


def test_sequential_mode():
    zdb = q.start_zdb(mode="seq")
    with zdb.client() as c:
        ids = c.pipeline([("SET", "", os.urandom(500)) for _ in range(600)])
        new = c.pipeline([("SET", "", f"new{i}") for i in range(100)])
        requests, want = [], []
        for i, key in enumerate(ids[:50] + new[:50]):
            requests += [("SET", key, f"v{i}"), ("GET", key), ("SET", "", f"w{i}")]
            want += [key, f"v{i}".encode()]
        got = c.pipeline(requests)
        q.same([g for i, g in enumerate(got) if i % 3 < 2], want, "updates read back in the same pipeline")
        later = got[2::3]
        dels = c.pipeline([r for k in later[:20] for r in (("DEL", k), ("GET", k))])
        q.same(dels[1::2], [None] * 20, "GET after DEL")
    zdb.kill9()
    zdb.start()
    with zdb.client() as c:
        got = c.pipeline([("GET", k) for k in ids[:50] + new[:50] + later[20:]])
        q.same(got[:100], [f"v{i}".encode() for i in range(100)], "updates after kill -9")
        q.same(got[100:], [f"w{i}".encode() for i in range(20, 100)], "inserts after kill -9")


def test_answered_means_it_survives_kill_9():
    zdb = filled()
    rng = random.Random(2)
    model = {}
    for round_ in range(12):
        c = zdb.client()
        sent = []
        for i in range(4000):
            key = f"k{rng.randrange(300)}"
            sent.append(("DEL", key) if rng.random() < 0.1 else ("SET", key, rng.randbytes(rng.choice((30, 300, 3000))) +
                                                                 f"{round_}.{i}".encode()))
        answered, killed_at = 0, rng.randrange(3000)
        allowed = {}
        pid = os.fork()
        if pid == 0:    # one process sends, the other reads
            try:
                for request in sent:
                    c.send(*request)
            finally:
                os._exit(0)
        try:
            for request in sent:
                reply = c.recv()
                answered += 1
                q.check(not isinstance(reply, q.Error) or request[0] == "DEL", f"{request[:2]}: {reply}")
                model[request[1]] = request[2] if request[0] == "SET" else None
                if answered == killed_at:
                    zdb.p.send_signal(signal.SIGKILL)
        except (ConnectionError, OSError):
            pass
        os.waitpid(pid, 0)
        c.close()
        zdb.wait()
        for request in sent[answered:]:     # may be there or not
            allowed.setdefault(request[1], []).append(request[2] if request[0] == "SET" else None)
        zdb.start()
        with zdb.client() as c:
            keys = sorted(model.keys() | allowed.keys())
            for key, got in zip(keys, c.pipeline([("GET", k) for k in keys])):
                q.check(got in [model.get(key)] + allowed.get(key, []),
                        f"round {round_}, {answered} answered: {key}: {got and got[-10:]}, answered {(model.get(key) or b'')[-10:]}")
                model[key] = got


def test_a_full_disk_in_the_middle_of_a_batch():
    mount = q.tmpdir("full")
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], capture_output=True)
    q.check(r.returncode == 0, f"mount: {r.stderr}")
    try:
        zdb = q.start_zdb(mode="user", data=mount / "data", index=mount / "index")
        other = zdb.client()
        with zdb.client() as c:
            requests = [("SET", f"k{i}", os.urandom(4000)) for i in range(1500)]
            replies = c.pipeline(requests)
            written = [r for r, a in zip(requests, replies) if not isinstance(a, q.Error)]
            q.check(200 < len(written) < 1000, f"{len(written)} of 1500 written")
            bad = {str(a) for a in replies if isinstance(a, q.Error)}
            q.check(bad <= {"Cannot write data right now", "Cannot write index right now"}, bad)
            q.same(c.pipeline([("GET", r[1]) for r in written]), [r[2] for r in written], "values on the full disk")
            q.same(other.cmd("GET", written[5][1]), written[5][2], "another connection")
            for r in written[:50]:
                q.same(c.cmd("DEL", r[1]), "OK", "DEL on the full disk")
        other.close()
        zdb.kill9()
        zdb.start()
        with zdb.client() as c:
            q.same(c.pipeline([("GET", r[1]) for r in written]), [None] * 50 + [r[2] for r in written[50:]], "after kill -9")
        zdb.stop()
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_a_write_error_takes_only_the_writers_with_it():
    """The error comes when the batch is written (here: a limit of the file size): nobody is told that it was stored."""
    zdb = filled()
    data = zdb.data / "default" / "d0"
    reader, writer = zdb.client(), zdb.client()
    limit = data.stat().st_size + 20_000
    resource.prlimit(zdb.p.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    requests = [("SET", f"w{i}", os.urandom(1000)) for i in range(100)]
    answered = 0
    try:
        writer.send_raw(b"".join(q.Redis.encode(*r) for r in requests))
        while answered < len(requests):
            if isinstance(writer.recv(), q.Error):
                break
            answered += 1
    except (ConnectionError, OSError):
        pass
    q.check(answered < 21, f"{answered} SETs of 1000 bytes answered, room was for 20")
    q.same(len(reader.cmd("GET", "fill7")), 500, "a reader goes on")
    with zdb.client() as c:
        got = c.pipeline([("SET", "x", b"y" * 30_000), ("GET", "fill8")])
        q.check(isinstance(got[0], q.Error), f"SET without room: {got[0]}")
        q.same(len(got[1]), 500, "GET behind it")
        q.check(isinstance(c.cmd("SYNC"), q.Error) or c.cmd("GET", "w0") in (None, requests[0][2]), "SYNC")
    resource.prlimit(zdb.p.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with zdb.client() as c:
        q.same(c.cmd("SET", "z", "after"), b"z", "SET when there is room again")
        q.same(c.cmd("SYNC"), "OK", "SYNC when there is room again")
        before = c.pipeline([("GET", r[1]) for r in requests])
        q.same(before[:answered], [r[2] for r in requests[:answered]], "what was answered")
    reader.close()
    zdb.kill9()
    zdb.start()
    with zdb.client() as c:
        q.same(c.pipeline([("GET", r[1]) for r in requests]), before, "after kill -9")
        q.same(c.cmd("GET", "z"), b"after", "after kill -9")


if __name__ == "__main__":
    q.main()

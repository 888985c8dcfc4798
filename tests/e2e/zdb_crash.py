#!/usr/bin/env python3
# limit: 600
"""zdb survives kill -9 and power cuts: after a restart every value that was answered before a SYNC is there and right,
every other key has its old or its new value, and the service is complete again.  See tests/crash/.

There is no rule for filesystems without extended attributes any more, so no test: zdb sets and reads none.

    zdb_crash.py [--seed N] [--states N] [TEST...]     QSFS_LONG=1: ten times as many states

1,050 states take about 50 s on two processors of their own.  QSFS_KEEP=1 keeps those that fail in QSFS_TMP."""
import argparse
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import load    # noqa: E402
import parallel  # noqa: E402
import record  # noqa: E402
import verify  # noqa: E402
import volume  # noqa: E402
import zfiles  # noqa: E402
from verify import q  # noqa: E402

LONG = 10 if os.environ.get("QSFS_LONG") == "1" else 1
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=int(os.environ.get("QSFS_SEED", "1")))
parser.add_argument("--states", type=int, default=1050 * LONG // q.SLOWDOWN)
parser.add_argument("tests", nargs="*")
A = parser.parse_args()
sys.argv[1:] = A.tests
SHM = record.memory_dir("crash")
STATES = {"kill": A.states // 35, "fsync": A.states // 14, "repair": A.states // 14, "parts": max(32, A.states // 10 // 32 * 32)}
STATES["cut"] = A.states - sum(STATES.values())
SETUP_SYNCS = 36    # of files, until the namespaces are there
counted = {}

# name: arguments of zdb, options of the load, of the recording
RUNS = {
    "plain": ((), {}, {"delay_us": 3000, "hooks": True}),
    "sync": (("--sync",), {"sync": 0}, {"always_synced": True, "delay_us": 300}),
    "jumps": ((), {"jump": 0.04, "reload": 0.005}, {"delay_us": 1000, "hooks": True}),
    "seldom": ((), {"sync": 0.004}, {}),
    "secure": (("--secure", "--synctime", "1"), {"jump": 0.02}, {"delay_us": 500}),
    "cleaned": (("--synctime", "1"), {"jump": 0.02, "clean": 0.02}, {"delay_us": 300, "hooks": True}),
    "few-keys": ((), {"keys": 6, "sync": 0.02}, {"delay_us": 2000}),
}


recorded = {}


def record_run(name):
    if name not in recorded:
        args, options, recording = RUNS[name]
        recorded[name] = record.Run(SHM, name, f"{A.seed}/{name}", 2500, args, options, **recording)
    return recorded[name]


# --- states in parallel -------------------------------------------------------------------------------

def tried(work, task):
    try:
        return task, work(task)
    except Exception as e:      # a problem of the test itself also has to be seen
        import traceback
        traceback.print_exc()
        return task, [f"{task}: {type(e).__name__}: {e}"]


def every_state(claim, tasks, work, each=1):
    """work(task) -> problems of `each` states, in two processes; Failure with the first of them."""
    bad, start = [], time.monotonic()
    for task, problems in parallel.results(lambda task: tried(work, task), tasks):
        if problems:
            bad.append((task, problems))
            print("\n    ".join(p[:300] for p in problems[:6]), file=sys.stderr, flush=True)
            if len(bad) >= 12:
                break
    seconds = time.monotonic() - start
    print(f"# {claim}: {len(tasks) * each} states, {seconds:.1f} s, seed {A.seed}", flush=True)
    counted[claim] = len(tasks) * each
    if bad:
        raise q.Failure(f"{len(bad)} states, seed {A.seed}: {'; '.join(bad[0][1][:3])}")


# --- the tests --------------------------------------------------------------------------------------------

def test_power_cut():
    runs = [record_run(name) for name in RUNS]
    per_run = -(-STATES["cut"] // len(runs))
    tasks = [(i, n) for n in range(per_run) for i in range(len(runs))]

    def work(task):
        i, n = task
        return record.try_state(runs[i], f"{A.seed}/{runs[i].name}/{n}", SHM / f"cut-{i}-{n}")

    every_state("power cut", tasks, work)


def test_each_part_reached_the_disk_or_not():
    """Of {data, index, records rewritten in place, names of new files} each reached the disk or not, with zeros or garbage in
    the place of what did not: every combination, as often as the others."""
    runs = [record_run(name) for name in ("jumps", "plain")]
    places = {}     # combination: [(run, position, namespace)]
    for i, run in enumerate(runs):
        moments = {op.pos + 1 for nodes in run.volume.namespaces.values() for node in nodes for op in node.ops if op.part in ("flag", "name")}
        for pos in sorted(moments)[::max(1, len(moments) // 100)]:
            for ns in run.volume.namespaces:
                loose = run.volume.loose(ns, pos)
                for bits in range(16):
                    lost = tuple(p for k, p in enumerate(volume.PARTS) if bits >> k & 1)
                    if set(lost) <= loose and len(loose) >= min(len(lost) + 1, 4):
                        places.setdefault(lost, []).append((i, pos, ns))
    tasks, table, rng = [], [], random.Random(f"{A.seed}/parts")
    for bits in range(16):
        lost = tuple(p for k, p in enumerate(volume.PARTS) if bits >> k & 1)
        found = places.get(lost, [])
        table.append(f"{' + '.join(lost) or 'nothing'}: {len(found)} places")
        q.check(found, f"no moment at which all of {lost} might be lost")
        for fill in ("zeros", "garbage"):
            tasks += [(*rng.choice(found), lost, fill, n) for n in range(STATES["parts"] // 32)]
    print("# lost: " + "; ".join(table) + f"; each {STATES['parts'] // 32} times with zeros and with garbage", flush=True)

    def work(task):
        i, pos, ns, lost, fill, n = task
        name = f"parts-{'-'.join(lost)}-{fill}-{n}"
        return record.try_state(runs[i], f"{A.seed}/{name}", SHM / name, (pos, volume.Chosen(ns, lost, fill)))

    every_state("each part reached or not", tasks, work)


def test_power_cut_after_a_failed_fsync():
    """SYNC may answer with an error; what it answered +OK stays true."""
    runs, rng = [], random.Random(A.seed)
    for n in range(3):
        top = SHM / f"failed-{n}"
        top.mkdir()
        runs.append(record_failing(top, rng.randrange(SETUP_SYNCS + 1, 90)))

    def work(task):
        i, n = task
        return record.try_state(runs[i], f"{A.seed}/fsync-{i}/{n}", SHM / f"fsync-{i}-{n}")

    every_state("failed fsync", [(i, n) for n in range(-(-STATES["fsync"] // 3)) for i in range(3)], work)


def test_a_disk_that_fails_for_good():
    """Every SYNC hears of it; zdb goes on, and neither turns in a circle nor fills the directory with empty segments."""
    here = SHM / "for-good"
    here.mkdir()
    env = dict(record.shim_env(here / "log", here / "data", here / "index", fail=SETUP_SYNCS), CRASH_FSYNC_FAIL_ALL="1")
    z = q.Zdb(dir=here, data=here / "data", index=here / "index", env=env)
    z.start()
    with z.client() as c:
        failed = 0
        for i in range(SETUP_SYNCS):
            c.ok("SET", "k", "value %d" % i)
            failed += isinstance(c.cmd("SYNC"), q.Error)
        q.check(failed > 0, "no SYNC failed")
        q.check(isinstance(c.cmd("SYNC"), q.Error), "SYNC of what is not durable")
        segments, end = len(list((here / "data/default").iterdir())), time.monotonic() + 2.5
        while time.monotonic() < end:
            q.same(c.cmd("GET", "k"), b"value %d" % (SETUP_SYNCS - 1), "GET meanwhile")
        q.check(len(list((here / "data/default").iterdir())) <= segments + 1, "new segments although nothing was written")
    z.stop()
    shutil.rmtree(here)


def test_a_sync_of_a_small_value_is_one_fdatasync():
    """Of the data file that it was written to, and nothing else."""
    here, syncs = SHM / "one", 20
    here.mkdir()
    z = q.Zdb(dir=here, data=here / "data", index=here / "index", env=record.shim_env(here / "log", here / "data", here / "index", helper_us=0))
    z.start()
    with z.client() as c:
        c.ok("NSNEW", "s")
        c.ok("NSSET", "s", "mode", "seq")
        for ns in ("default", "s"):
            c.ok("SELECT", ns)
            for _ in range(10):     # a checkpoint may come in between
                key = c.ok("SET", "" if ns == "s" else "key", "first")
                c.ok("SYNC")
                begun = len(volume.read_log(here / "log"))
                for i in range(syncs):
                    c.ok("SET", key, b"%099d" % i + os.urandom(1))
                    c.ok("SYNC")
                events = volume.read_log(here / "log")
                files = {e.handle: bytes(e.data).decode() for e in events if e.type == "o"}
                done = [(e.flags, files[e.handle]) for e in events[begun:] if e.type == "F"]
                if len(done) == syncs:
                    break
            q.same(done, [(volume.DATA_ONLY, f"{here}/data/{ns}/d0")] * syncs, f"{syncs} times SET and SYNC in {ns}")
    z.stop()
    shutil.rmtree(here)


def test_nothing_waits_for_a_disk_that_hangs():
    """While no fsync goes on, whoever needs one waits by himself, whether one is running already or not: all others are served."""
    steps = (("v", "FLUSH"), ("w", "RELOAD", "w"), (None, "NSDEL", "x"), ("y", "NSJUMP"))
    for running in (True, False):
        here = SHM / f"hangs-{running}"
        here.mkdir()
        gate, log = here / "gate", here / "record"
        env = dict(record.shim_env(log, here / "data", here / "index"), CRASH_FSYNC_GATE=str(gate))
        z = q.Zdb(dir=here, data=here / "data", index=here / "index", env=env)
        z.start()
        with z.client() as c:
            for ns in "vwxy":
                c.ok("NSNEW", ns)
            c.ok("NSSET", "v", "password", "p")
            c.ok("NSSET", "v", "public", "0")
            clients = [z.client(ns, password="p" if ns == "v" else None) if ns else z.client() for ns, *_ in steps]
            sync = [z.client(ns, password="p" if ns == "v" else None) for ns in "vwxy"]
            for one in sync:
                one.ok("SET", "k", "value")
                one.ok("SYNC")
            gate.touch()
            if running:
                begun = sum(e.type == "f" for e in volume.read_log(log))
                for one in sync:
                    one.ok("SET", "k", "newer")
                    one.send("SYNC")
                q.wait_for(lambda: sum(e.type == "f" for e in volume.read_log(log)) >= begun + 2, what="both helpers hang")
            for one, (_, *words) in zip(clients, steps):
                one.send(*words)
            for _ in range(200):
                q.same(c.cmd("PING"), "PONG", "PING meanwhile")
                q.same(clients_get(z, "y"), b"newer" if running else b"value", "GET meanwhile")
            early = [(i, one.recv()) for i, one in enumerate(clients[:1] + sync * running) if select.select([one.s], [], [], 0)[0]]
            q.same(early, [], "answers before their fsync")
            gate.unlink()
            for one, (_, *words) in zip(clients, steps):
                q.same(one.recv(), "OK", " ".join(words))
            for one, ns in zip(sync, "vwxy"):
                if running and ns != "x":
                    q.same(one.recv(), "OK", f"SYNC in {ns}")
            q.same(clients_get(z, "v", "p"), None, "GET after FLUSH")
            q.same(clients_get(z, "w"), b"newer" if running else b"value", "GET after RELOAD")
            for one in clients + sync:
                one.close()
        z.stop()
        shutil.rmtree(here)


def clients_get(z, ns, password=None):
    with z.client(ns, password=password) as c:
        return c.cmd("GET", "k")


def record_failing(top, which):
    args, options, recording = RUNS["few-keys"]
    run = record.Run(top, f"fsync-{which}-fails", f"{A.seed}/fsync", 1500, args, dict(options, may_fail=True), fail=which,
                     **recording)
    q.check(any(e.type == "F" and e.flags & record.volume.FAILED for e in run.events), f"there was no fsync number {which}")
    return run


def test_power_cut_during_the_repair():
    runs = [record_run(name) for name in ("plain", "jumps")]

    def work(task):
        i, n = task
        where = SHM / f"repair-{i}-{n}"
        r = record.Recovery(runs[i], f"{A.seed}/repair/{n}", where)
        problems = []
        for k in range(3):
            problems += r.try_state(f"{A.seed}/repair/{n}/{k}", where / "state")
        shutil.rmtree(where)
        return problems

    tasks = [(n % 2, n) for n in range(-(-STATES["repair"] // 3))]
    every_state("cut during repair", tasks, work, 3)


def evict(here, rng):
    """Move some sealed data files to where the hook finds them."""
    names = [str(p.relative_to(here)) for p in (here / "data").glob("*/d*")]
    for p in record.evictable(names):
        mark = here / "index" / p.split("/")[1] / "zdb-watermark"
        if rng.random() < 0.2 and mark.exists() and record.is_closed(p, mark.read_bytes()):
            to = here / "remote" / p.removeprefix("data/")
            to.parent.mkdir(parents=True, exist_ok=True)
            (here / p).rename(to)


def test_kill_9():
    """At random moments of the load; the files are used on, some sealed ones are evicted; begun anew now and then."""

    def work(task):
        rng = random.Random(f"{A.seed}/kill/{task}")
        here = SHM / f"kill-{task}"
        here.mkdir()
        args, env = record.hook(here)
        z = q.Zdb("--datasize", verify.DATASIZE, *args, dir=here, data=here / "data", index=here / "index", env=env)
        history = load.History(load.NAMESPACES | load.BRIEF)
        problems = []
        for cycle in range(per_task):
            z.start()
            with z.client() as c:
                load.prepare(c, history)
            end = time.monotonic() + rng.uniform(0.01, 0.35)
            load.run(("127.0.0.1", z.port), history, rng.random(), 1 << 30, {"jump": 0.01},
                     stop=lambda: time.monotonic() > end and not z.p.send_signal(signal.SIGKILL))
            q.same(z.wait(), -signal.SIGKILL, "exit code")
            evict(here, rng)
            more, seen = verify.state(verify.Server(here, *args, env=env), load.allowed_after_kill(history), history.orphans, rng,
                                      deep=False)
            if more:
                problems += [f"kill {cycle} of {task}"] + more
                break
            history.restart(seen)
        shutil.rmtree(here)
        return problems

    tasks = list(range(max(2, STATES["kill"] // 6)))
    per_task = 6
    every_state("kill -9", tasks, work, per_task)


class Original:
    """Writes to the files of a namespace as the original does: appends to the newest data and index file, rewrites in place at once.
    It goes on behind whatever it finds at their ends."""

    def __init__(self, here, ns, mode):
        self.index, self.data, self.seq = here / "index" / ns, here / "data" / ns, mode == "seq"
        self.n = max(int(p.name[1:]) for p in self.data.iterdir() if p.name[1:].isdigit())
        self.where, self.ids, self.last = {}, 0, 0
        for n in range(self.n + 1):
            for r in zfiles.index_records((self.index / f"i{n}").read_bytes(), n):
                self.last = r.at
                if self.seq:
                    if int.from_bytes(r.key, "little") == self.ids:
                        self.where[r.key] = (n, r.at)
                    self.ids += 1
                elif r.deleted:
                    self.where.pop(r.key, None)
                else:
                    self.where[r.key] = (n, r.at)
        self.last_data, at, raw = 0, zfiles.DATA_HEADER, (self.data / f"d{self.n}").read_bytes()
        while (r := zfiles.data_record(raw, self.n, at)) is not None:    # header by header, as it does
            self.last_data, at = at, r.end

    def append(self, path, record):
        with open(path, "ab") as f:
            at = f.tell()
            f.write(record)
        return at

    def patch(self, place, at, raw):
        with open(self.index / f"i{place[0]}", "r+b") as f:
            f.seek(place[1] + at)
            f.write(raw)

    def add_data(self, key, value, flags=0):
        head = zfiles.DATA_FIXED.pack(len(key), len(value), self.last_data, zfiles.crc(value), flags, 1700000000)
        self.last_data = self.append(self.data / f"d{self.n}", head + key + value)
        return self.last_data

    def add_index(self, key, off, value, flags=0, dataid=0, parent=(0, 0)):
        head = zfiles.INDEX_FIXED.pack(len(key), off, len(value), self.last, flags, dataid, 1700000000, zfiles.crc(value), *parent)
        self.last = self.append(self.index / f"i{self.n}", head + key)
        return self.n, self.last

    def set(self, key, value):
        if self.seq and key is None:
            key = self.ids.to_bytes(8, "little")
            self.where[key] = self.add_index(key, self.add_data(key, value), value, dataid=self.n)
            self.ids += 1
        elif self.seq:
            off, place = self.add_data(key, value), self.where[key]
            with open(self.index / f"i{place[0]}", "rb") as f:
                f.seek(place[1])
                old = bytearray(f.read(42))
            old[9:13], old[13] = struct.pack("<I", self.last), 1
            self.last = self.append(self.index / f"i{self.n}", bytes(old))
            self.ids += 1
            self.patch(place, 1, struct.pack("<II", off, len(value)))
            self.patch(place, 13, struct.pack("<BIIIII", 0, self.n, 1700000000, zfiles.crc(value), self.n, self.last))
        else:
            off, place = self.add_data(key, value), self.where.get(key)
            if place:
                self.patch(place, 13, b"\1")
            self.where[key] = self.add_index(key, off, value, dataid=self.n if place else 0, parent=place or (0, 0))
        return key

    def delete(self, key):
        self.add_data(key, b"", 1)
        self.patch(self.where[key], 13, b"\1")
        if not self.seq:
            del self.where[key]

    def killed(self, rng, key):
        """In the middle of a SET: a part of the data record, or all of it and no index record."""
        value = rng.randbytes(rng.randrange(1, 400))
        head = zfiles.DATA_FIXED.pack(len(key), len(value), self.last_data, zfiles.crc(value), 0, 1700000000)
        whole = head + key + value
        at = self.append(self.data / f"d{self.n}", whole[:rng.choice((len(whole), rng.randrange(1, len(whole))))])
        if self.data.joinpath(f"d{self.n}").stat().st_size >= at + len(head) + len(key):
            self.last_data = at     # it reads no more than the header when it starts again


def test_ours_the_original_ours():
    """Killed or stopped, then written to by the original, which is killed now and then (in sequential mode only where ours was
    stopped): nothing of either side is missing."""

    def work(task):
        rng = random.Random(f"{A.seed}/mixed/{task}")
        mode, problems = rng.choice(("user", "seq")), []
        here = SHM / f"mixed-{task}"
        here.mkdir()
        server, now = verify.Server(here), {}
        for cycle in range(4):
            server.start()
            with server.client() as c:
                if cycle == 0:
                    c.ok("NSNEW", "v")
                    c.ok("NSSET", "v", "mode", mode)
                seen = verify.look(c, "v", now, problems)
                bad = [verify.short(k) for k in sorted(set(now) | set(seen)) if now.get(k) != seen.get(k) and
                       (k not in maybe or seen.get(k) not in maybe[k])] if cycle else []
                if bad:
                    problems.append(f"{mode}, cycle {cycle}: {len(bad)} of {len(now)} keys are wrong: {bad[:4]}")
                now = seen
                c.ok("SELECT", "v")
                for i in range(rng.randrange(40)):
                    kind, keys = rng.random(), sorted(now)
                    value = b"ours %d.%d " % (cycle, i) + rng.randbytes(rng.randrange(300))
                    if kind < 0.2 and keys:
                        key = rng.choice(keys)
                        c.ok("DEL", key)
                        del now[key]
                    elif kind < 0.25:
                        c.ok("NSJUMP")
                    elif kind < 0.6 and keys:
                        key = rng.choice(keys)
                        c.ok("SET", key, value)
                        now[key] = value
                    else:
                        now[c.ok("SET", b"" if mode == "seq" else b"k%d.%d" % (cycle, i), value)] = value
                if rng.random() < 0.5:
                    c.ok("SYNC")
            end = rng.choice((signal.SIGTERM, signal.SIGKILL))
            server.stop(end)
            maybe = {}
            if rng.random() < 0.8:
                o = Original(here, "v", mode)
                # it does not know what a killed zdb had not flagged yet: it goes by its own index
                for i in range(rng.randrange(1, 20)):
                    kind, keys = rng.random(), sorted(k for k in now if k in o.where)
                    value = b"original %d.%d " % (cycle, i) + rng.randbytes(rng.randrange(300))
                    if kind < 0.2 and keys:
                        key = rng.choice(keys)
                        o.delete(key)
                        del now[key]
                    elif kind < 0.5 and keys:
                        key = rng.choice(keys)
                        o.set(key, value)
                        now[key] = value
                    elif kind < 0.85 or (mode == "seq" and end == signal.SIGKILL):
                        now[o.set(None if mode == "seq" else b"o%d.%d" % (cycle, i), value)] = value
                    else:
                        new = o.ids.to_bytes(8, "little") if mode == "seq" else b"torn%d.%d" % (cycle, i)
                        before = o.data.joinpath(f"d{o.n}").read_bytes()
                        o.killed(rng, new)
                        r = zfiles.data_record(o.data.joinpath(f"d{o.n}").read_bytes(), o.n, len(before))
                        if r is not None:
                            maybe.setdefault(new, {None}).update((bytes(o.data.joinpath(f"d{o.n}").read_bytes()[r.payload_at:r.end]), now.get(new)))
                        o = Original(here, "v", mode) if rng.random() < 0.5 else o
        server.start()
        with server.client() as c:
            seen = verify.look(c, "v", now, problems)
        bad = [verify.short(k) for k in sorted(set(now) | set(seen)) if now.get(k) != seen.get(k) and
               (k not in maybe or seen.get(k) not in maybe[k])]
        if bad:
            problems.append(f"{mode}, at the end: {len(bad)} of {len(now)} keys are wrong: {bad[:4]}")
        server.stop(signal.SIGTERM)
        if problems:
            with open(server.log, errors="replace") as log:
                problems.append(" | ".join(line.strip()[-160:] for line in log if " WARN " in line or " ERROR " in line)[-900:])
            problems.insert(0, f"mixed {task}")
        shutil.rmtree(here)
        return problems

    every_state("ours, the original, ours", list(range(max(10, A.states // 80))), work, 4)


class Steps:
    """One client, one request after the other, recorded; what namespace v has after each."""

    def __init__(self, top, mode, seed):
        rng, self.name = random.Random(seed), f"steps {mode}"
        data, index, log = top / "data", top / "index", top / "record"
        for d in (data, index):
            d.mkdir(parents=True, mode=0o700)
        args, env = record.hook(top) if rng.random() < 0.5 else ((), {})
        env = env | record.shim_env(log, data, index, delay_us=rng.choice((0, 4000)))
        z = q.Zdb("--datasize", verify.DATASIZE, *args, dir=top, data=data, index=index, env=env)
        z.start()
        self.s = socket.create_connection(("127.0.0.1", z.port))
        self.port, self.sent, self.received, self.ops, now = self.s.getsockname()[1], 0, 0, [(0, 0, None, True)], None
        self.do("SELECT", "default")
        for i in range(160):
            kind = rng.random()
            if now is None:
                self.do("NSNEW", "v")
                now = {}
                self.done(now, True)
                if mode == "seq":
                    self.do("NSSET", "v", "mode", "seq")
                self.do("NSSET", "v", "password", "p")
                self.do("NSSET", "v", "public", "0")
                self.do("SELECT", "v", "p")
            elif kind < 0.05:
                self.do("FLUSH")
                now = {}
                self.done(now, True)
            elif kind < 0.08:
                self.do("SELECT", "default")
                self.do("NSDEL", "v")
                now = None
                self.done(now, True)
            elif kind < 0.16:
                self.do("SYNC")
                self.done(now, True)
            elif kind < 0.20:
                self.do("NSJUMP")
            elif kind < 0.22:
                self.do("RELOAD", "v")
            elif kind < 0.34 and now:
                key = rng.choice(sorted(now))
                self.do("DEL", key)
                now = {k: v for k, v in now.items() if k != key}
                self.done(now, False)
            else:
                value = b"%d " % i + rng.randbytes(rng.choice((10, 300, 9000)))
                key = rng.choice(sorted(now)) if now and rng.random() < 0.5 else b"" if mode == "seq" else b"k%d" % i
                now = {**now, self.do("SET", key, value): value}
                self.done(now, False)
        z.stop()
        events = volume.read_log(log)
        self.events, self.volume = events, volume.Volume(events, {"data": str(data), "index": str(index)})
        streams = volume.Streams(events)
        self.ops = [(streams.position("r", self.port, b) if b else -1, streams.position("s", self.port, e) if e else -1, state, durable)
                    for b, e, state, durable in self.ops]
        self.writes = [i + 1 for i, e in enumerate(events) if e.type in "wtxonumfF" and i >= self.ops[0][0]]
        shutil.rmtree(top)

    def do(self, *args):
        args = [a if isinstance(a, bytes) else a.encode() for a in args]
        out = b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)
        self.begin = self.sent + 1
        self.sent += len(out)
        self.s.sendall(out)
        reply = b""
        while not reply.endswith(b"\r\n") or (reply[:1] == b"$" and len(reply) < reply.index(b"\r\n") + 4 + int(reply[1:reply.index(b"\r\n")])):
            reply += self.s.recv(65536)
        q.check(reply[:1] != b"-", f"{args[:2]}: {reply!r}")
        self.received += len(reply)
        return reply[reply.index(b"\r\n") + 2:-2] if reply[:1] == b"$" else reply

    def done(self, state, durable):
        self.ops.append((self.begin, self.received, state, durable))

    def try_state(self, seed, where):
        rng = random.Random(seed)
        where.mkdir()
        pos, kind = rng.choice(self.writes), rng.choice(volume.KINDS)
        volume.write_tree(self.volume.cut(pos, kind, rng), where)
        first = max(i for i, (_, end, _, durable) in enumerate(self.ops) if durable and end < pos)
        allowed = [state for i, (begin, _, state, _) in enumerate(self.ops) if i >= first and begin < pos]
        server, problems, seen = verify.Server(where), [], []
        try:
            for n in range(3):
                server.start()
                with server.client() as c:
                    here = b"v" in c.ok("NSLIST")
                    now = verify.look(c, "v", [], problems) if here else None
                    if n == 0 and now not in allowed:
                        problems.append(f"{len(now) if now is not None else None} keys, allowed: "
                                        f"{[len(a) if a is not None else None for a in allowed]}; {sorted(now or ())[:3]}, last {sorted(allowed[-1] or ())[:3]}")
                    if n > 0 and now != seen:
                        problems.append(f"start {n + 1} shows something else")
                    if now is not None and n == 1:
                        c.ok("SELECT", "v")
                        now = {**now, c.ok("SET", b"" if c.info("v")["mode"] == "sequential" else b"after", b"x"): b"x"}
                    seen = now
                server.stop(rng.choice((signal.SIGKILL, signal.SIGTERM)))
        except (verify.Refused, q.Failure, OSError) as e:
            problems.append(str(e))
        if problems:
            with open(server.log, errors="replace") as log:
                problems.append(" | ".join(line.strip()[-140:] for line in log if " WARN " in line or " ERROR " in line)[:700])
            problems.insert(0, f"{self.name}, position {pos} of {len(self.events)}, {kind} (state {seed})")
        server.stop(signal.SIGKILL)
        shutil.rmtree(where)
        return problems


def test_steps_at_every_moment():
    """FLUSH, NSDEL and NSNEW, jumps and reloads among writes: after a power cut a namespace is what it was after one of the requests
    since the last that was answered as durable, and none of an older one with its name is ever seen."""
    runs = [Steps(SHM / f"steps-{i}", mode, f"{A.seed}/steps/{i}") for i, mode in enumerate(("user", "seq", "user", "seq"))]

    def work(task):
        i, n = task
        return runs[i].try_state(f"{A.seed}/steps/{i}/{n}", SHM / f"step-{i}-{n}")

    every_state("steps", [(n % 4, n) for n in range(max(20, A.states // 20))], work)


def test_number_of_states():
    total = sum(counted.values())
    print(f"# {total} crash states: {counted}, seed {A.seed}", flush=True)
    if not A.tests:
        q.check(total >= A.states, f"only {total} states were tried, not {A.states}")


if __name__ == "__main__":
    print(f"# seed {A.seed}, {A.states} states", flush=True)
    os.chmod(SHM, 0o700)
    try:
        q.main()
    finally:
        shutil.rmtree(SHM, ignore_errors=True)

"""record - run zdb under the shim and a load, and make crash states of what was recorded."""
import os
import pathlib
import random
import shutil
import signal
import tempfile

import load
import verify
import volume
from verify import q

WARN = ("-Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wformat=2 "
        "-Wundef -Werror").split()
SHIM_SOURCE = pathlib.Path(__file__).with_name("shim.c")


def build_shim():
    so = q.TMP / "shim.so"
    if not so.exists():
        q.run(os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-pthread", "-D_GNU_SOURCE", *WARN,
              "-o", so, SHIM_SOURCE, "-ldl", check_exit=0)
    return so


def memory_dir(prefix):
    """A directory in memory where there is room, as states are written by the thousand."""
    shm = "/dev/shm"
    use = os.path.isdir(shm) and os.access(shm, os.W_OK) and os.statvfs(shm).f_bavail * os.statvfs(shm).f_frsize > 1 << 28
    return pathlib.Path(tempfile.mkdtemp(prefix=f"qsfs-{prefix}.", dir=shm if use else q.TMP))


def shim_env(log, *roots, delay_us=0, fail=0):
    env = {"LD_PRELOAD": build_shim(), "CRASH_LOG": log, "CRASH_ROOTS": ":".join(map(str, roots)),
           "CRASH_FSYNC_DELAY_US": delay_us, "CRASH_FSYNC_FAIL": fail}
    if q.SLOWDOWN > 1:
        env["ASAN_OPTIONS"] = q.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
    return env


class Run:
    """One recorded run: .volume, .cut (load.PowerCut), .positions that are worth a cut."""

    def __init__(self, top, name, seed, requests, args=(), options=None, delay_us=0, fail=0, always_synced=False, hook=None,
                 end=signal.SIGTERM):
        self.name, self.dir = name, pathlib.Path(top) / f"run-{name}"
        data, index, log = self.dir / "data", self.dir / "index", self.dir / "record"
        for d in (data, index):
            d.mkdir(parents=True, mode=0o700)
        if hook:
            args = [*args, "--hook", hook]
        z = q.Zdb("--datasize", verify.DATASIZE, *args, dir=self.dir, data=data, index=index,
                  env=shim_env(log, data, index, delay_us=delay_us, fail=fail))
        z.start()
        self.history = load.History()
        with z.client() as c:
            load.prepare(c, self.history)
        if not load.run(("127.0.0.1", z.port), self.history, seed, requests, options):
            raise q.Failure(f"{name}: the server went away: {z.tail()}")
        code = z.stop(end)
        q.same(code, 128 + signal.SIGTERM if end == signal.SIGTERM else -end, f"{name}: exit code")
        self.events = volume.read_log(log)
        roots = {"data": str(data), "index": str(index)}
        self.volume = volume.Volume(self.events, roots)
        want = volume.read_tree(data, "data") | volume.read_tree(index, "index")
        got = self.volume.end()
        if got != want:
            bad = [p for p in sorted(set(got) | set(want)) if got.get(p, 0) != want.get(p, 0)]
            raise volume.BadRecord(f"{name}: the record does not give the files that are there: {bad[:5]}")
        self.cut = load.PowerCut(self.history, volume.Streams(self.events), always_synced)
        self.writes = [i + 1 for i, e in enumerate(self.events) if e.type in "wtxonum"]
        self.after_sync = [p + 1 for p in self.cut.ack_positions() if p < len(self.events)]
        shutil.rmtree(data)
        shutil.rmtree(index)

    def choose(self, rng):
        """(position, kind) of a cut; often soon after an answered SYNC, when most has to be there."""
        kind = rng.choice(volume.KINDS)
        if self.after_sync and rng.random() < 0.35:
            pos = rng.choice(self.after_sync) + rng.choice((0, 0, 1, rng.randrange(40)))
            return min(pos, len(self.events)), kind
        return rng.choice(self.writes), kind


def make_state(run, rng, where):
    """Write a state below `where`; what it is, for people."""
    pos, kind = run.choose(rng)
    tree = run.volume.cut(pos, kind, rng)
    volume.write_tree(tree, where)
    return pos, f"{run.name}, position {pos} of {len(run.events)}, {kind}"


def try_state(run, seed, where, keep=None):
    """Problems of one state (list of texts), the first of which says which state it is."""
    rng = random.Random(seed)
    where = pathlib.Path(where)
    where.mkdir()
    pos, text = make_state(run, rng, where)
    if keep:
        shutil.copytree(where, keep)
    server = verify.Server(where)
    allowed = run.cut.allowed(pos)
    problems, _ = verify.state(server, allowed, {}, rng)
    if problems:
        problems = [f"{text} (state {seed})", *problems]
        if not keep and os.environ.get("QSFS_KEEP"):
            kept = q.TMP / f"failed-{run.name}-{str(seed).replace('/', '-')}"
            kept.mkdir()
            shutil.copy(server.log, kept / "log")
            volume.write_tree(run.volume.cut(*_again(run, seed)), kept)
    shutil.rmtree(where)
    return problems


def _again(run, seed):
    rng = random.Random(seed)
    pos, kind = run.choose(rng)
    return pos, kind, rng


class Recovery:
    """A start on a crash state, recorded as well: what a second power cut during or after the repair may leave."""

    def __init__(self, run, seed, where):
        rng = random.Random(seed)
        base, here = pathlib.Path(where) / "base", pathlib.Path(where) / "here"
        base.mkdir(parents=True)
        pos, text = make_state(run, rng, base)
        shutil.copytree(base, here)
        log = pathlib.Path(where) / "record"
        server = verify.Server(here, env=shim_env(log, here / "data", here / "index"))
        server.start()
        with server.client() as c:
            self.seen = {}
            for ns in sorted(n.decode() for n in c.ok("NSLIST")):
                self.seen[ns] = verify.look(c, ns, [], [])
        self.code = server.stop(rng.choice((signal.SIGTERM, signal.SIGKILL)))
        self.events = volume.read_log(log)
        roots = {"data": str(here / "data"), "index": str(here / "index")}
        self.volume = volume.Volume(self.events, roots, {"data": base / "data", "index": base / "index"})
        want = volume.read_tree(here / "data", "data") | volume.read_tree(here / "index", "index")
        if self.volume.end() != want:
            raise volume.BadRecord(f"{text}: the record of the repair does not give the files that are there")
        self.name, self.seed, self.pos = f"repair of {text}", seed, pos
        self.cut = run.cut
        self.writes = [i + 1 for i, e in enumerate(self.events) if e.type in "wtxonum"] or [len(self.events)]
        shutil.rmtree(base)
        shutil.rmtree(here)

    def try_state(self, seed, where):
        rng = random.Random(seed)
        pos, kind = rng.choice(self.writes), rng.choice(volume.KINDS)
        where = pathlib.Path(where)
        where.mkdir()
        volume.write_tree(self.volume.cut(pos, kind, rng), where)
        problems, _ = verify.state(verify.Server(where), self.cut.allowed(self.pos), {}, rng)
        shutil.rmtree(where)
        if problems:
            problems = [f"{self.name}, then position {pos} of {len(self.events)}, {kind} (state {seed})", *problems]
        return problems

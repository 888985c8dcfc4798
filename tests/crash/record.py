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
import zfiles
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


HOOK = """#!/bin/sh
# Writes down how it was called; brings missing data back from $REMOTE.
echo "$@" >>"$HOOK_LOG"
[ "$1" = missing-data ] || exit 0
file=${3##*/} dir=${3%/*}
cp "$REMOTE/${dir##*/}/$file" "$dir/.$file.new" && mv "$dir/.$file.new" "$3"
"""


def hook(here):
    """(arguments of zdb, environment): the hook above, with its files below `here`."""
    path = pathlib.Path(here) / "hook"
    if not path.exists():
        path.write_text(HOOK)
        path.chmod(0o755)
    return ("--hook", path), {"HOOK_LOG": f"{here}/hook.log", "REMOTE": f"{here}/remote"}


def evictable(paths):
    """Of the data files those that are sealed: not the newest of their namespace."""
    newest = {}
    for p in paths:
        d, name = os.path.split(p)
        if name[:1] == "d" and name[1:].isdigit():
            newest[d] = max(newest.get(d, 0), int(name[1:]))
    return [p for p in paths if (d := os.path.split(p))[0] in newest and d[1][1:].isdigit() and int(d[1][1:]) < newest[d[0]]]


def is_closed(path, watermark):
    """The watermark of its namespace has passed this data file: it is durable with all that follows from it.  Hooks hear of a
    closed segment no earlier than that, so nobody takes it away before."""
    w = zfiles.watermark(watermark)
    return w is not None and not w.flags & zfiles.FLUSHING and int(os.path.basename(path)[1:]) < w.segment


def shim_env(log, *roots, delay_us=0, fail=0, helper_us=1000):
    env = {"LD_PRELOAD": build_shim(), "CRASH_LOG": log, "CRASH_ROOTS": ":".join(map(str, roots)),
           "CRASH_FSYNC_DELAY_US": delay_us, "CRASH_FSYNC_FAIL": fail, "CRASH_HELPER_DELAY_US": helper_us}
    if q.SLOWDOWN > 1:
        env["ASAN_OPTIONS"] = q.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
    return env


class Run:
    """One recorded run: .volume, .cut (load.PowerCut), .positions that are worth a cut."""

    def __init__(self, top, name, seed, requests, args=(), options=None, delay_us=0, fail=0, always_synced=False, hooks=False,
                 end=signal.SIGTERM):
        self.name, self.dir = name, pathlib.Path(top) / f"run-{name}"
        data, index, log = self.dir / "data", self.dir / "index", self.dir / "record"
        for d in (data, index):
            d.mkdir(parents=True, mode=0o700)
        env = shim_env(log, data, index, delay_us=delay_us, fail=fail)
        if hooks:
            more, hook_env = hook(self.dir)
            args, env = [*args, *more], env | hook_env
        z = q.Zdb("--datasize", verify.DATASIZE, *args, dir=self.dir, data=data, index=index, env=env)
        z.start()
        brief = {} if (options or {}).get("may_fail") else load.BRIEF
        self.history = load.History(load.NAMESPACES | brief)
        with z.client() as c:
            load.prepare(c, self.history, options)
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


def make_state(run, rng, where, evict=True, cut=None):
    """Write a state below `where`.  Its position; what it is, for people; how to start zdb on it.  Now and then data files
    that are sealed and durable have been evicted."""
    pos, kind = cut or run.choose(rng)
    tree = run.volume.cut(pos, kind, rng)
    text = f"{run.name}, position {pos} of {len(run.events)}, {kind}"
    args, env = (), {}
    sealed = [p for p in evictable([p for p in tree if p.startswith("data/")]) if tree[p].settled and
              is_closed(p, tree.get(f"index/{p.split('/')[1]}/zdb-watermark", b""))]
    if evict and sealed and rng.random() < 0.15:
        args, env = hook(where)
        gone = rng.sample(sealed, rng.randrange(1, len(sealed) + 1))
        text += f", evicted {' '.join(sorted(gone))}"
        for p in gone:
            os.makedirs(where / "remote" / p.split("/")[1], exist_ok=True)
            (where / "remote" / p.removeprefix("data/")).write_bytes(tree.pop(p))
    volume.write_tree(tree, where)
    return pos, text, args, env


def try_state(run, seed, where, cut=None):
    """Problems of one state (list of texts), the first of which says which state it is.  With QSFS_KEEP=1 the files of a
    state that fails are kept in QSFS_TMP, with the log of zdb."""
    rng = random.Random(seed)
    where = pathlib.Path(where)
    where.mkdir()
    pos, text, args, env = make_state(run, rng, where, cut=cut)
    server = verify.Server(where, *args, env=env)
    allowed = run.cut.allowed(pos)
    problems, _ = verify.state(server, allowed, {}, rng)
    if problems:
        with open(server.log, errors="replace") as log: # of both starts, the first one first
            said = [line.strip()[-150:] for line in log if "history ends" in line or " ERROR " in line]
        problems = [f"{text} (state {seed})", *problems[:4], f"log: {' | '.join(said[:3])}", *problems[4:]]
        if os.environ.get("QSFS_KEEP"):
            kept = q.TMP / f"failed-{run.name}-{str(seed).replace('/', '-')}"
            kept.mkdir(parents=True, exist_ok=True)
            make_state(run, random.Random(seed), kept, cut=cut)
            shutil.copy(server.log, kept / "log")
    shutil.rmtree(where)
    return problems


class Recovery:
    """A start on a crash state, recorded as well: what a second power cut during or after the repair may leave."""

    def __init__(self, run, seed, where):
        rng = random.Random(seed)
        base, here = pathlib.Path(where) / "base", pathlib.Path(where) / "here"
        base.mkdir(parents=True)
        pos, text, _, _ = make_state(run, rng, base, evict=False) # what the hook brings back would not be recorded
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

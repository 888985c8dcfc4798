#!/usr/bin/env python3
# limit: 900
"""Points: everything up to a point is a whole volume by itself.  From copies of the segments alone, cut anywhere behind a
point, without journal, index files and watermark: the volume of that point, exactly, and nothing that is left over."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import stat
import time

import libqsfs as q
from libzdbfs import Writer, broken

SEED = int(os.environ.get("QSFS_SEED", 0)) or int.from_bytes(os.urandom(4), "little")
LONG = bool(os.environ.get("QSFS_LONG"))
CUTS = 500 if LONG else 8
print(f"# seed {SEED}: QSFS_SEED={SEED} repeats this run", flush=True)


def points(source):
    p = q.run(q.BIN / "zdbfs", "--points", "--json", "-o", f"unix={source.socket}", check_exit=0)
    return json.loads(p.stdout)["points"]


def ask(mount):
    p = q.run(q.BIN / "zdbfs", "--point", mount.path, check_exit=0)
    return int(p.stdout.split()[1])


def segments(d, ns):
    return sorted(int(n[1:]) for n in os.listdir(d / "data" / ns) if n[1:].isdigit())


def volume_of(source, point, copy=None):
    """A zdb with what belongs to the point."""
    source, d = pathlib.Path(copy or source.dir), q.tmpdir("point")
    for ns, last in (("zdbfs-data", point["data"]), ("zdbfs-meta", point["meta"])):
        for kind in ("data", "index"):
            (d / kind / ns).mkdir(parents=True)
        shutil.copy(source / "index" / ns / "zdb-namespace", d / "index" / ns)
        for n in range(last + 1):
            shutil.copy(source / "data" / ns / f"d{n}", d / "data" / ns)
    return q.start_zdb(unix=True, mode="seq", dir=d)


def check(zdb):
    p = q.run(q.BIN / "zdbfs", "--check", f"{zdb.socket}", timeout=120)
    q.same(p.returncode, 0, f"check: {p.stdout.decode()} {p.stderr.decode()}")
    q.check(b"unused keys: 0 meta, 0 data" in p.stdout, f"something is left over: {p.stdout.decode()}")


def picture(root):
    out = {}
    for base, dirs, names in os.walk(root):
        for name in dirs + names:
            path = os.path.join(base, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else ""
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what = hashlib.sha256(f.read()).hexdigest()
            out[os.path.relpath(path, root)] = (st.st_mode, st.st_nlink, st.st_size, st.st_mtime_ns, what)
    return out


def same_picture(root, want, what):
    got = picture(root)
    differ = [f"{k}: {got.get(k)}, want {want.get(k)}" for k in sorted(got.keys() | want.keys()) if got.get(k) != want.get(k)]
    q.check(not differ, f"{what}: {len(differ)} differ: {'; '.join(differ[:3])}")


def change(r, root, n):
    """One thing that programs do."""
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    dirs = [root] + [p for p in root.rglob("*") if p.is_dir()]
    f = r.choice(files) if files else None
    what = r.choice(("write", "write", "over", "append", "cut", "remove", "move", "link", "symlink", "dir", "mode"))
    if what == "write" or not f:
        (r.choice(dirs) / f"f{n}").write_bytes(r.randbytes(r.choice((0, 10, 5000, 131072, 300000))))
    elif what == "over":
        with open(f, "r+b") as h:
            h.seek(r.randrange(max(1, f.stat().st_size)))
            h.write(r.randbytes(3000))
    elif what == "append":
        with open(f, "ab") as h:
            h.write(r.randbytes(r.choice((10, 140000))))
    elif what == "cut":
        if f.stat().st_size:               # the kernel keeps its own mtime when the size stays
            os.truncate(f, f.stat().st_size // 2)
    elif what == "remove":
        f.unlink()
    elif what == "move":
        os.rename(f, r.choice(dirs) / f"m{n}")
    elif what == "link":
        os.link(f, r.choice(dirs) / f"l{n}")
    elif what == "symlink":
        os.symlink(f"to{n}", r.choice(dirs) / f"s{n}")
    elif what == "dir":
        (r.choice(dirs) / f"d{n}").mkdir()
    elif what == "mode":
        f.chmod(r.choice((0o600, 0o644, 0o400)))


def test_point_is_made_when_asked_and_only_after_a_change():
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,point=0")
    q.same(points(zdb), [])
    (mount.path / "a").write_bytes(b"a" * 200000)
    first = ask(mount)
    q.same(ask(mount), first, "nothing has changed since")
    (mount.path / "b").write_bytes(b"b")
    q.same(ask(mount), first + 1)
    got = points(zdb)
    q.same([p["number"] for p in got], [first + 1, first])
    q.check(got[0]["meta"] > got[1]["meta"] and got[0]["data"] > got[1]["data"], f"segments: {got}")
    (mount.path / "b").chmod(0o600)                       # no data
    q.same(ask(mount), first + 2)
    q.same(points(zdb)[0]["data"], got[0]["data"], "data that has not changed is not jumped")
    q.same(mount.stop(), 0)
    q.same(len(points(zdb)), 3, "an unmount without a change makes none")
    mount.start()
    (mount.path / "c").write_bytes(b"c")
    q.same(mount.stop(), 0)
    q.same(points(zdb)[0]["number"], first + 3, "an unmount makes one")
    p = q.run(q.BIN / "zdbfs", "--points", zdb.socket, check_exit=0)
    q.same(len(p.stdout.splitlines()), 4)
    check(zdb)


def test_points_are_made_after_a_while():
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,point=1")
    (mount.path / "a").write_bytes(b"a")
    q.wait_for(lambda: points(zdb), 30, "a point")
    n = len(points(zdb))
    (mount.path / "b").write_bytes(b"b")
    q.wait_for(lambda: len(points(zdb)) > n, 30, "another point")


def test_point_refused_by_zdb():
    zdb = q.start_zdb("--admin", "secret", unix=True, mode="seq")
    with zdb.client() as c:
        c.ok("AUTH", "secret")
        for ns in ("zdbfs-meta", "zdbfs-data", "zdbfs-temp"):
            c.ok("NSNEW", ns)
    mount = q.mount_zdbfs(zdb, opts="point=0")
    (mount.path / "a").write_bytes(b"a")
    p = q.run(q.BIN / "zdbfs", "--point", mount.path)
    q.check(p.returncode == 1 and b"NSJUMP needs an admin" in p.stderr, f"{p.returncode} {p.stderr}")
    q.same(points(zdb), [])
    q.same(mount.stop(), 0)


def test_volume_of_every_point():
    r = random.Random(f"{SEED} every")
    zdb = q.start_zdb(unix=True, mode="seq", datasize=1 << 20)
    mount = q.mount_zdbfs(zdb, opts="autons,point=0")
    pictures, n, held = {}, 0, []
    for _ in range(20 if LONG else 6):
        for _ in range(r.randrange(5, 40)):
            change(r, mount.path, n := n + 1)
        if r.random() < 0.6:               # a file that is open, but has no name
            held.append(os.open(mount.path / "held", os.O_RDWR | os.O_CREAT))
            os.write(held[-1], r.randbytes(200000))
            os.unlink(mount.path / "held")
        pictures[ask(mount)] = picture(mount.path)
    for _ in range(30):
        change(r, mount.path, n := n + 1)
    os.sync()
    if r.random() < 0.5:
        for fd in held:
            os.close(fd)
    mount.kill9()
    zdb.kill9()
    listed, copy = None, pathlib.Path(zdb.dir)
    for cut in range(CUTS):
        # the copies end at different segments: the newest point that is whole
        if listed is None:
            listed = sorted(pictures)
            d = q.tmpdir("list")
            shutil.copytree(copy, d, dirs_exist_ok=True, ignore=shutil.ignore_patterns("zdb.sock*", "*.lockfile"))
            z = q.start_zdb(unix=True, mode="seq", dir=d)
            all_points = points(z)
            z.stop()
            q.same(sorted(p["number"] for p in all_points), listed)
        have = {ns: r.randrange(segments(copy, ns)[-1] + 1) for ns in ("zdbfs-data", "zdbfs-meta")}
        whole = [p for p in all_points if p["data"] <= have["zdbfs-data"] and p["meta"] <= have["zdbfs-meta"]]
        if not whole:
            whole = all_points[-1:]
        p = whole[0]
        z = volume_of(zdb, p, copy)
        m = q.mount_zdbfs(z, opts="autons")
        same_picture(m.path, pictures[p["number"]], f"volume of point {p['number']} (seed {SEED})")
        (m.path / "goes on").write_bytes(b"x" * 1000)
        q.same(m.stop(), 0)
        check(z)
        got = points(z)
        q.same(got[0]["number"], p["number"] + 1, "goes on from there")
        q.same(got[1], p, "the point is still what it was")
        if cut < 2:                        # and it can be brought back once more
            z.stop()
            z2 = volume_of(z, p)
            m = q.mount_zdbfs(z2, opts="autons")
            same_picture(m.path, pictures[p["number"]], f"again, volume of point {p['number']} (seed {SEED})")
            q.same(m.stop(), 0)
            z2.stop()
            shutil.rmtree(z2.dir)
        else:
            z.stop()
        shutil.rmtree(z.dir)


def test_points_under_load_and_kills():
    """Whenever it is killed: each point that is listed is a whole volume, and holds what was promised before it."""
    r = random.Random(f"{SEED} load")
    zdb = q.start_zdb(unix=True, mode="seq", datasize=4 << 20)
    mount = q.mount_zdbfs(zdb, opts="autons,flush=1,point=0,timeout=20")
    now = lambda: time.time_ns() / 1e9
    ws = []
    for run in range(20 if LONG else 3):
        ws += [Writer(str(mount.path / f"w{run}-{k}"), f"{SEED} load {run} {k}", clock=now) for k in range(2)]
        for w in ws[-2:]:
            w.start()
        q.wait_for(lambda: all(w.n >= 3 or w.error for w in ws[-2:]), 60, "first operations")
        for _ in range(3):
            ask(mount)
        asking = q.subprocess.Popen([q.BIN / "zdbfs", "--point", mount.path], stdout=q.subprocess.DEVNULL, stderr=q.subprocess.DEVNULL)
        time.sleep(r.uniform(0, 0.03))     # a random moment is what is wanted here
        mount.kill9()
        for w in ws:
            w.stopped.set()
        q.unmount(mount.path)
        asking.wait(60)
        for w in ws[-2:]:
            w.join(60 * q.SLOWDOWN)
            q.check(not w.is_alive(), "a writer hangs")
        mount.start()
    for w in ws:
        w.check(f"after all kills (seed {SEED})")
    q.same(mount.stop(), 0)
    got = points(zdb)
    q.check(len(got) >= 3, f"points: {got}")   # one a run at least: when nothing is committed in between, none is made
    for p in got if LONG else r.sample(got, min(5, len(got))):
        z = volume_of(zdb, p)
        m = q.mount_zdbfs(z, opts="autons")
        for w in ws:
            at = (p["time_ns"]) / 1e9
            if w.history and w.history[0][0] < at:
                broken(f"point {p['number']} (seed {SEED})", w.allowed(at), m.path, str(mount.path))
        q.same(m.stop(), 0)
        check(z)
        z.stop()
        shutil.rmtree(z.dir)


def test_mount_that_lives_keeps_its_volume_at_a_point():
    """The header of a point names its owner; a mount of what was brought back does not mind, one of the living volume does."""
    zdb = q.start_zdb(unix=True, mode="seq")
    mount = q.mount_zdbfs(zdb, opts="autons,point=0")
    (mount.path / "a").write_bytes(b"a")
    ask(mount)
    p = points(zdb)[0]
    other = q.tmpdir("other")
    r = q.run(q.BIN / "zdbfs", "-o", f"unix={zdb.socket}", other)
    q.check(r.returncode == 1 and b"mounted already" in r.stderr, f"{r.returncode} {r.stderr}")
    z = volume_of(zdb, p)
    m = q.mount_zdbfs(z, opts="autons")    # waits, as its owner lives
    q.same((m.path / "a").read_bytes(), b"a")
    (mount.path / "b").write_bytes(b"b")
    q.same((mount.path / "b").read_bytes(), b"b")
    q.same(m.stop(), 0)
    q.same(mount.stop(), 0)


if __name__ == "__main__":
    q.main()

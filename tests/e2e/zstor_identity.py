#!/usr/bin/env python3
"""zstor destroys nothing by being the wrong one: other keys, another machine, a takeover, two daemons."""
# limit: 240
import os
import pathlib

import libqsfs as q

OTHER_KEY = "55" * 32


def write(path, data):
    path.write_bytes(data)
    return path


def machine(backends, dir, **extra):
    """A zstor with a state directory of its own."""
    return q.Zstor(q.zstor_config(backends, q.tmpdir(dir), minimal=2, expected=4, lease_seconds=2, **extra))


def refused(p, *words):
    text = p.stderr.decode()
    q.same(p.returncode, 1, f"exit ({text})")
    q.same(len(text.splitlines()), 1, text)
    for w in words:
        q.check(w in text, f"{w!r} is not in {text!r}")


def fetched(z, path, want):
    out = q.tmpdir("out") / "got"
    p = z.cli("retrieve", "-f", path, "-o", out)
    q.same((p.returncode, p.stderr), (0, b""), "retrieve")
    q.same(out.read_bytes() == want, True, f"content of {path}")


def stored(z, path):
    p = z.cli("store", "-f", path)
    q.same((p.returncode, p.stderr), (0, b""), "store")


def snapshot(backends):
    """Every value of every metadata namespace, but the notes."""
    out = {}
    for b in backends:
        with b.client() as c:
            c.ok("SELECT", b.meta_ns, b.password)
            rows = c.cmd("SCAN")
            for row in rows[1] if isinstance(rows, list) else []:
                if b"/meta/" in row[0]:
                    out[b.n, row[0]] = c.cmd("GET", row[0])
    return out


def test_other_keys():
    backends = q.start_backends(4)
    z = machine(backends, "right").start()
    f = write(q.tmpdir("files") / "d0", os.urandom(200_000))
    want = f.read_bytes()
    stored(z, f)
    q.same(z.stop(), 0, "exit")
    before = snapshot(backends)
    q.same(len(before), 4, "metadata values")
    keys = {"encryption": {"algorithm": "AES", "key": OTHER_KEY}}
    wrong = machine(backends, "wrong", **keys)
    write(f, os.urandom(200_000))
    for command in (("monitor",), ("test",), ("status",)):
        with q.case(f"another key: {command[0]} says so in one line"):
            refused(q.run(q.BIN / "zstor", "-c", wrong.config_file, "--log_file", "/dev/null", *command, timeout=60),
                    "encryption.key")
    alone = machine(backends, "alone", socket=False, **keys)
    for command in (("store", "-f", f), ("rebuild", "-f", f), ("rebuild", "--all")):
        with q.case(f"another key, without a daemon: {' '.join(map(str, command[:2]))} changes nothing"):
            p = q.run(q.BIN / "zstor", "-c", alone.config_file, "--log_file", "/dev/null", *command, timeout=60)
            q.same(p.returncode, 1, "exit")
            q.same(snapshot(backends) == before, True, "metadata")
    with q.case("the right key goes on"):
        z.start()
        fetched(z, f, want)
        stored(z, f)
        fetched(z, f, f.read_bytes())
    z.stop()
    for b in backends:
        b.stop()


def test_another_machine():
    backends = q.start_backends(4)
    first = machine(backends, "first").start()
    fresh = machine(backends, "fresh")
    f = write(q.tmpdir("files") / "d0", os.urandom(200_000))
    old = f.read_bytes()
    stored(first, f)
    with q.case("a second machine with the same configuration is refused while the first one runs"):
        refused(q.run(*fresh.argv, timeout=60), "belongs to", "takeover")
    with q.case("and when it was killed, and when it was stopped"):
        first.kill9()
        refused(q.run(*fresh.argv, timeout=60), "belongs to", "takeover")
        first.start()
        q.same(first.stop(), 0, "exit")
        refused(q.run(*fresh.argv, timeout=60), "belongs to", "given back")
    with q.case("the first one goes on at once after kill -9"):
        first.start()
        first.kill9()
        first.start()
        fetched(first, f, old)
        stored(first, write(f.parent / "d1", os.urandom(1000)))
    with q.case("a fresh machine that stores without a daemon replaces nothing"):
        alone = machine(backends, "alone", socket=False)
        new = write(f, os.urandom(200_000)).read_bytes()
        p = q.run(q.BIN / "zstor", "-c", alone.config_file, "--log_file", "/dev/null", "store", "-f", f, timeout=60)
        q.same(p.returncode, 1, "exit")
        q.check(b"belongs to" in p.stderr, p.stderr)
        fetched(first, f, old)
    with q.case("a takeover: nothing of the first is lost, and it writes no more"):
        second = machine(backends, "second")
        second.argv.append("--takeover")
        second.start()
        fetched(second, f, old)
        q.wait_for(lambda: "was taken over by" in (first.dir / "zstor.log").read_text(), 20, "notice of an idle daemon")
        p = first.cli("store", "-f", f)
        q.same(p.returncode, 1, "exit of a store by the first")
        q.check(b"taken over" in p.stderr, p.stderr)
        fetched(second, f, old)
        stored(second, f)
        fetched(second, f, new)
        fetched(second, f.parent / "d1", (f.parent / "d1").read_bytes())
        fetched(first, f, new)
    with q.case("what the first still has queued stays queued"):
        before = snapshot(backends)
        g = write(f.parent / "d2", os.urandom(1000))
        p = first.cli("store", "-n", "-f", g)
        q.same(p.returncode, 0, "exit")
        with first.client() as c:
            q.wait_for(lambda: c.cmd("QUEUE", "COUNT")[3] == 1, 20, "a job that fails")
        q.same(snapshot(backends) == before, True, "metadata")
        first.kill9()
    second.stop()
    for b in backends:
        b.stop()


def test_two_of_four_are_down():
    backends = q.start_backends(4)
    z = machine(backends, "z").start()
    dir = q.tmpdir("files")
    old = write(dir / "d0", os.urandom(50_000))
    stored(z, old)
    for pair in ((0, 1), (1, 3)):
        with q.case(f"backends {pair} down: start, store and retrieve go on; it counts as stored when they are back"):
            z.kill9()
            for i in pair:
                backends[i].stop()
            z.start()
            write(old, os.urandom(50_000))
            new = write(dir / f"n{pair[0]}", os.urandom(3_000))
            for f in (old, new):
                q.same(z.cli("store", "-n", "-f", f).returncode, 0, "exit")
                q.wait_for(lambda: z.cli("check", "-f", f).stdout.decode().strip() ==
                           q.hashlib.blake2b(f.read_bytes(), digest_size=16).hexdigest(), 60, f"record of {f}")
                fetched(z, f, f.read_bytes())
            q.same(z.cli("wait", "-t", "1").returncode, 1, "exit of wait")
            with z.client() as c:
                q.check(c.cmd("QUEUE", "COUNT")[0] >= 2, "the jobs are not queued any more")
            for i in pair:
                backends[i].start()
            q.same(z.cli("wait", "-t", "90", timeout=120).returncode, 0, "exit of wait")
            for f in (old, new):
                fetched(z, f, f.read_bytes())
            q.check(sum(k.startswith(b"/test-meta/meta/") for _, k in snapshot(backends)) >= 6, "metadata values")
    z.stop()
    for b in backends:
        b.stop()


def test_metadata_backup():
    backends = q.start_backends(4)
    z = machine(backends, "z").start()
    dir = q.tmpdir("files")
    files = [write(dir / f"d{n}", os.urandom(5000)) for n in range(5)]
    for f in files[:4]:
        stored(z, f)
    saved = dir / "saved"
    with q.case("a backup of all records, readable by nobody else"):
        p = z.cli("meta", "backup", saved)
        q.same((p.returncode, p.stdout), (0, b"4 records\n"), p.stderr)
        q.same(saved.stat().st_mode & 0o777, 0o600, "mode")
    old = files[0].read_bytes()
    stored(z, write(files[0], os.urandom(5000)))
    stored(z, files[4])
    before = snapshot(backends)
    with q.case("restore touches nothing that is there"):
        p = z.cli("meta", "restore", saved)
        q.same((p.returncode, p.stdout[:20]), (0, b"0 records restored, "), p.stderr)
        q.same(snapshot(backends) == before, True, "metadata")
    with q.case("a backup that is cut or changed is refused as a whole"):
        data = saved.read_bytes()
        for n, bad in enumerate((data[:-1], data[:-40], data[:600], data[:300] + bytes([data[300] ^ 1]) + data[301:], b"", b"x" * 99)):
            p = z.cli("meta", "restore", write(dir / "bad", bad))
            q.same(p.returncode, 1, f"exit of damage {n}")
    with q.case("metadata that is lost everywhere comes back"):
        z.stop()
        for b in backends:
            with b.client() as c:
                c.ok("SELECT", b.meta_ns, b.password)
                for _, key in {k for k in before if k[0] == b.n}:
                    c.ok("DEL", key)
        z.start()
        q.same(z.cli("check", "-f", files[1]).stdout, b"", "an object without metadata")
        p = z.cli("meta", "restore", saved)
        q.same((p.returncode, p.stdout[:20]), (0, b"4 records restored, "), p.stderr)
        for f in files[1:4]:
            fetched(z, f, f.read_bytes())
        q.check(old != files[0].read_bytes())
        q.same(z.cli("retrieve", "-f", files[0], "-o", dir / "got").returncode, 1, "its shards were replaced: an error, not old bytes")
    z.stop()
    for b in backends:
        b.stop()


def test_rekey():
    backends = q.start_backends(4)
    z = machine(backends, "z").start()
    dir = q.tmpdir("files")
    files = [write(dir / f"d{n}", os.urandom(5000)) for n in range(5)]
    for f in files:
        stored(z, f)

    def key(new, former):
        z.config["encryption"] = {"algorithm": "AES", "key": new}
        z.config["meta"]["config"]["encryption"] = {"algorithm": "AES", "key": former}
        z.write_config()

    key(OTHER_KEY, q.DATA_KEY)
    with q.case("a new key is not taken while the daemon runs"):
        q.check(b"in use by another zstor" in z.cli("rekey").stderr)
    z.stop()
    with q.case("a new key: everything is read with it"):
        p = z.cli("rekey")
        q.check(p.returncode == 0 and b"5 objects, 5 written" in p.stdout, p.stdout + p.stderr)
        key(OTHER_KEY, q.META_KEY)
        z.start()
        for f in files:
            fetched(z, f, f.read_bytes())
        stored(z, write(files[0], os.urandom(5000)))
        fetched(z, files[0], files[0].read_bytes())
        q.same(z.stop(), 0, "exit")
    with q.case("the former key opens nothing"):
        key(q.DATA_KEY, q.DATA_KEY)
        refused(z.cli("test"), "encryption.key")
    for b in backends:
        b.stop()


def test_what_cannot_be_mended():
    backends = q.start_backends(4)
    z = machine(backends, "z").start()
    dir = q.tmpdir("files")
    files = [write(dir / f"d{n}", os.urandom(5000)) for n in range(6)]
    odd = write(pathlib.Path(os.fsdecode(os.fsencode(dir) + b"/d\xff\xfe")), os.urandom(5000))
    with q.case("a name that is not UTF-8 is stored and comes back"):
        stored(z, odd)
        fetched(z, odd, odd.read_bytes())
    for f in files:
        stored(z, f)
    keys = sorted({k for _, k in snapshot(backends)})
    q.same(len(keys), 7, "objects")
    bad = {}
    for f in files[:2]:     # one has no readable record, one too few shards
        digest = q.hashlib.blake2b(os.fsencode(f), digest_size=16).hexdigest().encode()
        bad[f] = next(k for k in keys if k.endswith(digest))
    for b in backends:
        with b.client() as c:
            c.ok("SELECT", b.meta_ns, b.password)
            c.ok("SET", bad[files[0]], b"nonsense")
    for b in backends[:3]:      # each object has one value at each backend: the third stored is number 2
        with b.client() as c:
            c.ok("SELECT", b.data_ns, b.password)
            c.ok("DEL", (2).to_bytes(8, "little"))
    alone = q.Zstor({**{k: v for k, v in z.config.items() if k != "socket"}}, dir=q.tmpdir("alone"))
    with q.case("rebuild --all names key and path of what it cannot mend and does the rest"):
        p = z.cli("rebuild", "--all")
        text = p.stderr.decode()
        q.same(p.returncode, 1, text)
        q.check("2 of 7 objects are not whole" in text, text)
        log = (z.dir / "zstor.log").read_text()
        q.check(bad[files[0]].decode() in log, "the key of the unreadable record is not in the log")
        q.check(f"{bad[files[1]].decode()} ({files[1]})" in log, "key and path of the other are not in the log")
        q.check(text.count("/meta/") == 1, text)
    z.stop()
    with q.case("so does one without a daemon"):
        p = alone.cli("rebuild", "--all")
        text = p.stderr.decode()
        q.same(p.returncode, 1, text)
        for f in files[:2]:
            q.check(bad[f].decode() in text, text)
        q.check(str(files[1]) in text, text)
    with q.case("forget removes them, and rebuild --all succeeds"):
        q.same(alone.cli("forget", "-k", bad[files[0]].decode()).returncode, 0, "exit")
        q.same(alone.cli("forget", "-f", files[1]).returncode, 0, "exit")
        q.same(alone.cli("forget", "-f", files[1]).returncode, 1, "exit of the second time")
        p = alone.cli("rebuild", "--all")
        q.same((p.returncode, p.stdout.startswith(b"5 objects whole")), (0, True), p.stderr.decode())
    for b in backends:
        b.stop()


def test_state_directories():
    backends = q.start_backends(4)
    base = q.tmpdir("state")
    env = {"STATE_DIRECTORY": base}

    def daemon(name, prefix, **extra):
        conf = q.zstor_config(backends, q.tmpdir(name), minimal=2, expected=4, prefix=prefix, **{"state_dir": None, **extra})
        return q.Zstor(conf, env=env)

    f = write(q.tmpdir("files") / "d0", os.urandom(1000))
    with q.case("two configurations without state_dir run side by side"):
        a, b = daemon("a", "first").start(), daemon("b", "second").start()
        q.same(len(list(base.iterdir())), 2, "state directories")
    with q.case("none does the jobs of the other"):
        for x in backends:
            x.stop()
        q.same(a.cli("store", "-n", "-f", f).returncode, 0, "exit")
        a.kill9()
        b.kill9()
        for x in backends:
            x.start()
        b.start()
        with b.client() as c:
            q.same(c.cmd("QUEUE", "COUNT")[0], 0, "jobs of the second")
        q.same(b.cli("check", "-f", f).stdout, b"", "object of the second")
        a.start()
        q.wait_for(lambda: a.cli("check", "-f", f).stdout, 30, "object of the first")
        q.same(b.cli("check", "-f", f).stdout, b"", "object of the second")
        q.same((a.stop(), b.stop()), (0, 0), "exits")
    with q.case("a state_dir that is another configuration's is refused, also when that one does not run"):
        shared = q.tmpdir("shared")
        a = daemon("c", "third", state_dir=shared).start()
        q.same(a.stop(), 0, "exit")
        refused(q.run(*daemon("d", "fourth", state_dir=shared).argv, timeout=60), "belongs to", "third")
    with q.case("YAML under the name that the original's hook scripts have"):
        z = daemon("e", "fifth")
        z.config_file.rename(z.dir / "zstor-default.toml")
        z.argv = [str(z.dir / "zstor-default.toml") if str(a) == str(z.dir / "zstor.yaml") else a for a in z.argv]
        z.config_file = z.dir / "zstor-default.toml"
        z.start()
        stored(z, f)
        z.stop()
    for x in backends:
        x.stop()


if __name__ == "__main__":
    q.main()

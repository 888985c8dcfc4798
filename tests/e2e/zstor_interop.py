#!/usr/bin/env python3
"""The reference implementation of the object format (tests/interop/zstor_reference.py) and ours read each other's objects
on the same backends."""
# limit: 300
import hashlib
import json
import os
import random
import sys

import libqsfs as q

REFERENCE = q.REPO / "tests" / "interop" / "zstor_reference.py"
sys.path.insert(0, str(REFERENCE.parent))
import zstor_reference  # noqa: E402

SIZES = {"empty": 0, "one": 1, "small": 14, "block-1": 65535, "block": 65536, "block+1": 65537, "large": 9_000_000}


def content(name, size):
    r = random.Random(name)
    text = b"the quick brown fox jumps over the lazy dog\n" * (size // 44 + 1)
    return text[:size] if "+" in name else r.randbytes(size)


def toml(backends, dir, minimal, expected):
    """The configuration as the original reads it; ours gets it through toml2yaml.py."""
    def entry(e):
        return "{ " + ", ".join(f'{k} = "{v}"' for k, v in e.items()) + " }"
    out = f"minimal_shards = {minimal}\nexpected_shards = {expected}\nredundant_groups = 0\nredundant_nodes = 0\n"
    out += '[encryption]\nalgorithm = "AES"\nkey = "' + "5a" * 32 + '"\n[compression]\nalgorithm = "snappy"\n'
    out += '[meta]\ntype = "zdb"\n[meta.config]\nprefix = "interop"\nbackends = ['
    out += ", ".join(entry(b.entry("meta")) for b in backends[:4]) + "]\n"
    out += '[meta.config.encryption]\nalgorithm = "AES"\nkey = "' + "77" * 32 + '"\n'
    out += "[[groups]]\nbackends = [" + ", ".join(entry(b.entry("data")) for b in backends) + "]\n"
    path = dir / "config.toml"
    path.write_text(out)
    yaml = dir / "config.yaml"
    yaml.write_text(q.run(q.REPO / "bootstrap" / "toml2yaml.py", path, check_exit=0).stdout.decode() + f"state_dir: {dir}/state\n")
    yaml.chmod(0o600)
    (dir / "state").mkdir(exist_ok=True)
    return path, yaml


class Pair:
    def __init__(self, minimal=2, expected=4, backends=5):
        self.backends = q.start_backends(backends)
        self.dir = q.tmpdir("interop")
        self.toml, self.yaml = toml(self.backends, self.dir, minimal, expected)

    def ours(self, *args):
        return q.run(q.BIN / "zstor", "-c", self.yaml, "--log_file", self.dir / "cli.log", *args)

    def reference(self, *args):
        return q.run(sys.executable, REFERENCE, *args)

    def file(self, name, data):
        p = self.dir / name
        p.write_bytes(data)
        return p


def test_reference_works_here():
    p = q.run(sys.executable, REFERENCE, "selftest")
    q.same(p.returncode, 0, p.stderr[-300:])


def test_reference_reads_what_ours_stored():
    for minimal, expected in ((2, 4), (1, 2), (3, 5)):
        with q.case(f"reference reads ours, {minimal} of {expected}"):
            pair = Pair(minimal, expected)
            for name, size in SIZES.items():
                f = pair.file(name, content(name, size))
                p = pair.ours("store", "-f", f)
                q.same(p.returncode, 0, f"store {name}: {p.stderr[-300:]!r}")
                out = pair.dir / "out"
                p = pair.reference("get", pair.toml, f, out)
                q.same(p.returncode, 0, f"get {name}: {p.stderr[-300:]!r}")
                q.same(q.sha256(out), q.sha256(f), name)
            keys = pair.reference("scan", pair.toml).stdout.decode().split()
            q.same(len([k for k in keys if k.startswith("/interop/meta/")]), len(SIZES), "objects listed")


def test_ours_reads_what_the_reference_put():
    pair = Pair()
    for name, size in SIZES.items():
        f = pair.file(name, content(name, size))
        p = pair.reference("put", pair.toml, f)
        q.same(p.returncode, 0, f"put {name}: {p.stderr[-300:]!r}")
        out = pair.dir / "out"
        p = pair.ours("retrieve", "--force", "-f", f, "-o", out)
        q.same(p.returncode, 0, f"retrieve {name}: {p.stderr[-300:]!r}")
        q.same(q.sha256(out), q.sha256(f), name)
        p = pair.ours("check", "-f", f)
        q.same(p.stdout.decode().strip(), hashlib.blake2b(f.read_bytes(), digest_size=16).hexdigest(), f"check {name}")


def test_replaced_in_turn():
    """Each overwrites the other's object; the last writer wins for both readers."""
    pair = Pair()
    for turn in range(6):
        data = content(f"turn {turn}", 1000 + turn * 70000)
        f = pair.file("f", data)
        p = pair.ours("store", "-f", f) if turn % 2 else pair.reference("put", pair.toml, f)
        q.same(p.returncode, 0, p.stderr[-300:])
        for reader in (pair.ours("retrieve", "--force", "-f", f, "-o", pair.dir / "a"),
                       pair.reference("get", pair.toml, f, pair.dir / "b")):
            q.same(reader.returncode, 0, reader.stderr[-300:])
        q.same((pair.dir / "a").read_bytes(), data, f"turn {turn}, ours")
        q.same((pair.dir / "b").read_bytes(), data, f"turn {turn}, reference")


def test_rebuilt_by_ours_read_by_the_reference():
    pair = Pair(backends=6)
    f = pair.file("f", content("f", 5_000_000))
    q.same(pair.ours("store", "-f", f).returncode, 0, "store")
    record = json.loads(pair.reference("meta", pair.toml, f).stdout)
    for s in record["shards"][1:3]:
        z = zstor_reference.Zdb(s["ci"])
        for kind, number in s["keys"]:
            z.cmd("DEL", zstor_reference.key_to_raw([kind, number]))
    p = pair.ours("rebuild", "-f", f)
    q.same(p.returncode, 0, p.stderr[-300:])
    after = json.loads(pair.reference("meta", pair.toml, f).stdout)
    places = {(s["ci"]["address"], s["ci"]["namespace"]) for s in after["shards"]}
    q.same(len(places), 4, "distinct backends")
    q.same([s["checksum"] for s in after["shards"]], [s["checksum"] for s in record["shards"]], "digests")
    # the two kept ones are dropped now: the restored ones alone must do, for the reference
    for i in (0, 3):
        z = zstor_reference.Zdb(after["shards"][i]["ci"])
        for kind, number in after["shards"][i]["keys"]:
            z.cmd("DEL", zstor_reference.key_to_raw([kind, number]))
    p = pair.reference("get", pair.toml, f, pair.dir / "out")
    q.same(p.returncode, 0, p.stderr[-300:])
    q.same(q.sha256(pair.dir / "out"), q.sha256(f), "content")


def test_each_object_has_its_own_key_and_the_record_has_a_tail():
    pair = Pair()
    keys = set()
    for i in range(3):
        f = pair.file(f"k{i}", b"same content")
        q.same(pair.ours("store", "-f", f).returncode, 0, "store")
        keys.add(json.loads(pair.reference("meta", pair.toml, f).stdout)["encryption"]["Aes"])
    q.same(len(keys), 3, "data keys")
    q.check("5a" * 32 not in keys, "an object uses the key of the configuration")


if __name__ == "__main__":
    q.main()

#!/usr/bin/env python3
"""Objects written by the original zstor (tests/golden/zstor), served by our zdb: our zstor answers for every one what its
manifest expects, and repairs what is damaged."""
# limit: 600
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import libqsfs as q

GOLDEN = q.GOLDEN / "zstor"
CASES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())


class Case:
    """A served copy of one golden directory."""

    def __init__(self, name):
        self.name = name
        self.dir = q.tmpdir(name)
        shutil.copytree(GOLDEN / name, self.dir, dirs_exist_ok=True)
        self.manifest = json.loads((self.dir / "manifest.json").read_text())
        self.zdbs = {}
        for zname, z in self.manifest["zdbs"].items():
            self.zdbs[zname] = q.start_zdb(dir=self.dir / zname, host=z["listen"], port=z["port"], mode=z["mode"],
                                           datasize=8 << 20)
        for config in self.dir.glob("config*.toml"):
            text = q.run(q.REPO / "bootstrap" / "toml2yaml.py", config, check_exit=0).stdout.decode()
            text += f"state_dir: {self.dir}/state\n"
            out = config.with_suffix(".yaml")
            out.write_text(text)
            out.chmod(0o600)
        (self.dir / "state").mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for z in self.zdbs.values():
            z.stop()

    def cli(self, config, *args):
        return q.run(q.BIN / "zstor", "-c", (self.dir / config).with_suffix(".yaml"), "--log_file", self.dir / "cli.log", *args)

    def retrieve(self, o, path=None):
        out = self.dir / "out"
        out.unlink(missing_ok=True)
        p = self.cli(o["config"], "retrieve", "-f", path or o["object_path"], "-o", out)
        return p, out

    def verify(self, o):
        """Check and retrieve answer what the manifest expects; list of complaints."""
        bad = []
        want = o["expected"]
        p = self.cli(o["config"], "check", "-f", o["object_path"])
        text = p.stdout.decode().strip()
        if want["check"] == "error":
            if p.returncode == 0:
                bad.append(f"check should fail, says {text!r}")
        elif (p.returncode, text) != (0, "" if want["check"] == "unknown" else want["check"]):
            bad.append(f"check: exit {p.returncode}, {text!r}, want {want['check']}; {p.stderr[-200:]!r}")
        p, out = self.retrieve(o)
        if want["retrieve"] != "ok":
            if p.returncode == 0 or out.exists():
                bad.append("retrieve should fail and leave no file")
        elif p.returncode != 0:
            bad.append(f"retrieve: exit {p.returncode}, {p.stderr[-300:]!r}")
        elif (out.stat().st_size, q.sha256(out)) != (o["size"], o["sha256"]):
            bad.append("retrieve: wrong content")
        return [f"{o['object_path']} ({o['config']}): {b}" for b in bad]

    def verify_all(self, objects=None):
        bad = [b for o in objects or self.manifest["objects"] for b in self.verify(o)]
        q.check(not bad, f"{len(bad)} wrong answers: " + "; ".join(bad[:4]))

    def client(self, address, namespace=None, password=None):
        port = int(address.rsplit(":", 1)[1])
        zdb = next(z for z in self.zdbs.values() if z.port == port)
        return zdb.client(namespace, password)


def content(c):
    """The bytes a manifest describes."""
    if c["kind"] == "literal":
        return bytes.fromhex(c["hex"])
    if c["kind"] == "zeros":
        return bytes(c["size"])
    if c["kind"] == "text":
        line = b"%08d the quick brown fox jumps over the lazy dog\n"
        return b"".join(line % i for i in range(c["size"] // 50 + 2))[:c["size"]]
    mask, s, out = (1 << 64) - 1, c["seed"], bytearray()
    while len(out) < c["size"]:
        s = (s + 0x9e3779b97f4a7c15) & mask
        z = s
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & mask
        z = (z ^ z >> 27) * 0x94d049bb133111eb & mask
        out += (z ^ z >> 31).to_bytes(8, "little")
    return bytes(out[:c["size"]])


def test_every_object_answers_as_expected():
    for name in CASES:
        with q.case(f"golden {name}"):
            with Case(name) as c:
                c.verify_all()


def test_the_generators_of_this_test_are_right():
    """Guards the comparisons below: content made from the manifest has the hash of the manifest."""
    for name in CASES:
        for o in json.loads((GOLDEN / name / "manifest.json").read_text())["objects"]:
            if o["size"] <= 200000:
                q.same(hashlib.sha256(content(o["content"])).hexdigest(), o["sha256"], o["object_path"])


def delete_shards(c, record, lost):
    for s in record["shards"]:
        if s["shard_idx"] in lost:
            with c.client(s["ci"]["address"], s["ci"]["namespace"], s["ci"]["password"]) as z:
                for key in s["keys"]:
                    (kind, number), = key.items()
                    z.cmd("DEL", number.to_bytes(4 if kind == "V1" else 8, "little"))


def test_any_d_of_n_shards_are_enough():
    for name in ("geom-1of2", "geom-4of6", "geom-16of20", "geom-3of8"):
        with q.case(f"recovery {name}"):
            decoded = json.loads((GOLDEN / name / "decoded.json").read_text())
            with Case(name) as c:
                objects = [o for o in c.manifest["objects"] if 0 < o["size"] < 400000]
                for i, o in enumerate(objects):
                    record = decoded[o["meta_key"]]
                    n, p = record["data_shards"] + record["disposable_shards"], record["disposable_shards"]
                    delete_shards(c, record, {(i * 3 + k * (1 if i % 2 else n // p)) % n for k in range(p)})
                    q.check(not c.verify(o), f"{o['object_path']} with {p} shards lost: {c.verify(o)}")


def good_shards(c, record):
    """Shard indexes whose bytes are all there and right, looked up by hand."""
    good = []
    for s in record["shards"]:
        body = b""
        with c.client(s["ci"]["address"], s["ci"]["namespace"], s["ci"]["password"]) as z:
            for key in s["keys"]:
                (kind, number), = key.items()
                body += z.cmd("GET", number.to_bytes(4 if kind == "V1" else 8, "little")) or b""
        if hashlib.blake2b(body, digest_size=16).hexdigest() == s["checksum"]:
            good.append(s["shard_idx"])
    return sorted(good)


def record_of(c, o):
    """The record as the reference implementation reads it."""
    p = q.run(sys.executable, q.REPO / "tests" / "interop" / "zstor_reference.py", "meta", c.dir / o["config"], o["object_path"])
    return json.loads(p.stdout) if p.returncode == 0 else None


def keys_of(record):
    """The reference prints keys as [kind, number]."""
    for s in record["shards"]:
        s["keys"] = [dict([k]) if isinstance(k, list) else k for k in s["keys"]]
    return record


def test_rebuild_heals_damaged_shards_for_the_original_too():
    for name in ("missing-shard", "corrupt-shard", "foreign-writer"):
        with q.case(f"rebuild {name}"), Case(name) as c:
            for o in c.manifest["objects"]:
                readable = o["expected"]["retrieve"] == "ok"
                p = c.cli(o["config"], "rebuild", "-f", o["object_path"])
                q.check((p.returncode == 0) == readable, f"{o['object_path']}: exit {p.returncode}: {p.stderr[-300:]!r}")
                if not readable:
                    continue
                record = keys_of(record_of(c, o))
                n = record["data_shards"] + record["disposable_shards"]
                q.same([s["shard_idx"] for s in record["shards"]], list(range(n)), f"{o['object_path']}: shard list")
                q.same(good_shards(c, record), list(range(n)), f"{o['object_path']}: good shards")
                q.check(not c.verify(o), f"{o['object_path']}: {c.verify(o)}")


def test_rebuild_heals_metadata_for_the_original_too():
    for name in ("mixed-meta", "one-meta-lost", "two-meta-lost"):
        with q.case(f"metadata of {name}"), Case(name) as c:
            for o in c.manifest["objects"]:
                if o["expected"]["retrieve"] != "ok":
                    continue
                p = c.cli(o["config"], "rebuild", "-f", o["object_path"])
                q.same(p.returncode, 0, f"{o['object_path']}: {p.stderr[-300:]!r}")
                record = record_of(c, o)   # reads all four, takes the lowest two, dies of a mixture
                q.check(record, f"{o['object_path']}: the reference cannot read it")
                q.same(record["checksum"], o["checksum"], o["object_path"])
                indexes = set()
                for b in toml_meta(c, o):
                    with c.client(b["address"], b.get("namespace"), b.get("password")) as z:
                        indexes.add(z.cmd("GET", o["meta_key"])[0])
                q.same(indexes, {0, 1, 2, 3}, f"{o['object_path']}: indexes")
            c.verify_all()


def toml_meta(c, o):
    import tomllib
    return tomllib.loads((c.dir / o["config"]).read_text())["meta"]["config"]["backends"]


def test_spellings_of_a_path_and_root():
    with Case("root") as c:
        bad = []
        for o in c.manifest["objects"]:
            for s in o.get("check_spellings", []):
                if not s["path"].startswith("/"):
                    continue    # relative: ours makes it absolute, the original finds nothing
                p = c.cli(o["config"], "check", "-f", s["path"])
                if s["exit"] == 0 and s["stdout"] and p.stdout.decode().strip() != s["stdout"]:
                    bad.append(f"{s['path']} {o['config']}: {p.stdout!r} {p.stderr[-100:]!r}")
        q.check(not bad, "; ".join(bad[:3]))


if __name__ == "__main__":
    q.main()

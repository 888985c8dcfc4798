#!/usr/bin/env python3
"""The local cache limit: segments go only when they are provably stored, oldest use first, and come back."""
# limit: 300
import hashlib
import json
import os
import sys
import time

import libqsfs as q

sys.path.insert(0, str(q.REPO / "tests" / "crash"))
import zfiles   # noqa: E402

MIB = 1 << 20


def b2(data):
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Cache:
    """A data directory with segments of 1 MiB, zstor with a limit in MiB."""

    def __init__(self, limit, one_namespace=False, index=None):
        self.root = q.tmpdir("data")
        self.backends = q.start_backends(4)
        self.dir = self.root / "zdbfs-data"
        self.dir.mkdir()
        self.z = q.Zstor(q.zstor_config(self.backends, zdb_data_dir_path=self.dir if one_namespace else self.root,
                                        max_zdb_data_dir_size=limit,
                                        **({"zdb_index_dir_path": index} if index else {}))).start()
        self.content = {}
        self.other = q.tmpdir("other") / "nudge"

    def make(self, n, ns="zdbfs-data", age=1000, size=MIB):
        """Segment n, last used `age` seconds ago."""
        f = self.root / ns / f"d{n}"
        f.parent.mkdir(exist_ok=True)
        self.content[f] = os.urandom(size)
        f.write_bytes(self.content[f])
        self.used(f, age)
        return f

    @staticmethod
    def used(f, age):
        os.utime(f, ns=(time.time_ns() - age * 10**9, f.stat().st_mtime_ns))

    def store(self, *files):
        """Stored, without counting as used."""
        for f in files:
            atime = f.stat().st_atime_ns
            self.z.cli("store", "-f", f, check_exit=0)
            if f.exists():
                os.utime(f, ns=(atime, f.stat().st_mtime_ns))

    def there(self, ns="zdbfs-data"):
        return sorted((int(n[1:]) for n in os.listdir(self.root / ns)))

    def cache(self):
        return json.loads(self.z.cli("status", "--json").stdout)["cache"]

    def look(self):
        """Let the evictor have a look that begins after now, and wait for its end."""
        before = self.cache()["runs"]
        for _ in range(2):  # one may have begun before
            self.other.write_bytes(os.urandom(100))
            self.z.cli("store", "-f", self.other)
            q.wait_for(lambda: self.cache()["runs"] > before, 40, "look of the evictor", step=0.05)
            before = self.cache()["runs"]

    def end(self):
        q.same(self.z.stop(), 0, "exit of zstor")
        for b in self.backends:
            if b.alive():
                b.stop()


def test_order_and_limit():
    c = Cache(limit=8)
    files = [c.make(n, age=1000 - 50 * n) for n in range(12)]
    with q.case("nothing is removed while nothing is stored"):
        c.look()
        q.same(c.there(), list(range(12)))
        q.check(c.cache()["held_files"] == 11, c.cache())
    with q.case("over the limit the ones used longest ago go, until 7/8 of the limit"):
        c.used(files[1], 10)  # read a moment ago
        c.store(files[0], *files[2:], files[1])  # in the order of use: what is evicted on the way is right as well
        q.wait_for(lambda: len(c.there()) <= 7, 30, "eviction")
        c.look()
        left = c.there()
        q.same(left, [1, 6, 7, 8, 9, 10, 11], "segments left")
        cache = c.cache()
        q.check(cache["used_bytes"] <= 7 * MIB + 100000 and cache["evicted_bytes"] >= 5 * MIB, cache)
    with q.case("an evicted segment comes back whole, and another one goes for it"):
        f = files[0]
        c.z.cli("retrieve", "-f", f, check_exit=0)
        q.same(f.read_bytes() == c.content[f], True, "content")
        for x in files[2:4]:
            c.z.cli("retrieve", "-f", x, check_exit=0)
        q.wait_for(lambda: len(c.there()) <= 8, 30, "eviction")
        c.look()
        q.check(0 in c.there() and 3 in c.there() and 6 not in c.there(), c.there())
    with q.case("the highest segment stays, however old and stored it is"):
        c.used(files[11], 100000)
        for n in range(12):
            f = files[n]
            if not f.exists():
                c.z.cli("retrieve", "-f", f, check_exit=0)
        c.look()
        q.check(11 in c.there(), c.there())
    c.end()


def test_what_zdb_has_to_replay_stays():
    """zstor runs before zdb after a crash: behind the watermark (docs/FORMATS.md) the index is not on disk."""
    index = q.tmpdir("index")
    (index / "zdbfs-data").mkdir()

    def watermark(sequence, segment):
        raw = zfiles.WATERMARK.pack(b"ZWM1", 1, 0, 1, sequence, segment, 0, 28, 29, 0, 0, 0, segment, 28, 0, 0)[:-4]
        with open(index / "zdbfs-data" / "zdb-watermark", "r+b" if sequence > 1 else "w+b") as f:
            f.seek(sequence % 2 * 4096)
            f.write(raw + zfiles.crc(raw).to_bytes(4, "little"))

    watermark(1, 2)
    c = Cache(limit=4, index=index)
    files = [c.make(n, age=1000 - 50 * n) for n in range(10)]
    c.store(*files)
    with q.case("only what lies before the watermark goes"):
        q.wait_for(lambda: len(c.there()) <= 8, 30, "eviction")
        c.look()
        q.same(c.there(), list(range(2, 10)))
        q.check("segments stay until zdb has their index" in
                (c.z.dir / "zstor.log").read_text(), "nothing was said")
    with q.case("zdb has its index on disk: then they go, too"):
        watermark(2, 9)
        q.wait_for(lambda: len(c.there()) <= 4, 60, "eviction")
    c.end()


def test_what_is_not_stored_stays():
    c = Cache(limit=5, one_namespace=True)
    files = [c.make(n) for n in range(4)]
    changed, grown, unstored, degraded = files
    with q.case("changed, grown and never stored segments stay; the path may be one namespace"):
        data = bytearray(c.content[changed])
        data[5000] ^= 1
        c.store(changed, grown)
        st = changed.stat()
        changed.write_bytes(data)
        os.utime(changed, ns=(st.st_atime_ns, st.st_mtime_ns))  # not even its times tell
        with open(grown, "ab") as f:
            f.write(b"more")
        files += [c.make(n) for n in range(4, 10)]  # now the limit is passed
        c.store(*files[4:9])
        q.wait_for(lambda: not any(f.exists() for f in files[4:9]), 30, "eviction of the stored ones")
        c.look()
        q.same(c.there(), [0, 1, 2, 3, 9])
    with q.case("a segment whose object lacks a shard stays until it is complete"):
        c.backends[3].stop()
        c.store(degraded)
        c.look()
        q.check(degraded.exists())
        c.backends[3].start()
        q.wait_for(lambda: not degraded.exists(), 90, "eviction after the rebuild")
    with q.case("a segment with a queued job stays"):
        for b in c.backends[:3]:
            b.stop()
        c.z.cli("store", "-n", "-f", unstored, check_exit=0)
        q.check(q.Redis(path=c.z.socket).cmd("QUEUE") >= 1, "no job")
        c.look()
        q.check(unstored.exists())
    with q.case("nothing goes while the metadata cannot be asked"):
        extra = [c.make(n) for n in range(10, 16)]
        c.look()
        q.check(all(f.exists() for f in extra))
        for b in c.backends[:3]:
            b.start()
        c.z.cli("wait", "-t", 90 * q.SLOWDOWN, check_exit=0)
        q.wait_for(lambda: not unstored.exists(), 60, "eviction of what was queued")
        for f in (changed, grown):
            q.check(f.exists())
    with q.case("a changed segment is stored again at the next start, then it may go"):
        c.z.kill9()
        c.z.start()
        q.wait_for(lambda: not changed.exists(), 90, "eviction")
        c.z.cli("retrieve", "-f", changed, check_exit=0)
        q.check(changed.read_bytes() == bytes(data), "content is not the changed one")
        q.same(c.z.cli("check", "-f", grown).stdout.decode().strip(), b2(c.content[grown] + b"more"))
    c.end()


def test_reading_in_an_outage():
    c = Cache(limit=4)
    files = [c.make(n) for n in range(12)]
    c.store(*files)
    q.wait_for(lambda: len(c.there()) <= 3, 30, "eviction")
    with q.case("with two of four backends dead the limit holds while everything is read"):
        for b in c.backends[:2]:
            b.kill9()
        for f in files[:11]:
            if not f.exists():
                c.z.cli("retrieve", "-f", f, check_exit=0)
            q.check(f.read_bytes() == c.content[f], f"content of {f.name}")
            q.check(len(c.there()) <= 8, "the cache grows")
            if len(c.there()) > 4:
                q.wait_for(lambda: len(c.there()) <= 4, 60, "eviction")
        for b in c.backends[:2]:
            b.start()
    c.end()


def test_namespaces():
    c = Cache(limit=4)
    with q.case("of the data root all namespaces count but zdbfs-temp, each keeps its highest"):
        temp = [c.make(n, "zdbfs-temp") for n in range(8)]
        data = [c.make(n, "zdbfs-data") for n in range(4)]
        meta = [c.make(n, "zdbfs-meta") for n in range(4)]
        c.store(*temp, *data, *meta)
        q.wait_for(lambda: len(c.there("zdbfs-data")) + len(c.there("zdbfs-meta")) <= 3, 30, "eviction")
        c.look()
        q.same(len(c.there("zdbfs-temp")), 8)
        q.check(3 in c.there("zdbfs-data") and 3 in c.there("zdbfs-meta"))
        q.check(c.cache()["used_bytes"] <= 4 * MIB, c.cache())
    c.end()


def test_with_zdb():
    """The real thing: zdb writes and reads through the hook while the evictor keeps the limit."""
    c = Cache(limit=4)
    z = q.start_zdb(mode="seq", datasize=1 << 20, hook=q.HOOK, data=c.root, unix=True,
                    env={"ZSTOR_BIN": q.BIN / "zstor", "ZSTOR_CONFIG": c.z.config_file})
    with q.case("zdb reads evicted segments back, and the limit holds"):
        with z.client() as r:
            r.ok("NSNEW", "vol")
            r.ok("SELECT", "vol")
            values = [os.urandom(60000) for _ in range(200)]
            keys = []
            for v in values:
                k = r.cmd("SET", "", v)
                q.check(isinstance(k, bytes), k)
                keys.append(k)
            q.wait_for(lambda: len(c.there("vol")) <= 5, 60, "eviction")
            for k, v in zip(keys, values):
                q.check(r.cmd("GET", k) == v, "value")
            q.wait_for(lambda: len(c.there("vol")) <= 5, 60, "eviction after reading")
            for k, v in list(zip(keys, values))[::7]:
                q.check(r.cmd("GET", k) == v, "value read again")
    z.stop()
    c.end()


if __name__ == "__main__":
    q.main()

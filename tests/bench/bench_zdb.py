#!/usr/bin/env python3
"""zdb against redis-server, both driven by redis-benchmark: SET and GET of 4 KiB over 50 connections."""
import re
import shutil
import subprocess
import sys

from libbench import figure, median, q, timed

CLIENTS, VALUE = 50, 4096


def rates(port, pipeline, requests):
    out = subprocess.run(["redis-benchmark", "-p", str(port), "-t", "set,get", "-d", str(VALUE), "-c", str(CLIENTS), "-P",
                          str(pipeline), "-n", str(requests), "-r", "100000", "--csv"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, timeout=300).stdout
    return {m[1]: float(m[2]) for m in re.finditer(r'^"(SET|GET)","([0-9.]+)"', out, re.M)}


def main():
    if not shutil.which("redis-benchmark") or not shutil.which("redis-server"):
        sys.exit("redis-server and redis-benchmark are needed: apt-get install redis-server redis-tools")
    zdb = q.start_zdb(mode="user")
    port = q.free_port()
    redis = q.Daemon(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                     q.tmpdir("redis") / "log", cwd=q.TMP)
    redis.spawn()
    q.wait_for(lambda: q.Redis(port).cmd("PING"), 10, "redis")
    for pipeline, requests in ((1, 100_000), (16, 400_000)):
        results = {name: [rates(p, pipeline, requests) for _ in range(3)] for name, p in (("zdb", zdb.port), ("redis", port))}
        for command in ("SET", "GET"):
            ours, theirs = (sorted(r[command] for r in results[n])[1] for n in ("zdb", "redis"))
            figure(f"zdb: {command} 4 KiB, {CLIENTS} clients, pipeline {pipeline}", ours, "1/s", theirs, "redis")

    def batch():
        with zdb.client() as c:
            return timed(c.pipeline, [("SET", f"p{i}", b"v" * 100) for i in range(100)])

    figure("zdb: 100 pipelined SET on one connection", median(batch, 21) * 1000, "ms")


if __name__ == "__main__":
    main()
    q.finish()

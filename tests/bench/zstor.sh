#!/usr/bin/env bash
# zstor.sh [MIB [K [N]]] - store and retrieve one random segment over loopback, in one process without a daemon: MB (10^6
# bytes) of source per second of processor time and of wall clock, and peak memory.  Default: 64 MiB, 2 of 4.
# QSFS_BIN: directory of the programs; RUNS: how often (best run is shown, default 3); PERF=1: where the time goes, by perf.
set -eu
cd "$(dirname "$0")/../.."
bin=${QSFS_BIN:-$PWD/build/bin}
mib=${1:-64} k=${2:-2} n=${3:-4}
dir=$(mktemp -d "${TMPDIR:-/tmp}/zstor-bench.XXXXXX")
pids=()
finish()
{
    for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
    wait
    rm -rf "$dir"
}
trap finish EXIT

free_port()
{
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

config=$dir/zstor.yaml
umask 077
mkdir "$dir/state"
start_zdb() # name mode -> port
{
    port=$(free_port)
    mkdir -p "$dir/$1"
    "$bin/zdb" --data "$dir/$1/data" --index "$dir/$1/index" --listen 127.0.0.1 --port "$port" --mode "$2" >"$dir/$1.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 200); do
        if "$bin/zdb" --ctl --listen 127.0.0.1 --port "$port" PING >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    echo "zdb $1 does not answer" >&2
    exit 1
}

start_zdb meta user
meta=$port
{
    printf 'minimal_shards: %s\nexpected_shards: %s\nredundant_groups: 0\nredundant_nodes: 0\nstate_dir: %s/state\n' "$k" "$n" "$dir"
    printf 'encryption:\n  algorithm: AES\n  key: %064d\ncompression:\n  algorithm: snappy\n' 7
    printf 'meta:\n  type: zdb\n  config:\n    prefix: bench\n    encryption:\n      algorithm: AES\n      key: %064d\n    backends:\n' 8
    for i in 1 2 3 4; do
        "$bin/zdb" --ctl --listen 127.0.0.1 --port "$meta" NSNEW "m$i" >/dev/null
        printf '      - address: 127.0.0.1:%s\n        namespace: m%s\n' "$meta" "$i"
    done
    printf 'groups:\n  - backends:\n'
    servers=$((n < 4 ? n : 4)) ports=()
    for ((s = 0; s < servers; s++)); do
        start_zdb "data$s" seq
        ports+=("$port")
    done
    for ((i = 0; i < n; i++)); do
        p=${ports[$((i % servers))]}
        "$bin/zdb" --ctl --listen 127.0.0.1 --port "$p" NSNEW "d$i" >/dev/null
        printf '      - address: 127.0.0.1:%s\n        namespace: d%s\n' "$p" "$i"
    done
} >"$config"

python3 - "$bin/zstor" "$config" "$dir" "$mib" "${RUNS:-3}" "$k" "$n" <<'PY'
import hashlib, os, resource, subprocess, sys, time

zstor, config, dir, mib, runs, k, n = sys.argv[1:4] + [int(v) for v in sys.argv[4:]]
seg = ""
size = mib << 20


def run(*args):
    argv = [zstor, "-c", config, "--log_file", f"{dir}/zstor.log", *args]
    start = time.perf_counter()
    p = subprocess.Popen(argv)
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"{args[0]} failed: {status}\n" + open(f"{dir}/zstor.log").read()[-2000:])
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def digest():  # in pieces: the peak memory of a child starts with that of its parent
    h = hashlib.sha256()
    with open(seg, "rb") as f:
        while piece := f.read(1 << 20):
            h.update(piece)
    return h.digest()


best = {}
for i in range(runs):
    seg = f"{dir}/d{i}"  # a new object each time, as segments are
    with open(seg, "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))
    want = digest()
    for what, args in (("store", ("store", "-f", seg)), ("retrieve", ("retrieve", "-f", seg))):
        if what == "retrieve":
            os.unlink(seg)
        wall, cpu, rss = run(*args)
        old = best.get(what, (1e9, 1e9, 0))
        best[what] = (min(old[0], wall), min(old[1], cpu), max(old[2], rss))
    if digest() != want:
        sys.exit("content differs")
for what, (wall, cpu, rss) in best.items():
    print(f"{what:9s} {mib} MiB {k} of {n}: {size / cpu / 1e6:7.1f} MB per cpu second, {size / wall / 1e6:7.1f} MB/s wall, "
          f"peak memory {rss:.0f} MiB")
PY
if [ -n "${PERF:-}" ]; then
    head -c $((mib << 20)) /dev/urandom >"$dir/perf"
    for what in store retrieve; do
        echo "# $what"
        perf record -q -o "$dir/perf.data" "$bin/zstor" -c "$config" --log_file "$dir/zstor.log" "$what" -f "$dir/perf"
        perf report -q -i "$dir/perf.data" --stdio --sort dso 2>/dev/null | head -8
        perf report -q -i "$dir/perf.data" --stdio --sort dso,sym 2>/dev/null | head -25
    done
fi

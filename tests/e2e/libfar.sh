# shellcheck shell=bash
# libfar.sh - backends on "another machine": four of them outside of the installation, and a configuration of them.
#   far_start [N...]     backends N (1 to 4), in $FAR; far_kill N... ends them with -9
#   far_config K N       writes $FAR/zstor.yaml; zstor reaches them through proxies (libfar.py)
#   far_faults on|off    one in twenty answers fails
#   far_end              backends and proxies
#   tree                 what the mount has;  fsck_clean: it is in order
#   lose_machine         the installation is gone, and another one is there
FAR=$QSFS_TMP/far
FAR_PORT=$(free_ports)
far_secret=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f

far_ctl()
{
    local n=$1
    shift
    "$QSFS_BIN/zdb" --ctl --listen 127.0.0.1 --port $((FAR_PORT + n - 1)) "$@"
}

far_start()
{
    local n
    [ $# -gt 0 ] || set -- 1 2 3 4
    mkdir -p "$FAR"
    for n in "$@"; do
        setsid "$QSFS_BIN/zdb" --data "$FAR/data$n" --index "$FAR/index$n" --listen 127.0.0.1 --port $((FAR_PORT + n - 1)) \
            >>"$FAR/log$n" 2>&1 3>&- </dev/null &
        echo $! >"$FAR/pid$n"
    done
    for n in "$@"; do
        await 30 far_ctl "$n" PING >/dev/null 2>&1
        if ! far_ctl "$n" NSINFO data >/dev/null 2>&1; then
            printf 'NSNEW data\nNSSET data mode seq\nNSNEW meta\nNSSET meta mode user\n' | far_ctl "$n" >/dev/null
        fi
    done
}

far_kill()
{
    local n pid
    for n in "$@"; do
        pid=$(cat "$FAR/pid$n")
        kill -9 "$pid"
        await 20 test ! -e "/proc/$pid/fd/0"
    done
}

far_config()
{
    local n
    local -a port
    if [ ! -e "$FAR/ports" ]; then
        setsid python3 "$REPO/tests/e2e/libfar.py" "$FAR" $((FAR_PORT)) $((FAR_PORT + 1)) $((FAR_PORT + 2)) $((FAR_PORT + 3)) \
            >"$FAR/proxies.log" 2>&1 3>&- </dev/null &
        echo $! >"$FAR/pid.proxies"
        await 30 test -s "$FAR/ports"
    fi
    mapfile -t port <"$FAR/ports"
    {
        cat <<END
minimal_shards: $1
expected_shards: $2
redundant_groups: 0
redundant_nodes: 0
lease_seconds: 5
max_zdb_data_dir_size: 16
encryption:
  algorithm: AES
  key: "$far_secret"
compression:
  algorithm: snappy
meta:
  type: zdb
  config:
    prefix: far
    encryption:
      algorithm: AES
      key: "$far_secret"
    backends:
END
        for n in 0 1 2 3; do
            echo "      - { address: \"127.0.0.1:${port[n]}\", namespace: meta }"
        done
        echo "groups:"
        echo "  - backends:"
        for ((n = 0; n < $2; n++)); do
            echo "      - { address: \"127.0.0.1:${port[n]}\", namespace: data }"
        done
    } >"$FAR/zstor.yaml"
    chmod 600 "$FAR/zstor.yaml"
}

far_faults()
{
    if [ "$1" = on ]; then
        : >"$FAR/faults"
        await 20 grep -qsx faults "$FAR/state"
    else
        rm -f "$FAR/faults"
        await 20 grep -qsx honest "$FAR/state"
    fi
}

far_end()
{
    local file pid
    for file in "$FAR"/pid*; do
        pid=$(cat "$file")
        kill -9 "$pid" 2>/dev/null || continue
        await 20 test ! -e "/proc/$pid/fd/0"
    done
}

# All of the machine is gone but the kit; another one is installed.
lose_machine()
{
    rm -rf "$R"
    bootstrap --no-start >/dev/null
}

# what there is: names, kinds, links, times, contents
tree()
{
    (cd "$R/mnt/qsfs" && find . -mindepth 1 -printf '%P %y %m %n %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum)
}

# Unmounted, looked at, and mounted again by qsfs start.
fsck_clean()
{
    fusermount3 -u "$R/mnt/qsfs"
    await 60 test ! -e "/proc/$(cat "$R/run/zdbfs.pid")/fd/0"
    "$R/bin/zdbfs" --check -o "unix=$R/run/zdb.sock" >"$HOME/fsck"
}

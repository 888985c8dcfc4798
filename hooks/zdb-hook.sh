#!/bin/sh
# zdb-hook.sh - what zdb runs for each of its events: hands files to zstor, fetches missing ones back.
#
#   zdb --hook .../zdb-hook.sh       called as: zdb-hook.sh EVENT INSTANCE [ARGUMENT...]
#
# The files come from the event's arguments.  A store is only enqueued here: it has succeeded when zstor has it in its
# journal on disk, and zstor copies what may still change.  Exit status: 0 done or nothing to do; anything else tells
# zdb that it failed (zdb then keeps the list of changed index files for the next time).
#
# Environment, all optional:
#   ZSTOR_CONFIG   zstor's configuration      ZSTOR_BIN   the zstor program      ZDB_BIN   the zdb program
#   ZDBFS_PREFIX   prefix of an installation: PREFIX/etc/zstor.yaml, PREFIX/bin/zstor
#   ZDB_INDEX      index directory of zdb, for the events that name only a namespace (else zdb is asked)
#   ZDB_ADMIN_FILE file with zdb's admin password, when it has one
#   ZSTOR_READY_S  seconds that `ready` waits for zstor (20)
set -u

EMPTY_INDEX=29   # bytes of an index file without records: its header
EMPTY_DATA=28    # the same of a data file
LATER=75         # to retire-data: not yet, ask again

event=${1:-}
instance=${2:-}
if [ $# -lt 2 ]; then
    echo "zdb-hook: usage: zdb-hook.sh EVENT INSTANCE [ARGUMENT...]; zdb calls it" >&2
    exit 1
fi
shift 2

fail()
{
    echo "zdb-hook: $event: $*" >&2
    exit 1
}

# The first of the arguments that exists; nothing when none does.
first_file()
{
    for candidate in "$@"; do
        if [ -e "$candidate" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || fail "cannot find the directory of $0"

find_config()
{
    config=${ZSTOR_CONFIG:-}
    if [ -z "$config" ] && [ -n "${ZDBFS_PREFIX:-}" ]; then
        p=${ZDBFS_PREFIX%/}
        config=$(first_file "$p/etc/zstor.yaml" "$p/etc/zstor-default.yaml" "$p/data/zstor.yaml")
    fi
    if [ -z "$config" ]; then
        p=${here%/*}
        config=$(first_file "$p/etc/zstor.yaml" "$p/etc/zstor-default.yaml" "$here/zstor.yaml" \
            /etc/zstor.yaml /etc/zstor-default.yaml /data/zstor.yaml)
    fi
    [ -n "$config" ] || fail "no zstor configuration found; set ZSTOR_CONFIG"
    [ -r "$config" ] || fail "$config: cannot be read; check ZSTOR_CONFIG and the owner of the file"
}

# find_program VARIABLE NAME: its path on standard output
find_program()
{
    eval "chosen=\${$1:-}"
    if [ -z "$chosen" ]; then
        chosen=$(first_file "${ZDBFS_PREFIX:+${ZDBFS_PREFIX%/}/bin/$2}" "$here/$2" "$here/../build/bin/$2" \
            "/usr/local/bin/$2" "/bin/$2")
    fi
    if [ -z "$chosen" ] || [ ! -x "$chosen" ]; then
        fail "${chosen:-$2}: no such program; set $1"
    fi
    printf '%s\n' "$chosen"
}

zstor()
{
    "$zstor_bin" -c "$config" --log_file "${ZSTOR_LOG:-/dev/null}" "$@"
}

need_zstor()
{
    find_config
    zstor_bin=$(find_program ZSTOR_BIN zstor) || exit 1
}

absolute()
{
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

failed=0

# Enqueue one file; a failure is remembered, the next file is tried all the same.
store()
{
    if ! zstor store --notblocking --file "$(absolute "$1")"; then
        echo "zdb-hook: $event: $1 was not accepted by zstor" >&2
        failed=1
    fi
}

# store_dirty DIRECTORY "ID ID ...": the older index files whose entries were changed in place
store_dirty()
{
    for id in $2; do
        case $id in
            *[!0-9]*) fail "bad index number '$id' in the list of changed files" ;;
        esac
        store "$1/i$id"
    done
}

namespace_of()
{
    dir=${1%/*}
    printf '%s\n' "${dir##*/}"
}

size_of()
{
    if [ -e "$1" ]; then
        wc -c <"$1" | tr -d ' '
    else
        echo 0
    fi
}

# Nothing was ever written to this namespace: its first segment is its last, and holds no record.
untouched()
{
    [ "${1##*/}" = i0 ] && [ "$(size_of "$1")" -le $EMPTY_INDEX ] && [ "$(size_of "$2")" -le $EMPTY_DATA ]
}

need_args()
{
    [ "$1" -ge "$2" ] || fail "$2 arguments expected, got $1"
}

# Index directory of namespace $1: what only zdb knows, when the event does not tell.
index_dir_of()
{
    if [ -n "${ZDB_INDEX:-}" ]; then
        printf '%s\n' "${ZDB_INDEX%/}/$1"
        return
    fi
    zdb_bin=$(find_program ZDB_BIN zdb) || exit 1
    case $instance in
        unix://*)
            set -- "$1" --socket "${instance#unix://}" ;;
        tcp://*)
            address=${instance#tcp://}
            set -- "$1" --listen "${address%:*}" --port "${address##*:}" ;;
        *)
            fail "$instance: neither unix:// nor tcp://" ;;
    esac
    ns=$1
    shift
    if [ -n "${ZDB_ADMIN_FILE:-}" ]; then
        set -- "$@" --admin-file "$ZDB_ADMIN_FILE"
    fi
    dir=$("$zdb_bin" --ctl "$@" NSINFO "$ns" | sed -n 's/^.*index_path: *//p' | tr -d '\r"')
    [ -n "$dir" ] || fail "zdb at $instance does not tell the index directory of $ns; set ZDB_INDEX, or ZDB_ADMIN_FILE when it has an admin password"
    printf '%s\n' "$dir"
}

case $event in
    ready)
        need_zstor
        # without a socket every command works on its own, there is no daemon to wait for
        if grep -q '^ *"\{0,1\}socket"\{0,1\} *:' "$config"; then
            limit=${ZSTOR_READY_S:-20}
            tries=0
            until why=$(zstor queue 2>&1); do
                tries=$((tries + 1))
                if [ "$tries" -gt "$limit" ]; then
                    fail "zstor does not answer ($why); start it: zstor -c $config monitor"
                fi
                sleep 1
            done
        fi
        if ! why=$(timeout 15 "$zstor_bin" -c "$config" --log_file /dev/null test 2>&1); then
            echo "zdb-hook: ready: warning: not all backends are usable, going on: $why" >&2
        fi
        ;;

    namespace-created | namespace-updated)
        need_args $# 1
        [ "$1" != zdbfs-temp ] || exit 0
        need_zstor
        dir=$(index_dir_of "$1") || exit 1
        # gone again (deleted right after): nothing to keep
        [ -e "$dir/zdb-namespace" ] || exit 0
        store "$dir/zdb-namespace"
        ;;

    jump-index)
        need_args $# 3
        [ "$(namespace_of "$1")" != zdbfs-temp ] || exit 0
        need_zstor
        store "$1"
        store_dirty "${1%/*}" "$3"
        ;;

    jump-data)
        need_args $# 1
        [ "$(namespace_of "$1")" != zdbfs-temp ] || exit 0
        need_zstor
        store "$1"
        ;;

    # Nothing in it is live any more.  Its object stays; but what zstor has not stored yet it will want to read.
    retire-data)
        need_args $# 1
        [ "$(namespace_of "$1")" != zdbfs-temp ] || exit 0
        need_zstor
        sum=$(b2sum -l 128 "$1") && stored=$(zstor check --file "$(absolute "$1")") || exit $LATER
        case $stored in
            *"${sum%% *}"*) ;;
            *) exit $LATER ;;
        esac
        ;;

    missing-data)
        need_args $# 1
        need_zstor
        zstor retrieve --file "$(absolute "$1")" || exit $?
        ;;

    namespace-closing)
        need_args $# 4
        [ "$1" != zdbfs-temp ] || exit 0
        if [ "$1" = default ] && untouched "$2" "$3"; then
            exit 0
        fi
        need_zstor
        store "$3"
        store "$2"
        store_dirty "${2%/*}" "$4"
        if [ -e "${2%/*}/zdb-namespace" ]; then
            store "${2%/*}/zdb-namespace"
        fi
        ;;

    # Nothing to do here: namespaces-init restores nothing (a newer local file must never be overwritten by an older
    # remote one), close is followed by namespace-closing for each namespace.
    namespaces-init | close | namespace-deleted | namespace-reloaded | crash) ;;

    # An event of a later zdb is no reason to fail.
    *) ;;
esac
exit "$failed"

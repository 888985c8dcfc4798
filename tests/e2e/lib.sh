# shellcheck shell=bash
# lib.sh - for scenarios: plain shell, as a person would type it, in which every command has to succeed.
#   claim TEXT         what the commands up to the next claim show; "ok TEXT", or "not ok TEXT: line N: COMMAND"
#   await SECONDS COMMAND...   until it succeeds
#   refused TEXT COMMAND...    it fails, and its error output is one line that contains TEXT
# HOME is a directory of its own, "qsfs" and "bootstrap" are the real ones, R is the installation.  What runs at the end is ended.
set -Eeuo pipefail
exec 3>&1   # results, also from within something whose output goes elsewhere
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
REPO=$PWD
export HOME=$QSFS_TMP/home
R=$HOME/.threefold
claimed=
mkdir -p "$HOME"
case $QSFS_BIN in
    *address* | *thread* | *undefined*) SLOWDOWN=4 ;;
    *) SLOWDOWN=1 ;;
esac
export QSFS_START_S=$((60 * SLOWDOWN))

claim()
{
    [ -z "$claimed" ] || echo "ok $claimed" >&3
    claimed=$1
}

lib_failed()
{
    trap - ERR
    [ "$BASH_SUBSHELL" -eq 0 ] || exit 1    # the shell above sees it
    echo "not ok $claimed: line ${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $1" >&3
    claimed=
    exit 1
}
trap 'lib_failed "$BASH_COMMAND"' ERR

lib_end()
{
    local code=$?
    trap - EXIT
    if [ -n "$claimed" ]; then
        [ $code -eq 0 ] && echo "ok $claimed" >&3
        [ $code -eq 0 ] || echo "not ok $claimed: exit $code" >&3
    fi
    exit $code
}
trap lib_end EXIT
trap 'echo "not ok $claimed: it was ended from outside" >&3; claimed=; exit 1' TERM INT

await()
{
    local deadline=$((SECONDS + $1 * SLOWDOWN))
    shift
    until "$@"; do
        if [ $SECONDS -ge $deadline ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

refused()
{
    local text=$1 said
    shift
    if said=$("$@" 2>&1 >/dev/null); then
        echo "should have failed: $*" >&2
        return 1
    fi
    if [[ $said != *"$text"* ]] || [[ $said == *$'\n'* ]]; then
        echo "said, instead of one line with \"$text\": $said" >&2
        return 1
    fi
}

# a free range of ports for the local backends, below those that the kernel hands out
free_ports()
{
    python3 -c '
import os, socket
while True:
    first = 10000 + int.from_bytes(os.urandom(2), "little") % 20000
    try:
        held = [socket.socket() for _ in range(8)]
        for n, s in enumerate(held):
            s.bind(("127.0.0.1", first + n))
        print(first)
        break
    except OSError:
        pass'
}
QSFS_PORT_BASE=$(free_ports)
export QSFS_PORT_BASE

bootstrap()
{
    "$REPO/bootstrap/bootstrap.sh" "$@"
}

qsfs()
{
    "$R/bin/qsfs" "$@"
}

mounted()
{
    awk -v where="$R/mnt/qsfs" '$5 == where { found = 1 } END { exit !found }' /proc/self/mountinfo
}

not_mounted()
{
    ! mounted
}

# kill -9 of daemons, by their pid files: kill9 zdb zstor; all of them: kill9
kill9()
{
    local name pid
    [ $# -gt 0 ] || set -- zdbfs zdb zstor backend1 backend2 backend3 backend4
    for name in "$@"; do
        pid=$(cat "$R/run/$name.pid")
        kill -9 "$pid"
        await 20 test ! -e "/proc/$pid/fd/0"
    done
}

#!/usr/bin/env bash
# bootstrap.sh - from a bare Debian 12 to a mounted qsfs: packages, build, installation into ~/.threefold, keys, start.
# Running it again is safe at any time: keys, data and configuration stay, what does not run is started.
set -u
umask 077

usage()
{
    cat <<END
usage: bootstrap.sh [OPTION...] [ZSTOR-CONFIG]
  --config FILE    a zstor configuration of your own backends (.yaml, or .toml of the original) instead of local ones;
                   the same as the argument ZSTOR-CONFIG
  --geometry K,N   N local backends, any K of them give everything back (default 2,4; N is 4 to 64)
  --cache SIZE     limit of the local cache, for instance 64M or 20G (default 2G, at least 16M)
  --mount DIR      where the filesystem appears (default \$HOME/.threefold/mnt/qsfs)
  --port-base PORT port of the first local backend (default 9901), at the first run
  --no-start       install and configure, start nothing
  --uninstall      stop, remove the programs; keys, configuration and data stay
  --delete-data    with --uninstall: remove those too, at once and for ever
Installs into \$HOME/.threefold and nowhere else.  Run again with other values it changes what was asked, and says so.
environment: QSFS_BIN       directory with zdb, zdbfs and zstor, used instead of building them
             QSFS_PORT_BASE the same as --port-base
END
}

say()
{
    echo "bootstrap: $*"
}

die()
{
    echo "bootstrap: $*" >&2
    exit 1
}

MIB=1048576
DEFAULT_CACHE_MIB=2048
META_BACKENDS=4     # zstor keeps its records in four namespaces

cache=
custom=
geometry=
mount=
new_port_base=${QSFS_PORT_BASE:-}
port_from=QSFS_PORT_BASE
start=1
uninstall=0
delete_data=0

# value_of OPTION [VALUE...]
value_of()
{
    if [ $# -lt 2 ] || [ -z "$2" ]; then
        case $1 in
            --geometry) echo "bootstrap: --geometry: K,N is missing, for instance --geometry 2,4" >&2 ;;
            --cache) echo "bootstrap: --cache: a size is missing, for instance --cache 20G" >&2 ;;
            --mount) echo "bootstrap: --mount: a directory is missing, for instance --mount /mnt/qsfs" >&2 ;;
            *) echo "bootstrap: $1: a value is missing" >&2 ;;
        esac
        return 1
    fi
    printf '%s\n' "$2"
}

use_config()
{
    [ -z "$custom" ] || die "more than one configuration given: $custom and $1"
    [ -n "$1" ] || die "--config: a file is missing, for instance --config zstor.yaml"
    custom=$1
}

while [ $# -gt 0 ]; do
    option=$1
    shift
    # --option=value is --option value
    case $option in
        --config=* | --geometry=* | --cache=* | --mount=* | --port-base=*)
            set -- "${option#*=}" "$@"
            option=${option%%=*} ;;
    esac
    case $option in
        --config)
            use_config "${1-}" ;;
        --geometry)
            geometry=$(value_of "$option" "$@") || exit 1 ;;
        --cache)
            cache=$(value_of "$option" "$@") || exit 1 ;;
        --mount)
            mount=$(value_of "$option" "$@") || exit 1 ;;
        --port-base)
            new_port_base=$(value_of "$option" "$@") || exit 1
            port_from=--port-base ;;
        --no-start)
            start=0
            continue ;;
        --uninstall)
            uninstall=1
            continue ;;
        --delete-data)
            delete_data=1
            continue ;;
        -h | --help)
            usage
            exit 0 ;;
        -*)
            die "unknown option $option; known: --config --geometry --cache --mount --port-base --no-start --uninstall --delete-data --help" ;;
        *)
            use_config "$option"
            continue ;;
    esac
    shift
done
if [ $uninstall -eq 1 ] && [ -n "$custom$geometry$cache$mount" ]; then
    die "--uninstall goes with --delete-data only"
fi
if [ $delete_data -eq 1 ] && [ $uninstall -eq 0 ]; then
    die "--delete-data is part of --uninstall"
fi

cache_mib=
if [ -n "$cache" ]; then
    if ! [[ $cache =~ ^([0-9]{1,9})([KMGTkmgt]?)i?[Bb]?$ ]]; then
        die "--cache: '$cache' is not a size; a number with K, M, G or T, for instance 20G"
    fi
    n=$((10#${BASH_REMATCH[1]}))
    case ${BASH_REMATCH[2]} in
        '') cache_mib=$((n / MIB)) ;;
        [Kk]) cache_mib=$((n / 1024)) ;;
        [Mm]) cache_mib=$n ;;
        [Gg]) cache_mib=$((n * 1024)) ;;
        [Tt]) cache_mib=$((n * MIB)) ;;
    esac
    [ "$cache_mib" -ge 16 ] || die "--cache: '$cache' is too small, at least 16M"
fi

shards_needed=
shards=
if [ -n "$geometry" ]; then
    [ -z "$custom" ] || die "--geometry is for local backends; in $custom it is minimal_shards and expected_shards"
    if ! [[ $geometry =~ ^([0-9]{1,2}),([0-9]{1,2})$ ]]; then
        die "--geometry: '$geometry' is not K,N, for instance 2,4"
    fi
    shards_needed=$((10#${BASH_REMATCH[1]}))
    shards=$((10#${BASH_REMATCH[2]}))
    if [ $shards -lt $META_BACKENDS ] || [ $shards -gt 64 ] || [ $shards_needed -lt 1 ] || [ $shards_needed -ge $shards ]; then
        die "--geometry: '$geometry': N is $META_BACKENDS to 64, K at least 1 and less than N"
    fi
fi
case $mount in
    '' | /*) ;;
    *) mount=$PWD/$mount ;;
esac
mount=${mount%/}
case $mount in
    *[!A-Za-z0-9/._-]*) die "--mount: '$mount': only letters, digits, dot, dash and underscore may stand in the path" ;;
esac
if [ -e "$mount" ] && [ ! -d "$mount" ]; then
    die "--mount: '$mount' is not a directory"
fi

[ -d "${HOME:-}" ] || die "HOME is not set to a directory"
case $HOME in
    /*) ;;
    *) die "HOME: '$HOME' is not an absolute path" ;;
esac
R=$HOME/.threefold
# the longest socket name must fit a unix socket address of 107 bytes
[ $((${#R} + 15)) -le 100 ] || die "$R: the path is too long for the sockets below it, at most 85 characters"
case $R in
    *[!A-Za-z0-9/._-]*) die "$R: only letters, digits, dot, dash and underscore may stand in the path" ;;
esac
if [ -n "$custom" ] && { [ ! -f "$custom" ] || [ ! -r "$custom" ]; }; then
    die "$custom: no readable configuration file"
fi
here=$(cd "$(dirname "$0")" && pwd -P) || exit 1
top=${here%/*}
if [ -n "$new_port_base" ]; then
    if ! [[ $new_port_base =~ ^[0-9]{1,5}$ ]] || [ "$new_port_base" -lt 1024 ] || [ "$new_port_base" -gt 65472 ]; then
        die "$port_from: '$new_port_base' is not a port, 1024 to 65472"
    fi
fi

setting()
{
    sed -n "s/^$1=//p" "$R/etc/qsfs.conf" 2>/dev/null
}

# --- uninstall ------------------------------------------------------------------------------------------------------

if [ $uninstall -eq 1 ]; then
    [ -d "$R/etc" ] || [ -d "$R/bin" ] || die "$R: nothing is installed there"
    if [ -x "$R/bin/qsfs" ] && [ -e "$R/etc/qsfs.conf" ]; then
        if ! "$R/bin/qsfs" stop && [ $delete_data -eq 0 ]; then
            die "not everything could be stopped and stored, nothing was removed; repair that, or give --delete-data as well"
        fi
        [ ! -e "$R/bin/qsfs-units" ] || "$R/bin/qsfs-units" disable
    fi
    for pid in "$R"/run/*.pid; do
        [ -e "$pid" ] && die "${pid##*/}: a daemon may still run (process $(cat "$pid")); nothing was removed"
    done
    if grep -qE " $R/| $(setting MOUNT | sed 's/[.]/[.]/g; s/^$/none/') " /proc/self/mountinfo; then
        die "the filesystem is still mounted; nothing was removed"
    fi
    rm -rf "${R:?}/bin" "$R/run" "$R/log"
    if [ $delete_data -eq 1 ]; then
        rm -rf "${R:?}/keys" "${R:?}/etc" "$R/data" "$R/index"
        rmdir "$R/mnt/qsfs" "$R/mnt" "$R" 2>/dev/null
        say "removed, with keys and data"
    else
        say "programs removed; kept: $R/keys $R/etc $R/data $R/index (bootstrap.sh goes on with them; rm -r $R removes them for ever)"
    fi
    exit 0
fi

# --- packages and programs ------------------------------------------------------------------------------------------

need_fuse()
{
    local as_root=
    [ -e /dev/fuse ] && return
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root modprobe fuse 2>/dev/null
    [ -e /dev/fuse ] || die "/dev/fuse is missing; modprobe fuse, or give the container --device /dev/fuse"
}

# The directory with the three programs, in $built.
build()
{
    local source=$top log
    if [ -n "${QSFS_BIN:-}" ]; then
        built=$QSFS_BIN
    else
        [ -f "$top/Makefile" ] || die "$top: no sources of qsfs here; run bootstrap.sh from its repository"
        if [ ! -w "$top" ]; then
            source=$R/run/source
            rm -rf "$source"
            mkdir -p "$source"
            cp -R "$top"/Makefile "$top"/common "$top"/zdb "$top"/zdbfs "$top"/zstor "$source" || exit 1
        fi
        log=$R/log/build.log
        say "building in $source"
        (umask 022; exec make -C "$source" -j"$(nproc)" --no-print-directory all) >"$log" 2>&1 ||
            die "the build failed: $(grep -m1 -E 'error:|\*\*\*' "$log") (log: $log)"
        built=$source/build/bin
    fi
    for program in zdb zdbfs zstor; do
        [ -x "$built/$program" ] || die "$built/$program is missing"
    done
}

# install_program FILE: replaced as a whole, so that a running one keeps its own copy.
install_program()
{
    local target=$R/bin/${1##*/}
    if ! cmp -s "$1" "$target"; then
        if ! install -m 0755 "$1" "$target.new" || ! mv "$target.new" "$target"; then
            die "$target cannot be written"
        fi
        changed=1
    fi
}

# --- keys -----------------------------------------------------------------------------------------------------------

# new_key FILE BYTES: random, hexadecimal, kept when it exists.
new_key()
{
    local file=$R/keys/$1 digits
    [ -s "$file" ] && return
    digits=$(od -An -v -tx1 -N"$2" /dev/urandom | tr -d ' \n')
    [ ${#digits} -eq $(($2 * 2)) ] || die "/dev/urandom gave no $2 bytes"
    printf '%s\n' "$digits" >"$file.new"
    sync "$file.new"
    mv "$file.new" "$file"
    sync "$R/keys"
}

key()
{
    cat "$R/keys/$1"
}

make_keys()
{
    local n
    if [ ! -s "$R/keys/data.key" ] && [ -n "$(ls -A "$R/data/backend1" 2>/dev/null)" ]; then
        die "$R/keys: the keys are gone but data is there; put the keys back, or move $R away to start anew"
    fi
    new_key data.key 32
    new_key meta.key 32
    new_key admin.password 24
    for ((n = 1; n <= backends; n++)); do
        new_key "backend$n.password" 24
    done
}

# --- zstor's configuration ------------------------------------------------------------------------------------------

# backend_entries KIND COUNT INDENT
backend_entries()
{
    local n
    for ((n = 1; n <= $2; n++)); do
        printf '%s- address: "127.0.0.1:%d"\n' "$3" $((port_base + n - 1))
        printf '%s  namespace: "%s%d"\n' "$3" "$1" "$n"
        printf '%s  password: "%s"\n' "$3" "$(key "backend$n.password")"
    done
}

# local_config CACHE-MIB K N BACKENDS MOUNT
local_config()
{
    cat <<END
# zstor of this installation: local backends, any minimal_shards of them give everything back.
# The keys and passwords in here are those of keys/; nobody but the owner may read this file.
minimal_shards: $2
expected_shards: $3
redundant_groups: 0
redundant_nodes: 0
root: "$R"
socket: "$R/run/zstor.sock"
pid_file: "$R/run/zstor.pid"
state_dir: "$R/data/zstor"
zdb_data_dir_path: "$R/data/local"
zdb_index_dir_path: "$R/index/local"
max_zdb_data_dir_size: $1
zdbfs_mountpoint: "$5"
encryption:
  algorithm: AES
  key: "$(key data.key)"
compression:
  algorithm: snappy
meta:
  type: zdb
  config:
    prefix: qsfs-meta
    encryption:
      algorithm: AES
      key: "$(key meta.key)"
    backends:
$(backend_entries meta $META_BACKENDS '      ')
groups:
  - backends:
$(backend_entries data "$4" '      ')
END
}

# in_config FILE get|set|check [WORD...]
in_config()
{
    local file=$1
    shift
    "$R/bin/zstor" -c "$file" --log_file /dev/null config "$@"
}

# value FILE KEY: nothing when it is not set
value()
{
    in_config "$1" get "$2" 2>/dev/null
}

# set_key FILE KEY VALUE WHY: the key gets this value; said when that changes something.
set_key()
{
    local file=$1 name=$2 new=$3 why=$4 old
    old=$(value "$file" "$name")
    [ "$old" != "$new" ] || return 0
    in_config "$file" set "$name" "$new" || die "${custom:-$R/etc/zstor.yaml}: $name could not be set"
    if [ -n "$old" ]; then
        say "configuration: $name was \"$old\", is now \"$new\" ($why)"
    else
        say "configuration: $name: \"$new\" added ($why)"
    fi
}

# A configuration of the user's own, with what belongs to this machine made to fit.
custom_config()
{
    local new=$1 root
    case $custom in
        *.toml)
            command -v python3 >/dev/null || die "$custom: python3 is needed to convert it; apt-get install python3"
            python3 "$here/toml2yaml.py" "$custom" >"$new" || die "$custom: could not be converted"
            say "configuration: $custom converted from TOML" ;;
        *)
            if ! cp "$custom" "$new" || ! chmod 0600 "$new"; then
                exit 1
            fi ;;
    esac
    if ! grep -q '^groups:' "$new" || ! grep -q '^meta:' "$new"; then
        die "$custom: not a zstor configuration: 'groups' and 'meta' must stand at the start of a line"
    fi
    set_key "$new" socket "$R/run/zstor.sock" "the installation's own socket"
    set_key "$new" pid_file "$R/run/zstor.pid" "the installation's own pid file"
    set_key "$new" state_dir "$R/data/zstor" "the queue lives with the data"
    set_key "$new" zdb_data_dir_path "$R/data/local" "what the local zdb writes"
    set_key "$new" zdb_index_dir_path "$R/index/local" "what the local zdb writes"
    set_key "$new" zdbfs_mountpoint "$mount" "the installation's mount"
    root=$(value "$new" root)
    root=${root%/}
    case $R/ in
        "$root"/*)
            if [ -z "$(value "$new" root)" ]; then
                set_key "$new" root "$R" "paths are stored relative to it, so that another user's machine can recover"
            fi ;;
        *) set_key "$new" root "$R" "it has to contain the local zdb" ;;
    esac
    if [ -n "$cache_mib" ] || [ -z "$(value "$new" max_zdb_data_dir_size)" ]; then
        set_key "$new" max_zdb_data_dir_size "${cache_mib:-$DEFAULT_CACHE_MIB}" "MiB of local cache"
    fi
}

# The part of a configuration that decides which data can be read: all but what this script sets.
essence()
{
    grep -vE '^(socket|pid_file|state_dir|zdb_data_dir_path|zdb_index_dir_path|zdbfs_mountpoint|max_zdb_data_dir_size):|^ *#|^ *$' "$1"
}

# The geometry of what is stored from now on; what is there keeps its own, which its records tell.
set_geometry()
{
    local new=$1 k n
    k=$(value "$new" minimal_shards)
    n=$(value "$new" expected_shards)
    [ "$k,$n" != "$shards_needed,$shards" ] || return 0
    if ! cmp -s <(grep -vE '^ *#|^zdb_index_dir_path:' "$new") <(local_config "$(value "$new" max_zdb_data_dir_size)" "$k" "$n" "$old_backends" "$(value "$new" zdbfs_mountpoint)" | grep -vE '^#|^zdb_index_dir_path:'); then
        die "$R/etc/zstor.yaml was edited by hand, --geometry would undo that: set minimal_shards and expected_shards there (and list the backends)"
    fi
    local_config "$(value "$new" max_zdb_data_dir_size)" "$shards_needed" "$shards" "$backends" "$(value "$new" zdbfs_mountpoint)" >"$new.geometry"
    mv "$new.geometry" "$new"
    say "configuration: geometry was $k of $n, is now $shards_needed of $shards for what is stored from now on"
    [ "$backends" -eq "$old_backends" ] || say "local backends: were $old_backends, are now $backends"
    [ "$shards" -ge "$backends" ] || say "all $backends local backends stay: they hold what is stored already"
}

make_config()
{
    local config=$R/etc/zstor.yaml new=$R/etc/zstor.yaml.new old
    if [ -n "$custom" ]; then
        custom_config "$new"
        if [ -e "$config" ] && ! cmp -s <(essence "$config") <(essence "$new"); then
            rm -f "$new"
            die "$config is another configuration, and what is stored under it would become unreadable; edit it by hand (then qsfs start), or move $R away"
        fi
    elif [ ! -e "$config" ]; then
        local_config "${cache_mib:-$DEFAULT_CACHE_MIB}" "$shards_needed" "$shards" "$backends" "$mount" >"$new"
    else
        cp "$config" "$new"
        old=$(value "$config" max_zdb_data_dir_size)
        if [ -n "$cache_mib" ] && [ "$old" != "$cache_mib" ]; then
            in_config "$new" set max_zdb_data_dir_size "$cache_mib" || exit 1
            say "configuration: local cache was ${old:-unlimited} MiB, is now $cache_mib MiB"
        fi
        [ "$backends" -eq 0 ] || set_geometry "$new"
        set_key "$new" zdbfs_mountpoint "$mount" "where the filesystem appears"
        set_key "$new" zdb_index_dir_path "$R/index/local" "what the local zdb writes"
    fi
    # an unchanged file keeps its time: qsfs start restarts zstor when it is newer than the running one
    cmp -s "$new" "$config" || mv "$new" "$config"
    rm -f "$new"
    chmod 0600 "$config"
}

# --- settings of the qsfs helper ------------------------------------------------------------------------------------

make_settings()
{
    local mib segment size free
    mib=$(value "$R/etc/zstor.yaml" max_zdb_data_dir_size)
    [[ $mib =~ ^[0-9]+$ ]] || die "$R/etc/zstor.yaml: max_zdb_data_dir_size: '$mib' is not a number of MiB"
    # several segments must fit the cache, one is always open
    segment=$((mib * MIB / 8))
    [ $segment -ge $MIB ] || segment=$MIB
    [ $segment -le $((32 * MIB)) ] || segment=$((32 * MIB))
    size=$(setting SIZE)
    if [ "$backends" -eq 0 ]; then
        # what the backends hold is not known here
        size=${size:-1099511627776}
    elif [ -z "$size" ]; then
        # what the disk can still take when each byte takes n/k of it
        free=$(df --output=avail -B $MIB "$R" | tail -n 1)
        size=$((free * MIB * shards_needed / shards))
    fi
    {
        echo "# written by bootstrap.sh, read by qsfs"
        echo "# BACKENDS: local backend processes; PORT_BASE: port of the first one; SEGMENT: bytes of a local data file;"
        echo "# ROTATE: seconds after which an open one is closed and stored; SIZE: bytes that the mount reports as its size;"
        echo "# MOUNT: the directory where it appears"
        echo "BACKENDS=$backends"
        echo "PORT_BASE=$port_base"
        echo "SEGMENT=$segment"
        echo "ROTATE=$(setting ROTATE | grep . || echo 900)"
        echo "SIZE=$size"
        echo "MOUNT=$mount"
    } >"$R/etc/qsfs.conf.new"
    mv "$R/etc/qsfs.conf.new" "$R/etc/qsfs.conf"
}

# --- all together ---------------------------------------------------------------------------------------------------

# shellcheck source=bootstrap/packages.sh
. "$here/packages.sh"
if [ -z "${QSFS_BIN:-}" ]; then
    # shellcheck disable=SC2086 # a list of words
    packages_install $PACKAGES_BUILD || exit 1
fi
need_fuse

private_directory()
{
    if ! mkdir -p "$1" || ! chmod 0700 "$1"; then
        die "$1 cannot be made"
    fi
}

for directory in "" /bin /etc /keys /data /data/local /data/zstor /index /index/local /log /run /mnt; do
    private_directory "$R$directory"
done
exec 8>"$R/run/bootstrap.lock" || exit 1
flock -n 8 || die "another bootstrap is running (lock $R/run/bootstrap.lock)"

# --- what is here already, and what was asked -----------------------------------------------------------------------

changed=0
backends=1      # or more: known when the programs are there
old_backends=$(setting BACKENDS)
if [ -n "$custom" ] || [ "$old_backends" = 0 ]; then
    [ -z "$geometry" ] || die "--geometry is for local backends; in $R/etc/zstor.yaml it is minimal_shards and expected_shards"
    backends=0
    shards=4
    shards_needed=2
fi
port_base=$(setting PORT_BASE)
if [ -n "$port_base" ] && [ -n "$new_port_base" ] && [ "$port_base" != "$new_port_base" ]; then
    die "$port_from: the backends of this installation have the ports from $port_base on, and what is stored is recorded under them; this cannot be changed"
fi
port_base=${port_base:-${new_port_base:-9901}}

old_mount=$(setting MOUNT)
old_mount=${old_mount:-$R/mnt/qsfs}
mount=${mount:-$old_mount}
is_mounted()
{
    awk -v where="$1" '$5 == where { found = 1 } END { exit !found }' /proc/self/mountinfo
}
if [ "$mount" != "$old_mount" ] && is_mounted "$old_mount"; then
    say "unmounting $old_mount, to mount $mount"
    if ! fusermount3 -u "$old_mount" && ! umount "$old_mount"; then
        die "$old_mount is in use (fuser -vm $old_mount lists who uses it); nothing was changed"
    fi
    deadline=$((SECONDS + 120))
    zdbfs_pid=$(cat "$R/run/zdbfs.pid" 2>/dev/null)
    while [ -n "$zdbfs_pid" ] && grep -qF zdbfs "/proc/$zdbfs_pid/cmdline" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || die "zdbfs (pid $zdbfs_pid) does not end; nothing was changed"
        sleep 0.1
    done
fi
# a mounted one is left alone: touching it could wait for a dead zdbfs
is_mounted "$mount" || mkdir -p "$mount" || die "--mount: $mount cannot be made"

build
for file in "$built/zdb" "$built/zdbfs" "$built/zstor" "$top/hooks/zdb-hook.sh" "$here/qsfs" "$here/qsfs-units" "$here/qsfs-status" "$here/qsfs-doctor" \
    "$here/qsfs-kit" "$here/qsfs-recover" "$here/toml2yaml.py"; do
    [ ! -e "$file" ] || install_program "$file"
done
rm -rf "$R/run/source"
if [ "$backends" -ne 0 ]; then
    if [ -z "$geometry" ]; then
        shards_needed=$(value "$R/etc/zstor.yaml" minimal_shards)
        shards=$(value "$R/etc/zstor.yaml" expected_shards)
        shards_needed=${shards_needed:-2}
        shards=${shards:-4}
    fi
    backends=${old_backends:-$shards}
    [ "$backends" -ge "$shards" ] || backends=$shards
fi
make_keys
make_config
make_settings

if [ $changed -eq 1 ] && [ -e "$R/run/zdb.pid" ]; then
    say "programs were replaced; running ones keep the old version until: qsfs stop; qsfs start"
fi
if [ $start -eq 1 ]; then
    "$R/bin/qsfs" start 8>&- || exit 1
    say "mounted: $mount"
else
    say "installed, nothing was started: $R/bin/qsfs start"
fi
cat <<END
bootstrap: keys:    $R/bin/qsfs kit FILE - keep that file elsewhere: without it nothing can be read back from the backends
bootstrap: control: $R/bin/qsfs start|stop|status|wait; after a reboot by itself: $R/bin/qsfs enable
END

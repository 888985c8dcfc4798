# shellcheck shell=sh
# packages.sh - the Debian packages that qsfs needs, and their installation; read by bootstrap.sh, tests/run.sh, .ci/run.
# Sets PACKAGES_BUILD (compile and run), PACKAGES_TEST (and test), PACKAGES_CI (and lint, second compiler).

PACKAGES_BUILD="gcc make pkg-config libc6-dev libfuse3-dev fuse3 libhiredis-dev libyaml-dev libevent-dev libsodium-dev \
libssl-dev libisal-dev libsnappy-dev uthash-dev"
# openssl: the documents use it for keys; cryptography, snappy: the reference implementation is slow without them
# redis-server: a backend of another kind, for real
PACKAGES_TEST="$PACKAGES_BUILD check python3 python3-cryptography python3-snappy openssl redis-server"
# shellcheck disable=SC2034 # used by the readers of this file
PACKAGES_CI="$PACKAGES_TEST clang clang-format clang-tidy libclang-rt-14-dev shellcheck"

packages_missing()
{
    for package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

# packages_install PACKAGE...: only what is missing, as root or through sudo.  1: not possible, said on standard error.
packages_install()
{
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        if command -v pkg-config >/dev/null 2>&1 && pkg-config --exists fuse3 hiredis yaml-0.1 libevent libsodium libcrypto libisal; then
            return 0
        fi
        echo "this is not a Debian system: install by hand what corresponds to: $*" >&2
        return 1
    fi
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "packages are missing and sudo is not here; as root: apt-get install $missing" >&2
            return 1
        fi
        as_root=sudo
    fi
    echo "installing packages: $missing"
    # shellcheck disable=SC2086 # a list of words
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null ||
        ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null; then
        echo "apt-get could not install: $missing (network or /etc/apt/sources.list?)" >&2
        return 1
    fi
}

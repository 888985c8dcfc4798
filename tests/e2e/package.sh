#!/usr/bin/env bash
# limit: 200
# The Debian package of this tree: built, installed into an empty root, used, removed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
root=$QSFS_TMP/root
version=$(sed -n 's/^#define QSFS_VERSION "\(.*\)"$/\1/p' common/version.h)

dpkg_root()
{
    dpkg --root="$root" --force-depends --force-not-root --force-script-chrootless "$@" >/dev/null 2>&1
}

claim "package: it is built"
bootstrap/packaging/deb.sh "$QSFS_BIN" >"$HOME/out"
deb=$(cat "$HOME/out")
test "$(dpkg-deb -f "$deb" Version)" = "$version"

claim "package: it depends on what the programs load, and on nothing else"
dpkg-deb -f "$deb" Depends | tr , '\n' | sed 's/ //g' | sort >"$HOME/depends"
for library in libc6 libfuse3-3 libhiredis0.14 libisal2 libsnappy1v5 libsodium23 libssl3 libyaml-0-2 fuse3; do
    grep -qx "$library" "$HOME/depends"
done
grep -q i386 "$HOME/depends" && exit 1

claim "package: lintian finds nothing, AppArmor's parser understands the profiles"
if command -v lintian >/dev/null; then
    lintian --no-cfg --allow-root "$deb" >"$HOME/out" 2>&1
    test ! -s "$HOME/out"
else
    echo "# note: lintian is not here: what it says of the package was not looked at" >&3
fi
if command -v apparmor_parser >/dev/null; then
    apparmor_parser -Q -S bootstrap/packaging/apparmor/qsfs >/dev/null 2>"$HOME/err"
else
    echo "# note: apparmor_parser is not here: the profiles were not looked at" >&3
fi

claim "package: it installs into an empty root"
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
dpkg_root -i "$deb"
for program in zdb zdbfs zstor; do
    "$root/usr/bin/$program" --version >"$HOME/out"
    grep -qx "$program $version" "$HOME/out"
done

claim "package: each program has its page, and the pages are without errors"
for page in man1/qsfs.1 man5/zstor.yaml.5 man7/hooks.7 man8/zdb.8 man8/zdbfs.8 man8/zstor.8; do
    gzip -t "$root/usr/share/man/$page.gz"
done
for completion in "$root"/usr/share/bash-completion/completions/*; do
    bash -n "$completion"
done

claim "package: qsfs says what to do first"
refused "nothing is installed in $HOME/.threefold yet" "$root/usr/bin/qsfs" start

claim "package: removed, nothing of it is left"
dpkg_root -P qsfs
test ! -e "$root/usr"
rm -f "$deb"

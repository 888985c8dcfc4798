#!/usr/bin/env bash
# limit: 300
# The release before points, kits and leases, killed in the middle of its work, is upgraded in place: everything is there.
# tests/golden/qsfs/before-points.tar.xz is the HOME of one, made at /mnt/home with ports 9901 to 9904: both are had by namespaces.
if [ -z "${UPGRADE_INSIDE:-}" ]; then
    if ! unshare -mn true 2>/dev/null; then
        echo "not ok upgrade: no namespaces of mounts and networks can be made here (root is needed)"
        exit 1
    fi
    UPGRADE_INSIDE=1 exec unshare -mn "$0"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
ip link set lo up
mount -t tmpfs none /mnt
export HOME=/mnt/home
R=$HOME/.threefold
mnt=$R/mnt/qsfs
unset QSFS_PORT_BASE
mkdir "$HOME"

# what the old release was told to write, and had synced
tree_is_there()
{
    diff <(seq 500) "$mnt/a/b/renamed"
    test ! -e "$mnt/a/file1" -a ! -e "$mnt/a/file2"
    diff <(seq 1500; echo more) "$mnt/a/file3"
    test "$mnt/a/file3" -ef "$mnt/a/b/hard"
    test "$(readlink "$mnt/a/b/symbolic")" = ../file4
    diff <(seq 2000) "$mnt/a/b/symbolic"
    diff <(seq 2500; echo changed) "$mnt/a/file5"
    test "$(stat -c '%a %s' "$mnt/a/file6")" = "640 13893"
    test "$(TZ=UTC stat -c %y "$mnt/a/file6")" = "2001-02-03 04:05:06.123456789 +0000"
    cmp "$mnt/a/sparse" <(head -c 5242880 /dev/zero)
    diff <(seq 3000) "$mnt/later/synced"
}

claim "upgrade: one command upgrades in place, and changes no key"
tar -xJf "$REPO/tests/golden/qsfs/before-points.tar.xz" -C "$HOME"
cp -R "$R/keys" "$HOME/keys"
cp "$R/data/local/zdbfs-data/d0" "$HOME/d0"
bootstrap --cache 16M >"$HOME/out"
diff -r "$R/keys" "$HOME/keys"
mounted

claim "upgrade: what had been synced is there, with names, links, times, holes"
tree_is_there

claim "upgrade: an object that the old release stored is read"
"$R/bin/zstor" -c "$R/etc/zstor.yaml" --log_file /dev/null retrieve -f "$R/data/local/zdbfs-data/d0" -o "$HOME/stored"
test -s "$HOME/stored"
cmp -n "$(stat -c %s "$HOME/stored")" "$HOME/stored" "$HOME/d0"

claim "upgrade: it is used, has points, and everything is stored"
echo new >"$mnt/later/new"
qsfs wait >/dev/null
qsfs status >"$HOME/out"
grep -q '^last point .* old' "$HOME/out"
qsfs doctor >/dev/null

claim "upgrade: it is in order, also after a stop and a start with the cache emptied"
qsfs stop >/dev/null
rm "$R/data/local/zdbfs-data/d0"
qsfs start >/dev/null
tree_is_there
grep -qx new "$mnt/later/new"
fusermount3 -u "$mnt"
await 60 test ! -e "/proc/$(cat "$R/run/zdbfs.pid")/fd/0"
"$R/bin/zdbfs" --check -o "unix=$R/run/zdb.sock" >"$HOME/fsck"
qsfs stop >/dev/null

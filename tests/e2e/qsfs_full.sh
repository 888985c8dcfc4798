#!/usr/bin/env bash
# limit: 300
# The disk of the local cache is full, as the backends are away: who writes is told, reading and deleting go on, and all is well
# when they are back.  The disk is a small tmpfs in a namespace of mounts.
if [ -z "${FULL_INSIDE:-}" ]; then
    if ! unshare -m true 2>/dev/null; then
        echo "not ok full: no namespace of mounts can be made here (root is needed)"
        exit 1
    fi
    FULL_INSIDE=1 exec unshare -m "$0"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/libfar.sh
. "$REPO/tests/e2e/libfar.sh"
mnt=$R/mnt/qsfs
files=0

# files of 4 MiB, each synced, until there is no room
fill()
{
    while dd if=/dev/urandom of="$mnt/full$files" bs=1M count=4 conv=fsync status=none 2>"$HOME/dd"; do
        sha256sum "$mnt/full$files" >>"$QSFS_TMP/sums"
        files=$((files + 1))
        [ $files -lt 60 ]
    done
    grep -q "No space left on device" "$HOME/dd"
}

can_write()
{
    dd if=/dev/urandom of="$mnt/again" bs=1M count=4 conv=fsync status=none 2>/dev/null
}

claim "full: a mount on a disk of 128 MiB, its backends elsewhere"
mount -t tmpfs -o size=128M none "$HOME"
far_start
far_config 2 4
bootstrap --config "$FAR/zstor.yaml" >/dev/null
echo kept >"$mnt/kept"
sync "$mnt/kept"
qsfs wait >/dev/null

claim "full: the backends go, the disk gets full: the writer is told, and what was confirmed is kept"
far_kill 1 2 3 4
fill
test $files -gt 5
sha256sum --quiet -c "$QSFS_TMP/sums"
grep -qx kept "$mnt/kept"

claim "full: status says at risk, every daemon runs, deleting works"
code=0
qsfs status >"$QSFS_TMP/out" || code=$?
test $code = 1
grep -q "NOT RUNNING" "$QSFS_TMP/out" && exit 1
rm "$mnt/full0"
sync "$mnt"
sed -i 1d "$QSFS_TMP/sums"
test ! -e "$mnt/full0"

claim "full: with a kill -9 of everything on the full disk nothing that was confirmed is lost"
kill9 zdbfs zdb zstor
fusermount3 -u -z "$mnt"
qsfs start >/dev/null
sha256sum --quiet -c "$QSFS_TMP/sums"
test ! -e "$mnt/full0"

claim "full: the backends are back: it is uploaded, evicted, and can be written to"
far_start
await 120 can_write
await 60 qsfs wait >/dev/null 2>&1    # the first one may hear of what did not fit before
await 60 qsfs status >/dev/null
sha256sum --quiet -c "$QSFS_TMP/sums"

claim "full: stopped with everything stored, in order"
qsfs stop >"$HOME/out"
grep -qx "qsfs: everything is stored" "$HOME/out"
qsfs start >/dev/null
sha256sum --quiet -c "$QSFS_TMP/sums"
fsck_clean
qsfs stop >/dev/null
far_end

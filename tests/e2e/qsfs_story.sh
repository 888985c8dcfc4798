#!/usr/bin/env bash
# limit: 600
# A user's life with qsfs: install, work, lose backends, get others, stop, go on, leave.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
mnt=$R/mnt/qsfs

# objects of a data namespace of backend N
objects()
{
    "$R/bin/zdb" --ctl --listen 127.0.0.1 --port $((QSFS_PORT_BASE + $1 - 1)) --admin-file "$R/keys/admin.password" NSINFO "data$1" |
        sed -n 's/.*\bentries: *\([0-9]*\).*/\1/p'
}

has_objects()
{
    [ "$(objects "$1")" -ge "$2" ]
}

claim "story: one command installs and mounts"
bootstrap --cache 16M >/dev/null
mounted

claim "story: a tree is copied, and is the same"
cp -R --preserve=mode,timestamps,links "$REPO/docs" "$REPO/hooks" "$mnt"
head -c 20000000 /dev/urandom >"$HOME/big"
cp "$HOME/big" "$mnt/big"
diff -r "$REPO/docs" "$mnt/docs"

claim "story: qsfs wait returns when everything is stored remotely, and qsfs status says so"
qsfs wait >/dev/null
await 90 qsfs status >"$HOME/out"

claim "story: two of four backends die, everything is read, new things are written"
kill9 backend1 backend3
cmp "$HOME/big" "$mnt/big"
diff -r "$REPO/docs" "$mnt/docs"
cp "$HOME/big" "$mnt/new"
sync "$mnt/new"

claim "story: their disks are lost, too; a rebuild makes them whole again"
rm -r "$R/data/backend1" "$R/index/backend1" "$R/data/backend3" "$R/index/backend3"
qsfs start >/dev/null
qsfs wait >/dev/null
"$R/bin/zstor" -c "$R/etc/zstor.yaml" --log_file /dev/null rebuild --all
all=$(objects 2)
await 60 has_objects 1 $((all / 2))
await 60 has_objects 3 $((all / 2))

claim "story: now the other two may die"
kill9 backend2 backend4
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
cmp "$HOME/big" "$mnt/big"
diff -r "$REPO/docs" "$mnt/docs"
qsfs start >/dev/null

claim "story: stopped and started, everything is there"
qsfs stop >"$HOME/out"
grep -qx "qsfs: everything is stored" "$HOME/out"
not_mounted
qsfs start >/dev/null
cmp "$HOME/big" "$mnt/big"

claim "story: a daemon that cannot start says why in one line"
qsfs stop >/dev/null
sed -i 's/^expected_shards: 4/expected_shards: 9/' "$R/etc/zstor.yaml"
qsfs start >/dev/null 2>"$HOME/err" && exit 1
test "$(wc -l <"$HOME/err")" = 1
grep -q "zstor did not start: .*insufficient data backends" "$HOME/err"
sed -i 's/^expected_shards: 9/expected_shards: 4/' "$R/etc/zstor.yaml"
qsfs start >/dev/null

claim "story: wrong use is one line and exit 2"
for words in frobnicate "start now" ""; do
    code=0
    # shellcheck disable=SC2086 # words
    qsfs $words >/dev/null 2>"$HOME/err" || code=$?
    test $code = 2
    test "$(wc -l <"$HOME/err")" = 1
done

claim "story: uninstalled, with all data"
bootstrap --uninstall --delete-data >/dev/null
test ! -e "$R"

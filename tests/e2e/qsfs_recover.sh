#!/usr/bin/env bash
# limit: 600
# The machine is lost, all but the kit: everything that was stored comes back, and is told how old it is.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/libfar.sh
. "$REPO/tests/e2e/libfar.sh"
mnt=$R/mnt/qsfs
kit=$HOME/kit

# create, update, rename, delete, hard links
work()
{
    local d=$mnt/$1 n
    mkdir -p "$d/sub"
    for n in 1 2 3 4 5; do
        head -c $((n * 30000)) /dev/urandom >"$d/file$n"
    done
    head -c 3000000 /dev/urandom >"$d/large"
    printf 'changed' | dd of="$d/large" bs=1 seek=100000 conv=notrunc status=none
    mv "$d/file1" "$d/sub/renamed"
    rm "$d/file2"
    ln "$d/file3" "$d/sub/hard"
    ln -s ../file4 "$d/sub/symbolic"
    echo more >>"$d/file4"
}

# The open segment of a namespace is closed, and stored at the backends.
stored_up_to_here()
{
    local file
    file=$(find "$R/data/local/$1" -name 'd[0-9]*' | sort -V | tail -n 1)
    "$R/bin/zdb" --ctl --socket "$R/run/zdb.sock" --ns "$1" NSJUMP >/dev/null
    await 60 is_stored "$file"
    await 60 is_stored "$R/index/local/$1/i${file##*/d}"
}

is_stored()
{
    "$R/bin/zstor" -c "$R/etc/zstor.yaml" --log_file /dev/null check --file "$1" | grep -qxF "$(b2sum -l 128 <"$1" | cut -c1-32)"
}

claim "recover: a kit is one private file that a person can read"
far_start
far_config 2 4
bootstrap --config "$FAR/zstor.yaml" >/dev/null
work first
qsfs kit "$kit" >/dev/null
test "$(stat -c %a "$kit")" = 600
grep -qx "geometry 2 of 4" "$kit"
grep -qx "prefix far" "$kit"
refused "is no kit" qsfs kit "$R/etc/zstor.yaml"

claim "recover: a volume that is here is not touched"
refused "is running" qsfs recover "$kit"

claim "recover: stopped in order, the machine is lost, another one has it all"
tree >"$HOME/before"
qsfs stop >/dev/null
refused "has a volume already" qsfs recover "$kit"
lose_machine
qsfs recover "$kit" >"$HOME/out" 2>"$HOME/err"
tree >"$HOME/after"
diff "$HOME/before" "$HOME/after"
grep -q "^qsfs: recovered: point [0-9]* of .* old$" "$HOME/out"
test ! -e "$R/data/recovery"

claim "recover: only what zdb needs was fetched, the rest comes when it is read"
"$R/bin/zdb" --ctl --socket "$R/run/zdb.sock" HOOKS >"$HOME/hooks"
grep -q missing-data "$HOME/hooks"

claim "recover: everything is killed; another machine has the volume of the newest point, exactly"
qsfs wait >/dev/null
tree >"$HOME/before"
await 90 qsfs status --json >"$HOME/out"
grep -q '"remote_point": {"number": [1-9]' "$HOME/out"
work later
sync -f "$mnt"
rm -r "$mnt/first/sub"
# what came later reaches the backends as well, with the index files that know of it
stored_up_to_here zdbfs-data
stored_up_to_here zdbfs-meta
kill9 zdbfs zdb zstor
fusermount3 -u -z "$mnt"
lose_machine
refused "if that machine is lost: qsfs recover --takeover" qsfs recover "$kit"
qsfs recover --takeover "$kit" >"$HOME/out" 2>"$HOME/err"
tree >"$HOME/after"
diff "$HOME/before" "$HOME/after"
grep -q "later files .* were given up" "$HOME/out"

claim "recover: what came back is in order"
fsck_clean
qsfs start >/dev/null
diff "$HOME/before" <(tree)
qsfs stop >/dev/null

claim "recover: killed half-way twice, with backends gone and answers that fail, it ends all the same"
lose_machine
far_kill 2 3
far_faults on
for half in "$R/data/local/zdbfs-meta/d0" "$R/data/local/zdbfs-data/d0"; do
    setsid "$R/bin/qsfs" recover --all --takeover "$kit" >"$HOME/out" 2>&1 &
    pid=$!
    await 120 test -e "$half"
    kill -9 -- "-$pid"
    await 20 test ! -e "/proc/$pid/fd/0"
    refused "is not finished: qsfs recover" qsfs start
done
qsfs recover --all --takeover --json "$kit" >"$HOME/out" 2>"$HOME/err"
grep -q '"point": [0-9]*, .*"missing": \[\]' "$HOME/out"
grep -q '"claimed": "no"' "$HOME/out"
diff "$HOME/before" <(tree)
far_faults off

claim "recover: when the other metadata backends are back the volume is claimed, and what was written is stored"
echo since >"$mnt/since"
refused "the recovery is not finished" qsfs stop
not_mounted
far_start 2 3
qsfs recover --takeover --json "$kit" >"$HOME/out" 2>"$HOME/err"
grep -q '"claimed": "yes"' "$HOME/out"
grep -qx since "$mnt/since"
qsfs wait >/dev/null
test ! -e "$R/data/recovery"

claim "recover: a damaged kit is refused"
sed 's/^prefix far/prefix fat/' "$kit" >"$HOME/bad"
refused "the checksum at its end is wrong" qsfs recover "$HOME/bad"
for daemon in zdbfs zdb zstor; do
    ! test -e "$R/run/$daemon.pid" || kill9 $daemon
done
fusermount3 -u -z "$mnt"
far_end

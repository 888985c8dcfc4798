#!/usr/bin/env bash
# limit: 900
# Machine after machine is lost in the middle of its work: each time the volume of the newest point at the backends is
# there, exactly, or of a later one than the last that `qsfs wait` has waited for.  QSFS_SEED repeats a run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/libfar.sh
. "$REPO/tests/e2e/libfar.sh"
mnt=$R/mnt/qsfs
trees=$HOME/trees
mkdir "$trees"
RANDOM=${QSFS_SEED:-$$}
echo "# note: seed ${QSFS_SEED:-$$}" >&3

# one change at random, among few names, so that they meet
change()
{
    local a=$mnt/d$((RANDOM % 3)) b=$mnt/d$((RANDOM % 3)) f=f$((RANDOM % 6)) g=f$((RANDOM % 6))
    mkdir -p "$a" "$b"
    case $((RANDOM % 10)) in
        0 | 1 | 2) head -c $((RANDOM * 20)) /dev/urandom >"$a/$f" ;;
        3) head -c $((RANDOM)) /dev/urandom >>"$a/$f" ;;
        4) if [ -e "$a/$f" ]; then printf 'changed' | dd of="$a/$f" bs=1 seek=$((RANDOM)) conv=notrunc status=none; fi ;;
        5) if [ -e "$a/$f" ] && ! [ "$a/$f" -ef "$b/$g" ]; then mv "$a/$f" "$b/$g"; fi ;;
        6) rm -f "$a/$f" ;;
        7) if [ -e "$a/$f" ]; then ln -f "$a/$f" "$b/l$g" 2>/dev/null || [ "$a/$f" -ef "$b/l$g" ]; fi ;;
        8) truncate -s $((RANDOM * 4)) "$a/$f" ;;
        9) if [ $((RANDOM % 4)) -eq 0 ]; then rm -r "$a"; fi ;;
    esac
}

# A point, and what there was then.
point()
{
    local number
    number=$("$R/bin/zdbfs" --point "$mnt" | sed -n 's/^point \([0-9]*\) .*/\1/p')
    tree >"$trees/$number"
}

claim "lost again and again: each time the newest point, exactly"
far_start
far_config 2 4
bootstrap --config "$FAR/zstor.yaml" >/dev/null
for ((round = 1; round <= 8; round++)); do
    kept=0
    for ((n = 0; n < 60; n++)); do
        change
        case $((RANDOM % 25)) in
            0) point ;;
            1)
                point
                qsfs wait >/dev/null
                kept=$("$R/bin/zdbfs" --points -o "unix=$R/run/zdb.sock" | sed -n '1s/^point \([0-9]*\) .*/\1/p') ;;
            2)
                "$R/bin/zdb" --ctl --socket "$R/run/zdb.sock" --ns zdbfs-data NSJUMP >/dev/null
                "$R/bin/zdb" --ctl --socket "$R/run/zdb.sock" --ns zdbfs-meta NSJUMP >/dev/null ;;
        esac
    done
    if [ $round -eq 1 ] && [ "$kept" -eq 0 ]; then
        point
        qsfs wait >/dev/null
        kept=1
    fi
    qsfs kit "$HOME/kit" >/dev/null
    if [ $((RANDOM % 3)) -eq 0 ]; then
        point
        tree >"$HOME/last"
        qsfs stop >/dev/null
    else
        rm -f "$HOME/last"
        kill9 zdbfs zdb zstor
        fusermount3 -u -z "$mnt"
    fi
    rm -rf "$R"
    bootstrap --no-start >/dev/null
    [ $((RANDOM % 2)) -eq 0 ] || far_faults on
    qsfs recover --takeover "$HOME/kit" >"$HOME/out" 2>"$HOME/err"
    far_faults off
    number=$(sed -n 's/^qsfs: recovered: point \([0-9]*\) of .*/\1/p' "$HOME/out")
    echo "# note: round $round: point $number, waited for $kept" >&3
    test "$number" -ge "$kept"
    tree >"$HOME/now"
    diff "$trees/$number" "$HOME/now"
    [ ! -e "$HOME/last" ] || diff "$HOME/last" "$HOME/now"
    fsck_clean
    qsfs start >/dev/null
    # points that were given up are not met again
    for file in "$trees"/*; do
        [ "${file##*/}" -le "$number" ] || rm "$file"
    done
done
qsfs stop >/dev/null
far_end

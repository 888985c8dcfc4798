#!/usr/bin/env bash
# run-e2e.sh [NAME...] - run the end-to-end tests: every tests/e2e/*.py and *.sh but lib*, slow_* and bench_*; with names,
# just those (slow_* too).  QSFS_LONG=1: the long forms of those that have one, slow_* as well, and twenty times the limits.
#
# A test is a program that prints "ok NAME" or "not ok NAME: why" for each claim and exits 0 when all hold.  It gets
#   QSFS_BIN   the directory of the programs under test (default build/bin)
#   QSFS_TMP   an own empty directory, removed afterwards; its processes and mounts are ended with it
# (a line "# note: TEXT" is shown, too) and a time limit: 300 s, or what a line "# limit: SECONDS" near its top says; four times that under sanitizers.
# As many tests run side by side as there are processors (QSFS_BESIDE=N: N of them); their output stays in order.  One with a
# line "# alone" near its top, because it measures, runs at the end with nothing beside it.
# Last line: "N passed, M failed".  QSFS_KEEP=1 keeps the directories of failed tests.
set -u
cd "$(dirname "$0")/.." || exit 1

QSFS_BIN=${QSFS_BIN:-$PWD/build/bin}
export QSFS_BIN
slower=1
case $QSFS_BIN in
    *address* | *thread* | *undefined*) slower=4 ;;
esac
[ "${QSFS_LONG:-}" != 1 ] || slower=$((slower * 20))

# What the short ones exercise comes first: a broken part is then named by its own test.
order=(hook zdb zdbfs zstor bootstrap qsfs docs "")

tests=()
if [ $# -gt 0 ]; then
    for name in "$@"; do
        name=${name##*/}
        found=
        for file in "tests/e2e/$name" "tests/e2e/${name%.*}.py" "tests/e2e/${name%.*}.sh"; do
            [ -f "$file" ] && found=$file && break
        done
        if [ -z "$found" ]; then
            echo "not ok $name: no such test in tests/e2e"
            exit 1
        fi
        tests+=("$found")
    done
else
    for group in "${order[@]}"; do
        for file in tests/e2e/"$group"*.py tests/e2e/"$group"*.sh; do
            case ${file##*/} in
                lib* | bench_* | '*'*) continue ;;
                slow_*) [ "${QSFS_LONG:-}" = 1 ] || continue ;;
            esac
            [ -f "$file" ] || continue
            case " ${tests[*]-} " in
                *" $file "*) continue ;;
            esac
            tests+=("$file")
        done
    done
fi

# shellcheck source=tests/jobs.sh
. tests/jobs.sh

passed=0
failed=0
not_ok()
{
    printf 'not ok %s\n' "$1"
    failed=$((failed + 1))
}

# Processes that carry this test's directory in their environment: what it started and did not end.
left_behind()
{
    local p
    for p in /proc/[0-9]*; do
        if [ "${p#/proc/}" != $$ ] && tr '\0' '\n' 2>/dev/null <"$p/environ" | grep -qxF "QSFS_TMP=$1"; then
            printf '%s\n' "${p#/proc/}"
        fi
    done
}

end_left_behind()
{
    local pid deadline=$((SECONDS + 3))
    while [ -n "$(left_behind "$1")" ] && [ $SECONDS -lt $deadline ]; do
        sleep 0.1
    done
    for pid in $(left_behind "$1"); do
        echo "# left behind by the test, killed: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" | cut -c1-200
        kill -9 "$pid" 2>/dev/null
    done
    awk -v top="$1/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
        fusermount3 -u -z "$mount" 2>/dev/null || umount -l "$mount"
    done
}

run_one()
{
    local file=$1 name limit tmp output code good bad start passed=0 failed=0 used
    name=${file##*/}
    name=${name%.*}
    limit=$(sed -n '1,20s/^# limit: \([0-9][0-9]*\)$/\1/p' "$file")
    limit=$((${limit:-300} * slower))
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-$name.XXXXXX") || exit 1
    echo "$tmp" >"$jobs_mine.tmp"
    output=$tmp.out
    start=$SECONDS
    local -x QSFS_TMP=$tmp
    local -x ASAN_OPTIONS="log_path=$tmp/san/asan:exitcode=99:halt_on_error=1:detect_leaks=1"
    local -x UBSAN_OPTIONS="log_path=$tmp/san/ubsan:exitcode=99:halt_on_error=1:print_stacktrace=1"
    local -x TSAN_OPTIONS="log_path=$tmp/san/tsan:exitcode=99:halt_on_error=0"
    mkdir "$tmp/san"
    case $file in
        *.py) set -- python3 "$file" ;;
        *) set -- bash "$file" ;;
    esac
    timeout -k 30 "$limit" "$@" >"$output" 2>&1 </dev/null
    code=$?
    (unset QSFS_TMP; end_left_behind "$tmp")
    good=$(grep -c '^ok ' "$output")
    bad=$(grep -c '^not ok ' "$output")
    grep -E '^(ok|not ok|# note:) ' "$output"
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ $code -eq 124 ] || [ $code -eq 137 ]; then
        not_ok "$name: not done after $limit s"
        bad=1
    elif [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
        not_ok "$name: exit $code"
        bad=1
    elif [ "$good" -eq 0 ] && [ "$bad" -eq 0 ]; then
        not_ok "$name: it reported no result"
        bad=1
    fi
    if [ -d "$tmp/san" ] && [ -n "$(ls "$tmp/san")" ]; then
        not_ok "$name: sanitizer report"
        bad=1
        head -n 60 "$tmp"/san/*
    fi
    if [ "$bad" -ne 0 ]; then
        echo "# --- output of $file ---"
        grep -vE '^ok ' "$output" | tail -n 80
        echo "# --- end of $file ---"
    fi
    # what the shell and the processes that it and they waited for have used
    times >"$output"
    used=$(awk -F '[ms ]' '{ n += $1 * 60 + $2 + $4 * 60 + $5 } END { printf "%d", n }' "$output")
    echo "# $name: $good ok, $bad not ok, $((SECONDS - start)) s, $used s of processor time"
    rm -f "$output"
    if [ "$bad" -ne 0 ] && [ -n "${QSFS_KEEP:-}" ]; then
        echo "# kept $tmp"
    else
        rm -rf "$tmp"
    fi
    jobs_count $passed $failed
}

# interrupted: the tests under way are ended with all they have started
interrupted()
{
    local tmp
    trap '' INT TERM
    for tmp in "$jobs_dir"/*.tmp; do
        [ -e "$tmp" ] || continue
        tmp=$(cat "$tmp")
        end_left_behind "$tmp"
        rm -rf "$tmp" "$tmp.out"
    done
    rm -rf "$jobs_dir"
    exit 130
}
jobs_dir=
trap interrupted INT TERM

for program in zdb zdbfs zstor; do
    [ -x "$QSFS_BIN/$program" ] || not_ok "programs: $QSFS_BIN/$program is missing; run make"
done
[ -e /dev/fuse ] || not_ok "fuse: /dev/fuse is missing; modprobe fuse, or give the container --device /dev/fuse"

beside=()
alone=()
for file in ${tests[@]+"${tests[@]}"}; do
    if sed -n '1,20p' "$file" | grep -qx '# alone'; then
        alone+=("$file")
    else
        beside+=("$file")
    fi
done
jobs_run "${QSFS_BESIDE:-$(nproc)}" run_one ${beside[@]+"${beside[@]}"}
jobs_run 1 run_one ${alone[@]+"${alone[@]}"}

if [ $((passed + failed)) -eq 0 ]; then
    not_ok "e2e: no tests found"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

#!/usr/bin/env bash
# run-unit.sh [PROGRAM...] - run unit test programs (Check) and add up what they say.
# Without arguments: those built for tests/unit/<part>/[<room>/]test_*.c under build/${QSFS_FLAVOUR:-plain}.
# Last line: "N passed, M failed"; exit 1 when M > 0 or nothing ran.  A program that crashes, hangs or says nothing is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1

programs=("$@")
if [ $# -eq 0 ]; then
    for source in tests/unit/*/test_*.c tests/unit/*/*/test_*.c; do
        [ -e "$source" ] && programs+=("build/${QSFS_FLAVOUR:-plain}/${source%.c}")
    done
fi

limit=${QSFS_UNIT_LIMIT:-600}
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:halt_on_error=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
case ${QSFS_FLAVOUR:-plain} in
    *thread*) export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-300} ;;
    *address*) export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-180} ;;
    *) export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-60} ;;
esac
# shellcheck source=tests/jobs.sh
. tests/jobs.sh

run_one()
{
    local program=$1 name part output=$jobs_mine.log code summary checks bad why
    name=${program##*/}
    part=${program%/*}
    part=${part##*tests/unit/}
    timeout -k 10 "$limit" "./${program#./}" >"$output" 2>&1
    code=$?
    # "93%: Checks: 15, Failures: 1, Errors: 0"
    summary=$(grep -E '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$' "$output" | tail -n 1)
    read -r checks bad < <(printf '%s\n' "$summary" | sed -E 's/.*Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+)/\1 \2+\3/')
    bad=$((${bad:-0}))
    checks=${checks:-0}
    if [ -z "$summary" ] || [ "$checks" -eq 0 ]; then
        why="no result of its tests"
        [ $code -eq 124 ] && why="not done after $limit s"
        bad=1
        checks=1
        printf 'not ok %s/%s: %s (exit %d)\n' "$part" "$name" "$why" "$code"
        tail -n 40 "$output"
    elif [ $code -ne 0 ] && [ $bad -eq 0 ]; then
        printf 'not ok %s/%s: exit %d after its tests (leak or sanitizer report?)\n' "$part" "$name" "$code"
        tail -n 60 "$output"
        bad=1
        checks=$((checks + 1))
    elif [ $bad -gt 0 ]; then
        printf 'not ok %s/%s: %d of %d\n' "$part" "$name" "$bad" "$checks"
        tail -n 60 "$output"
    else
        printf 'ok %s/%s: %d\n' "$part" "$name" "$checks"
    fi
    jobs_count $((checks - bad)) "$bad"
}

passed=0
failed=0
# most of them wait more than they compute
jobs_run $((2 * $(nproc))) run_one ${programs[@]+"${programs[@]}"}

if [ $((passed + failed)) -eq 0 ]; then
    echo "not ok unit: no test program found"
    failed=1
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

#!/usr/bin/env bash
# run.sh [NAME...] - install what is needed, build, run all unit and end-to-end tests; with names, of the end-to-end tests
# just those.  Last line: "N passed, M failed".
# Environment: SAN=address,undefined and CC=clang as for make.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD

finish()
{
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
passed=0
failed=0

# shellcheck source=bootstrap/packages.sh
. bootstrap/packages.sh
# shellcheck disable=SC2086 # a list of words
if ! packages_install $PACKAGES_TEST; then
    echo "not ok packages"
    failed=1
    finish
fi

san=${SAN:-}
flavour=${san:-plain}
flavour=${flavour//,/+}
options=(SAN="$san")
bin=build/bin
case ${CC:-gcc} in
    *clang*)
        flavour=$flavour-clang
        options+=(CC="$CC") ;;
esac
[ "$flavour" = plain ] || bin=build/$flavour/bin

if ! make -j"$(nproc)" --no-print-directory "${options[@]}" all unit >build.log 2>&1; then
    grep -E '(error|warning):|\*\*\*' build.log | head -n 40
    echo "not ok build: make failed, see build.log"
    failed=1
    finish
fi
rm -f build.log

add()
{
    local line
    line=$(tail -n 1 "$1")
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "not ok $2: ended without a result"
        failed=$((failed + 1))
    fi
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
QSFS_FLAVOUR=$flavour tests/run-unit.sh 2>&1 | tee "$log" | sed -u '$d'
add "$log" unit
QSFS_BIN=$top/$bin tests/run-e2e.sh "$@" 2>&1 | tee "$log" | sed -u '$d'
add "$log" e2e
finish

# shellcheck shell=bash
# stages.sh - what .ci/run and tests/check-long.sh are made of: suites and steps whose results are added up.
# Ends with stages_result: the line "N passed, M failed", false when M > 0.
passed=0
failed=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

stages_result()
{
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

# suite NAME COMMAND...: a command whose last line is "N passed, M failed"
suite()
{
    local name=$1 line
    shift
    echo "# $name"
    "$@" 2>&1 | tee "$log" | sed -u '$d'
    line=$(tail -n 1 "$log")
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        echo "# $name: $line, $SECONDS s since the start"
    else
        echo "$line"
        echo "not ok $name: ended without a result"
        failed=$((failed + 1))
    fi
}

# step NAME COMMAND...: passes or fails as a whole
step()
{
    local name=$1
    shift
    echo "# $name"
    if "$@" >"$log" 2>&1; then
        echo "ok $name"
        passed=$((passed + 1))
    else
        tail -n 60 "$log"
        echo "not ok $name"
        failed=$((failed + 1))
    fi
    echo "# $name: $SECONDS s since the start"
}

# stages_packages PACKAGE...: without them nothing else is begun
stages_packages()
{
    if ! packages_install "$@"; then
        echo "not ok packages"
        failed=$((failed + 1))
        stages_result
        exit 1
    fi
}

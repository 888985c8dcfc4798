# shellcheck shell=bash
# stages.sh - what .ci/run and tests/check-long.sh are made of: suites and steps whose results are added up.
# Ends with stages_result: the line "N passed, M failed", false when M > 0.
passed=0
failed=0
log=$(mktemp) || exit 1
failures=$(mktemp) || exit 1
trap 'rm -f "$log" "$failures"' EXIT

# remember NAME: what of the output in $log says why, told once more at the end
remember()
{
    echo "# failed in $1:" >>"$failures"
    {
        grep -a '^not ok' "$log"
        grep -a -A 25 -e '^# --- output of' -e 'ERROR: .*Sanitizer' -e 'WARNING: ThreadSanitizer' "$log"
    } | head -n 120 | cut -c 1-400 >>"$failures"
}

stages_result()
{
    if [ "$failed" -ne 0 ]; then
        cat "$failures"
    fi
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
        [ "${BASH_REMATCH[2]}" -eq 0 ] || remember "$name"
        echo "# $name: $line, $SECONDS s since the start"
    else
        echo "$line"
        remember "$name"
        echo "not ok $name: ended without a result" | tee -a "$failures"
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
        {
            echo "# failed in $name:"
            tail -n 60 "$log" | cut -c 1-400
            echo "not ok $name"
        } >>"$failures"
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

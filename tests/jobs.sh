# shellcheck shell=bash
# jobs.sh - run one function over many items, several at a time; read by run-unit.sh and run-e2e.sh.
#
# jobs_run N FUNCTION ITEM...
#   FUNCTION ITEM runs in a subshell, N of them side by side.  What it prints is kept until all items before it are done, so
#   that the output is the same as of one after the other.  It says how it went by:  jobs_count PASSED FAILED
#   The sums are added to the variables passed and failed.  An item that says nothing counts as failed.
#   Items are begun in their order.

jobs_count()
{
    printf '%d %d\n' "$1" "$2" >"$jobs_mine.count"
}

# what is done and whose turn it is
jobs_print()
{
    local good bad
    while [ -e "$jobs_dir/$jobs_next.done" ]; do
        cat "$jobs_dir/$jobs_next.out"
        if read -r good bad 2>/dev/null <"$jobs_dir/$jobs_next.count"; then
            passed=$((passed + good))
            failed=$((failed + bad))
        else
            echo "not ok ${jobs_items[jobs_next]}: ended without a result"
            failed=$((failed + 1))
        fi
        rm -f "$jobs_dir/$jobs_next".*
        jobs_next=$((jobs_next + 1))
    done
}

jobs_run()
{
    local jobs_limit=$1 jobs_function=$2 jobs_i jobs_running=0
    shift 2
    jobs_items=("$@")
    jobs_next=0
    jobs_dir=$(mktemp -d) || exit 1
    for ((jobs_i = 0; jobs_i < $#; jobs_i++)); do
        if [ $jobs_running -ge "$jobs_limit" ]; then
            wait -n
            jobs_running=$((jobs_running - 1))
            jobs_print
        fi
        jobs_mine=$jobs_dir/$jobs_i
        {
            "$jobs_function" "${jobs_items[jobs_i]}" >"$jobs_mine.out" 2>&1
            : >"$jobs_mine.done"
        } &
        jobs_running=$((jobs_running + 1))
    done
    while [ $jobs_running -gt 0 ]; do
        wait -n
        jobs_running=$((jobs_running - 1))
        jobs_print
    done
    rm -rf "$jobs_dir"
}

#!/usr/bin/env bash
# lint.sh - cppcheck over the C sources, shellcheck over the scripts, Python syntax, who includes whom, no machine's paths.
# Each finding is printed; exit 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 1
faults=0

step()
{
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok lint_$name"
    else
        printf '%s\n' "$output"
        echo "not ok lint_$name"
        faults=$((faults + 1))
    fi
}

files()
{
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        [ -f "$file" ] && printf '%s\n' "$file"
    done
}

c_sources()
{
    local sources
    mapfile -t sources < <(files '*.c')
    [ ${#sources[@]} -gt 0 ] || return 0
    mkdir -p build/cppcheck
    timeout 900 cppcheck -q -j "$(nproc)" --cppcheck-build-dir=build/cppcheck --error-exitcode=1 \
        --std=c11 --platform=unix64 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=tests/cppcheck.txt -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -I. \
        --template='{file}:{line}: {severity}: {message} [{id}]' "${sources[@]}"
}

shell_scripts()
{
    local scripts
    mapfile -t scripts < <(files '*.sh' bootstrap/qsfs .ci/run)
    shellcheck -x "${scripts[@]}"
}

python_scripts()
{
    local file result=0
    while read -r file; do
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" || result=1
    done < <(files '*.py')
    return $result
}

# The project may not know where it was written: home directories, and the directory of this very checkout.
paths()
{
    local top names='home|root|Users'
    top=$(pwd -P)
    mapfile -t all < <(files . ':!tests/golden' ':!LICENSE')
    if grep -nIE "(^|[^A-Za-z0-9_.\$}~*/-])/($names)/[A-Za-z0-9._]+" "${all[@]}" | grep -v 'tests/lint.sh:'; then
        return 1
    fi
    if [ "${#top}" -gt 6 ] && grep -nIF "$top/" "${all[@]}"; then
        return 1
    fi
}

step includes tests/check-layers.sh
step cppcheck c_sources
step shellcheck shell_scripts
step python python_scripts
step paths paths
[ $faults -eq 0 ]

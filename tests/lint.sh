#!/usr/bin/env bash
# lint.sh - clang-format and clang-tidy over the C sources, shellcheck over the scripts, Python syntax, who includes whom, no machine's paths.
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

# files PATTERN...: what belongs to the project and matches
files()
{
    local file pattern
    find . \( -path ./.git -o -path ./build -o -name __pycache__ \) -prune -o -type f -printf '%P\n' | sort |
        while read -r file; do
            for pattern in "$@"; do
                # shellcheck disable=SC2053 # a pattern is meant
                if [[ $file == $pattern ]]; then
                    printf '%s\n' "$file"
                    break
                fi
            done
        done
}

# `make format` would change nothing
c_format()
{
    files 'common/*.[ch]' 'zdb/*.[ch]' 'zdbfs/*.[ch]' 'zstor/*.[ch]' 'tests/*.[ch]' |
        xargs clang-format --dry-run -Werror
}

# clang-tidy with the flags of the build; a few files a second
c_sources()
{
    make -s -B compile_commands.json || return 1
    files 'common/*.c' 'zdb/*.c' 'zdbfs/*.c' 'zstor/*.c' |
        timeout 1200 xargs -P "$(nproc)" -n 1 clang-tidy -p . -quiet --config-file=tests/clang-tidy.yaml 2>/dev/null |
        grep -vE '^[0-9]+ warnings? '
    [ "${PIPESTATUS[1]}" -eq 0 ]
}

shell_scripts()
{
    local scripts
    mapfile -t scripts < <(files '*.sh' bootstrap/qsfs bootstrap/qsfs-units bootstrap/qsfs-status bootstrap/qsfs-doctor bootstrap/qsfs-kit bootstrap/qsfs-recover bootstrap/packaging/qsfs .ci/run)
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
    mapfile -t all < <(files '*' | grep -vE '^(tests/golden/|LICENSE$|compile_commands.json$)')
    if grep -nIE "(^|[^A-Za-z0-9_.\$}~*/-])/($names)/[A-Za-z0-9._]+" "${all[@]}" | grep -v 'tests/lint.sh:'; then
        return 1
    fi
    if [ "${#top}" -gt 6 ] && grep -nIF "$top/" "${all[@]}"; then
        return 1
    fi
}

# What may stand at the top of the tree.
top_level()
{
    local name
    while read -r name; do
        case $name in
            Makefile | zdbfs | zdb | zstor | common | hooks | bootstrap | tests | docs | README.md | LICENSE | .*) ;;
            build | build.log | compile_commands.json) ;;
            *) echo "$name: does not belong at the top of the tree" ;;
        esac
    done < <(find . -mindepth 1 -maxdepth 1 -printf '%P\n') | if grep .; then return 1; fi
}

step top_level top_level
step layers tests/check-layers.sh
step format c_format
step clang_tidy c_sources
step shellcheck shell_scripts
step python python_scripts
step paths paths
[ $faults -eq 0 ]

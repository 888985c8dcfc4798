#!/usr/bin/env bash
# coverage.sh BUILD PART... - sum up what gcov says of the objects of each part: covered lines, per file and per part.
set -eu
build=$(cd "$1" && pwd)
shift
top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for part in "$@"; do
    find "$build/$part" -name "*.gcno" | sort | while read -r notes; do
        (cd "$top" && gcov -n -o "${notes%.gcno}.o" "${notes%.gcno}.c") 2>/dev/null
    done
done | awk '
    /^File / { file = $2; gsub(/\047/, "", file); next }
    /^Lines executed:/ && file != "" {
        split($0, v, /[:% ]+/)
        part = file
        if (part !~ /^[a-z]+\/([a-z]+\/)?[a-z0-9_]+\.c$/) { file = ""; next }
        sub(/\/.*/, "", part)
        hit[part] += v[3] * v[5] / 100
        all[part] += v[5]
        if (v[3] < 70)
            low[file] = v[3]
        file = ""
    }
    END {
        for (f in low)
            printf "%6.1f %%  %s\n", low[f], f
        for (p in all)
            printf "%6.1f %%  %s, %d lines\n", 100 * hit[p] / all[p], p, all[p]
    }' | sort -n

#!/usr/bin/env bash
# check-layers.sh [DIRECTORY] - who may include whom.  tests/layers.txt gives each module (file name without suffix) its layer.
#   common/  includes only common/;  a daemon includes itself and common/, never another daemon;
#   within one directory a file includes headers of strictly lower layers only, its own headers (x.h, x_impl.h) excepted.
# Prints one line per fault; exit 1 when there is one.
set -eu
cd "${1:-$(dirname "$0")/..}"

# shellcheck disable=SC2046 # file names of the project have no blanks
awk '
function fault(text) { print text; faults++ }
FNR == 1 && FILENAME != "tests/layers.txt" {
    module = FILENAME
    sub(/(_impl)?\.[ch]$/, "", module)
    part = module
    sub(/\/.*/, "", part)
    seen[module] = 1
    if (!(module in layer))
        fault(FILENAME ": no layer; give " module " a number in tests/layers.txt")
}
FILENAME == "tests/layers.txt" {
    sub(/#.*/, "")
    if (NF == 0)
        next
    if (NF != 2 || $2 !~ /^[0-9]+$/)
        fault("tests/layers.txt:" FNR ": expected: module layer")
    else if ($1 in layer)
        fault("tests/layers.txt:" FNR ": " $1 " is there twice")
    layer[$1] = $2
    next
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, piece, "\"")
    target = piece[2]
    where = FILENAME ":" FNR ": "
    if (target !~ /^(common|zdb|zdbfs|zstor)\//) {
        fault(where "\"" target "\": paths of our headers start at the top of the repository")
        next
    }
    tpart = target
    sub(/\/.*/, "", tpart)
    tmodule = target
    sub(/(_impl)?\.h$/, "", tmodule)
    if (part == "common" && tpart != "common")
        fault(where "common may not include " target)
    else if (tpart != "common" && tpart != part)
        fault(where part " may not include " target ": daemons meet on sockets")
    else if (tpart == part && tmodule != module) {
        if (!(tmodule in layer))
            fault(where target " has no layer")
        else if (module in layer && layer[tmodule] + 0 >= layer[module] + 0)
            fault(where module " (layer " layer[module] ") may not include " target " (layer " layer[tmodule] ")")
    }
}
END {
    for (m in layer)
        if (!(m in seen))
            fault("tests/layers.txt: " m " does not exist")
    exit faults > 0
}' tests/layers.txt $(find common zdb zdbfs zstor -name '*.[ch]' | sort)

#!/usr/bin/env bash
# check-layers.sh - who may use whom.  To use is to include a header, or to call a function (or touch a variable) that an object
# of the other module defines; calls are read from the objects by nm, so the tree is built first.
#   common/  uses only common/;  a daemon uses itself and common/, never another daemon;
#   inside a daemon a module uses what lies on a lower floor, or lower in its own room: tests/layers.txt.
# A module is a file name without suffix; x_impl.h belongs to x, and who includes it uses x.
# Exceptions are listed one by one in tests/layers.txt, and one that has ceased to occur is a fault as well.
# Prints one line per fault; exit 1 when there is one.
set -eu
cd "$(dirname "$0")/.."

make -s -j"$(nproc)" objects CC=gcc SAN= COV=
mapfile -t sources < <(find common zdb zdbfs zstor -name '*.[ch]' | sort)
objects=()
for source in "${sources[@]}"; do
    case $source in
        *.c) objects+=("build/plain/${source%.c}.o") ;;
    esac
done
symbols=$(mktemp)
trap 'rm -f "$symbols"' EXIT
nm -A -g "${objects[@]}" >"$symbols"

awk -v symbols="$symbols" '
function fault(text) { print text; faults++ }
function part_of(module) { sub(/\/.*/, "", module); return module }
# the room of a module; one at the top of its daemon is a room by itself
function room_of(module, pieces) {
    pieces = split(module, piece, "/")
    if (piece[1] == "common")
        return "common/"
    return pieces > 2 ? piece[1] "/" piece[2] "/" : module
}
function floor_of(module) { return number[room_of(module)] }
function place(module) {
    return room_of(module) == module ? "floor " number[module] : "floor " floor_of(module) ", number " number[module]
}
function allowed(a, b) {
    if (room_of(a) == room_of(b))
        return number[b] < number[a]
    return floor_of(b) < floor_of(a)
}
# a uses b; where and how: for the message
function uses(a, b, where, how) {
    if (a == b || part_of(b) == "common" && part_of(a) != "common")
        return
    if (part_of(a) != part_of(b)) {
        fault(where ": " (part_of(a) == "common" ? "common may not " how : part_of(a) " may not " how ": daemons meet on sockets"))
        return
    }
    if (!(a in number) || !(b in number) || allowed(a, b))
        return
    if ((a " " b) in except)
        occurs[a " " b] = 1
    else if (!((a " " b " " how) in told)) {
        told[a " " b " " how] = 1
        fault(where ": may not " how ": " a " (" place(a) ") uses " b " (" place(b) ")")
    }
}
FILENAME == "tests/layers.txt" {
    sub(/#.*/, "")
    if (NF == 0)
        next
    if (NF == 3 && $1 == "except")
        except[$2 " " $3] = FNR
    else if (NF != 2 || $2 !~ /^[0-9]+$/)
        fault("tests/layers.txt:" FNR ": expected: MODULE NUMBER, ROOM/ FLOOR, or: except MODULE MODULE")
    else if ($1 in number)
        fault("tests/layers.txt:" FNR ": " $1 " is there twice")
    else {
        number[$1] = $2 + 0
        line[$1] = FNR
    }
    next
}
FILENAME == symbols {
    # build/plain/zdb/file/data.o:0000000000000000 T data_open
    object = $1
    sub(/\.o:.*/, "", object)
    sub(/^build\/plain\//, "", object)
    if ($(NF - 1) == "U")
        wanted[++wants] = object " " $NF
    else
        home[part_of(object) " " $NF] = object
    next
}
FNR == 1 {
    module = FILENAME
    sub(/(_impl)?\.[ch]$/, "", module)
    seen[module] = seen[room_of(module)] = 1
    if (!(module in number))
        fault(FILENAME ": no number; give " module " one in tests/layers.txt")
    if (!(room_of(module) in number) && !(room_of(module) in missing)) {
        missing[room_of(module)] = 1
        fault(FILENAME ": no floor; give " room_of(module) " one in tests/layers.txt")
    }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    target = quoted[2]
    if (target !~ /^(common|zdb|zdbfs|zstor)\//) {
        fault(FILENAME ":" FNR ": \"" target "\": paths of our headers start at the top of the repository")
        next
    }
    sub(/(_impl)?\.h$/, "", target)
    uses(module, target, FILENAME ":" FNR, "include " quoted[2])
}
END {
    for (i = 1; i <= wants; i++) {
        split(wanted[i], want, " ")
        if ((part_of(want[1]) " " want[2]) in home)
            uses(want[1], home[part_of(want[1]) " " want[2]], want[1] ".c", "use " want[2])
    }
    for (m in number)
        if (!(m in seen))
            fault("tests/layers.txt:" line[m] ": " m " does not exist")
    for (e in except)
        if (!(e in occurs))
            fault("tests/layers.txt:" except[e] ": \"except " e "\" does not occur any more: remove it")
    exit faults > 0
}' tests/layers.txt "$symbols" "${sources[@]}"

#!/usr/bin/env bash
# limit: 400
# A volume that the original wrote, stored by its zstor.yaml: recovered from that file, and an earlier point by --at.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/libfar.sh
. "$REPO/tests/e2e/libfar.sh"
mnt=$R/mnt/qsfs
orig=$HOME/orig

# regular files of a manifest as sha256sum prints them
manifest()
{
    python3 -c 'import json, sys
for e in json.load(open(sys.argv[1]))["entries"]:
    if e["type"] == "file" and "path_hex" not in e and "\n" not in e["path"]:
        print(e["sha256"] + "  " + e["path"])' "$1"
}

claim "original: its files are stored, and the machine is lost"
far_start
far_config 2 4
mkdir -p "$orig"
cp -R tests/golden/zdbfs/tree/data tests/golden/zdbfs/tree/index "$orig"
{
    cat "$FAR/zstor.yaml"
    printf 'root: "%s"\nzdb_data_dir_path: "%s/data"\nzdb_index_dir_path: "%s/index"\nstate_dir: "%s/state"\n' "$orig" "$orig" "$orig" "$orig"
} >"$HOME/original.yaml"
chmod 600 "$HOME/original.yaml"
for directory in "$orig"/index/zdbfs-{meta,data} "$orig"/data/zdbfs-{meta,data}; do
    "$QSFS_BIN/zstor" -c "$HOME/original.yaml" --log_file /dev/null store --file "$directory"
done
rm -rf "$orig"
bootstrap --no-start >/dev/null

claim "original: it comes back from its configuration alone, and says that it has no points"
qsfs recover --takeover "$HOME/original.yaml" >"$HOME/out"
grep -q "a volume without points" "$HOME/out"
manifest tests/golden/zdbfs/tree/manifest.json >"$HOME/sums"
test -s "$HOME/sums"
(cd "$mnt" && sha256sum --quiet -c "$HOME/sums")

claim "original: it is used, and has points from now on"
echo one >"$mnt/number"
qsfs wait >/dev/null
at=$(date -u '+%Y-%m-%d %H:%M:%S UTC')
later_than()
{
    [ "$(date +%s)" -gt "$(date -d "$1" +%s)" ]
}
await 20 later_than "$at"
echo two >"$mnt/number"
qsfs kit "$HOME/kit" >/dev/null
qsfs stop >/dev/null
lose_machine

claim "original: an earlier point"
qsfs recover --at "$at" "$HOME/kit" >"$HOME/out"
grep -q "newer points were not taken (--at)" "$HOME/out"
grep -qx one "$mnt/number"
(cd "$mnt" && sha256sum --quiet -c "$HOME/sums")
qsfs stop >/dev/null
far_end

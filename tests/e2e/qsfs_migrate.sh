#!/usr/bin/env bash
# limit: 300
# A volume of the originals with its TOML file goes on as ours, and back.  What the originals do is done by readers and
# writers of their formats alone: tests/interop/zstor_reference.py, tests/e2e/libclassic.py.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/libfar.sh
. "$REPO/tests/e2e/libfar.sh"
mnt=$R/mnt/qsfs
toml=$HOME/zstor-default.toml

reference()
{
    python3 "$REPO/tests/interop/zstor_reference.py" "$@" >"$HOME/reference"
}

each_file()
{
    find "$1"/data/local/zdbfs-{meta,data} "$1"/index/local/zdbfs-{meta,data} -type f \( -name 'd[0-9]*' -o -name 'i[0-9]*' -o -name zdb-namespace \)
}

# regular files of the manifest as sha256sum prints them
python3 -c 'import json, sys
for e in json.load(open(sys.argv[1]))["entries"]:
    if e["type"] == "file" and "path_hex" not in e and "\n" not in e["path"]:
        print(e["sha256"] + "  " + e["path"])' tests/golden/zdbfs/tree/manifest.json >"$HOME/sums"
test -s "$HOME/sums"

claim "migrate: the originals have a volume, and have stored it"
far_start
mkdir -p "$HOME/orig"/{data,index}
cp -R tests/golden/zdbfs/tree/data "$HOME/orig/data/local"
cp -R tests/golden/zdbfs/tree/index "$HOME/orig/index/local"
{
    printf 'minimal_shards = 2\nexpected_shards = 4\nredundant_groups = 0\nredundant_nodes = 0\nroot = "%s"\n' "$R"
    printf '[encryption]\nalgorithm = "AES"\nkey = "%s"\n[compression]\nalgorithm = "snappy"\n' $far_secret
    printf '[meta]\ntype = "zdb"\n[meta.config]\nprefix = "old"\n[meta.config.encryption]\nalgorithm = "AES"\nkey = "%s"\n' $far_secret
    for kind in meta data; do
        [ $kind = meta ] || echo '[[groups]]'
        for n in 0 1 2 3; do
            [ $kind = meta ] && echo '[[meta.config.backends]]' || echo '[[groups.backends]]'
            printf 'address = "127.0.0.1:%s"\nnamespace = "%s"\n' $((FAR_PORT + n)) $kind
        done
    done
} >"$toml"
each_file "$HOME/orig" | while read -r file; do
    reference put "$toml" "$file" "$R${file#"$HOME/orig"}"
done

claim "migrate: its TOML file and its directories are taken over"
bootstrap --no-start --config "$toml" >"$HOME/out"
rm -rf "$R/data/local" "$R/index/local"
cp -R "$HOME/orig/data/local" "$R/data/local"
cp -R "$HOME/orig/index/local" "$R/index/local"
qsfs start >/dev/null
(cd "$mnt" && sha256sum --quiet -c "$HOME/sums")

claim "migrate: a segment that the original has stored and evicted is fetched"
qsfs wait >/dev/null
qsfs stop >/dev/null
find "$R/data/local/zdbfs-data" -name 'd[0-9]*' | sort -V | head -n -1 >"$HOME/closed"
xargs -r rm <"$HOME/closed"
rm -f "$R/data/local/zdbfs-data/d0"
qsfs start >/dev/null
(cd "$mnt" && sha256sum --quiet -c "$HOME/sums")

claim "migrate: it is used"
mkdir -p "$mnt/ours/deep"
seq 100000 >"$mnt/ours/deep/file"
ln "$mnt/ours/deep/file" "$mnt/ours/hard"
qsfs wait >/dev/null
python3 "$REPO/tests/e2e/libclassic.py" "$mnt" >"$HOME/now"
qsfs stop >"$HOME/out"
grep -qx "qsfs: everything is stored" "$HOME/out"

claim "migrate: the way back: the original's zstor gets every file, as it is here"
each_file "$R" | while read -r file; do
    reference get "$toml" "$file" "$HOME/object"
    cmp "$file" "$HOME/object"
done

claim "migrate: and the original's zdbfs reads the volume, all of it"
"$R/bin/zdb" --mode seq --data "$R/data/local" --index "$R/index/local" --socket "$HOME/zdb.sock" >"$HOME/zdb.log" 2>&1 3>&- &
zdb=$!
await 20 "$R/bin/zdb" --ctl --socket "$HOME/zdb.sock" PING >/dev/null 2>&1
python3 "$REPO/tests/e2e/libclassic.py" "$HOME/zdb.sock" >"$HOME/classic"
kill $zdb
await 20 test ! -e "/proc/$zdb/fd/0"
diff "$HOME/now" "$HOME/classic"
far_end

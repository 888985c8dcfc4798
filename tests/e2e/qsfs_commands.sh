#!/usr/bin/env bash
# limit: 400
# Each command that `qsfs help` names does what stands there, and says what is wrong with its use in one line, exit 2.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
mnt=$R/mnt/qsfs

# wrong WORDS...: exit 2, one line on standard error, nothing on standard output
wrong()
{
    local code=0
    qsfs "$@" >"$HOME/out" 2>"$HOME/err" </dev/null || code=$?
    if [ $code -ne 2 ] || [ "$(wc -l <"$HOME/err")" != 1 ] || [ -s "$HOME/out" ] || ! grep -q '^qsfs: .*; qsfs help lists the commands$' "$HOME/err"; then
        echo "qsfs $*: exit $code: $(cat "$HOME/err" "$HOME/out")" >&2
        return 1
    fi
}

claim "commands: wrong use of each is one line and exit 2, and does nothing"
bootstrap --no-start --cache 16M >/dev/null
qsfs help >"$HOME/help"
mapfile -t commands < <(grep -oE '^(usage:|      ) qsfs [a-z]+' "$HOME/help" | sed 's/.* //'; grep -oE 'qsfs disable' "$HOME/help" | sed 's/.* //')
test ${#commands[@]} -ge 14
for command in "${commands[@]}"; do
    wrong "$command" --frobnicate
    wrong "$command" one two
done
wrong
wrong frobnicate
wrong status --json --frobnicate
wrong logs nobody
wrong kit
wrong kit ""
wrong recover
wrong recover --at
wrong recover --at yesterdayish "$HOME/kit"
wrong recover "$HOME/kit" "$HOME/kit"
test ! -e "$R/run/zdb.pid"

claim "commands: before anything runs they say so"
refused "is not mounted; qsfs start" qsfs wait
code=0
qsfs status >"$HOME/out" || code=$?
test $code = 3
code=0
qsfs doctor >"$HOME/out" || code=$?
test $code = 1
grep -q 'qsfs start' "$HOME/out"
qsfs stop >/dev/null
qsfs logs >"$HOME/out"
grep -qx "(it has not run here yet)" "$HOME/out"
refused "zdbfs has not run here yet" qsfs logs zdbfs

ran=(help stop)
claim "commands: start, status, wait, logs, kit, version"
qsfs start >/dev/null
mounted
echo hello >"$mnt/file"
qsfs wait >/dev/null
qsfs status >"$HOME/out"
head -n 1 "$HOME/out" | grep -qx "qsfs: healthy"
test "$(wc -L <"$HOME/out")" -le 80
qsfs status --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["state"] == "healthy"'
timeout 60 "$R/bin/qsfs" status --watch 2>/dev/null | head -n 1 | grep -qx "qsfs: healthy"
qsfs logs >"$HOME/out"
grep -q "==> zdbfs " "$HOME/out"
qsfs logs zstor >"$HOME/out"
test -s "$HOME/out"
qsfs kit "$HOME/kit" >/dev/null
test -s "$HOME/kit"
qsfs version | grep -qx "qsfs $(sed -n 's/^#define QSFS_VERSION "\(.*\)"$/\1/p' common/version.h)"
ran+=(start status wait logs kit version)

claim "commands: doctor finds nothing"
qsfs doctor >"$HOME/out"
grep -q 'every backend answers' "$HOME/out"
ran+=(doctor)

claim "commands: restart"
before=$(cat "$R/run/zdb.pid")
qsfs restart >/dev/null
test "$before" != "$(cat "$R/run/zdb.pid")"
grep -qx hello "$mnt/file"
qsfs stop >/dev/null
not_mounted
ran+=(restart)

claim "commands: run, enable, disable"
"$R/bin/qsfs" run >"$R/log/qsfs.log" 2>&1 &
run=$!
await 60 grep -qsx hello "$mnt/file"
kill $run
wait $run
not_mounted
export QSFS_UNIT_DIR=$QSFS_TMP/units
qsfs enable >/dev/null
test -s "$QSFS_UNIT_DIR/qsfs.service"
qsfs disable >/dev/null
test ! -e "$QSFS_UNIT_DIR/qsfs.service"
ran+=(run enable disable)

claim "commands: recover does not touch the volume that is here"
refused "has a volume already" qsfs recover "$HOME/kit"
ran+=(recover)

claim "commands: there is no other"
diff <(printf '%s\n' "${ran[@]}" | sort) <(printf '%s\n' "${commands[@]}" | sort)

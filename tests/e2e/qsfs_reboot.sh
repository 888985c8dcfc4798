#!/usr/bin/env bash
# limit: 400
# The machine starts again, daemons die: qsfs run brings everything back, and ends with everything stored.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

claim "reboot: installed, nothing runs"
bootstrap --no-start --cache 16M >/dev/null
test ! -e "$R/run/zdb.pid"

claim "reboot: qsfs run starts and mounts"
"$R/bin/qsfs" run >"$R/log/qsfs.log" 2>&1 &
run=$!
await 120 mounted
echo hello >"$R/mnt/qsfs/file"
sync "$R/mnt/qsfs/file"

for name in backend2 zstor zdb zdbfs; do
    claim "reboot: $name was killed, and runs again"
    before=$(cat "$R/run/$name.pid")
    kill9 $name
    await 120 grep -qvx "$before" "$R/run/$name.pid"
    await 120 grep -qsx hello "$R/mnt/qsfs/file"
done

claim "reboot: after a power cut the mount is back, with what was synced"
kill -9 $run
wait $run || true
kill9
# pids of before mean nothing after a reboot: this shell has one of them
for pid in "$R"/run/*.pid; do
    echo $$ >"$pid"
done
fusermount3 -u -z "$R/mnt/qsfs"
"$R/bin/qsfs" run >"$R/log/qsfs.log" 2>&1 &
run=$!
await 120 mounted
await 120 grep -qsx hello "$R/mnt/qsfs/file"

claim "reboot: qsfs stop ends qsfs run as well"
qsfs stop >"$HOME/out"
grep -qx "qsfs: everything is stored" "$HOME/out"
wait $run
not_mounted

claim "reboot: SIGTERM to qsfs run stores everything and stops"
"$R/bin/qsfs" run >"$R/log/qsfs.log" 2>&1 &
run=$!
await 120 mounted
echo more >>"$R/mnt/qsfs/file"
await 120 qsfs status >/dev/null
kill $run
wait $run
grep -qx "qsfs: everything is stored" "$R/log/qsfs.log"
not_mounted
test ! -e "$R/run/zdb.pid"

claim "reboot: without systemd a line for cron is shown"
if [ -d /run/systemd/system ]; then
    "$R/bin/qsfs-units" print >"$HOME/out"
    grep -qx "ExecStart=$R/bin/qsfs run" "$HOME/out"
else
    qsfs enable >"$HOME/out"
    grep -qx "@reboot $R/bin/qsfs run >>$R/log/qsfs.log 2>&1" "$HOME/out"
fi

claim "reboot: the unit is written, valid, and taken away"
export QSFS_UNIT_DIR=$QSFS_TMP/units
qsfs enable >/dev/null
test -s "$QSFS_UNIT_DIR/qsfs.service"
if command -v systemd-analyze >/dev/null; then
    SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$QSFS_UNIT_DIR/qsfs.service"
else
    echo "# note: systemd-analyze is not here: what systemd says of the unit was not looked at" >&3
fi
sed -i 's#^ExecStart=.*#ExecStart=/elsewhere/qsfs run#' "$QSFS_UNIT_DIR/qsfs.service"
refused "belongs to another installation" qsfs enable
rm "$QSFS_UNIT_DIR/qsfs.service"
qsfs enable >/dev/null
bootstrap --uninstall >/dev/null
test ! -e "$QSFS_UNIT_DIR/qsfs.service"
test -s "$R/keys/data.key"

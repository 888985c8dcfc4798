#!/usr/bin/env bash
# limit: 200
# Watching: the status page, alert rules and dashboard name what is there.  With chromium and promtool where they are installed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
watch=$REPO/bootstrap/packaging/watch
port=$(free_ports)
at=http://127.0.0.1:$port

page()
{
    python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())' "$at$1"
}

# every metric that is named there has a sample
named_metrics()
{
    grep -oE '\b(zstor_[a-z_]+|fs_[a-z_]+|data_[a-z_]+_bytes|connection_status)\b' "$1" | sort -u >"$HOME/named"
    test -s "$HOME/named"
    page /metrics | sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' | sort -u >"$HOME/there"
    # not known before a first scrub is through
    echo zstor_scrub_oldest_seconds | sort -m - "$HOME/there" >"$HOME/known"
    comm -23 "$HOME/named" "$HOME/known" >"$HOME/unknown"
    test ! -s "$HOME/unknown"
}

claim "watch: the page is there, complete in itself, without a secret"
bootstrap --no-start --cache 16M >/dev/null
"$R/bin/zstor" -c "$R/etc/zstor.yaml" --log_file /dev/null config set prometheus_port "$port"
qsfs start >/dev/null
page / >"$HOME/page"
grep -q "<title>zstor</title>" "$HOME/page"
grep -qE '(src|href)="?https?:' "$HOME/page" && exit 1
page /status.json >"$HOME/json"
python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert len(d["backends"]) == 8 and "files" in d["local_only"]' "$HOME/json"
for key in "$R"/keys/*; do
    grep -qF "$(cat "$key")" "$HOME/page" "$HOME/json" && exit 1
done

claim "watch: alert rules are right, and they and the dashboard name metrics that there are"
named_metrics "$watch/alerts.yaml"
named_metrics "$watch/grafana.json"
python3 -m json.tool "$watch/grafana.json" >/dev/null
if command -v promtool >/dev/null; then
    promtool check rules "$watch/alerts.yaml" >"$HOME/out"
else
    echo "# note: promtool is not here: what it says of the alert rules was not looked at" >&3
fi

claim "watch: a browser shows it"
kill9 backend3
if command -v chromium >/dev/null; then
    shown()
    {
        timeout 60 chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$HOME/browser" --virtual-time-budget=4000 \
            --dump-dom "$at/" 2>/dev/null >"$HOME/dom" && grep -q "data backends: 3 of 4" "$HOME/dom"
    }
    await 60 shown
    grep -q 'id="state" class="bad">at risk, 2 backends out of reach' "$HOME/dom"
else
    echo "# note: chromium is not here: what a browser makes of the page was not looked at" >&3
fi
qsfs start >/dev/null
qsfs stop >/dev/null

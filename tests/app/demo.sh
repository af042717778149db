#!/usr/bin/env bash
# The demo app under Gunicorn, on a Unix socket, and tollgate in front of it, until Ctrl-C.
# Leaves nothing running and no file behind, however it ends.
set -euo pipefail
cd "$(dirname "$0")/../.."

tollgate=target/release/tollgate
gunicorn=target/venv/bin/gunicorn
work=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-demo.XXXXXX")
pids=()

# tollgate first, so that it drains while the app still answers.
clean_up() {
    trap - EXIT
    trap '' INT TERM HUP
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    echo "demo: $1" >&2
    cat "$work"/*.err >&2 2>/dev/null || true
    exit 1
}

# Waits until a line matches in a file that a process writes.
wait_for() {
    local pid=$1 file=$2 pattern=$3
    for ((i = 0; i < 300; i++)); do
        grep -qs -- "$pattern" "$file" && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

port=8080
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    port=0
fi

# Each in a session of its own: Ctrl-C reaches this script alone, which ends them in order.
setsid "$gunicorn" --bind "unix:$work/app.sock" --worker-class gthread --workers 2 --threads 4 \
    --no-control-socket --chdir tests/app demo:app >"$work/app.out" 2>"$work/app.err" &
pids+=($!)
wait_for "$!" "$work/app.err" 'Booting worker' || fail "the app did not start"

cat >"$work/tollgate.toml" <<TOML
[listen]
address = "127.0.0.1:$port"

[upstream]
address = "unix:$work/app.sock"

[log]
format = "json"
access = "stdout"

[limits.demo]
rate = "5/minute"

[[routes]]
name = "json"
match = "GET /json"
limits = "demo"

[[routes]]
name = "rest"
match = "/*"
TOML

# Records go to this terminal, lifecycle events to a file.
setsid "$tollgate" run --config "$work/tollgate.toml" 2>"$work/tollgate.err" &
pids+=($!)
wait_for "$!" "$work/tollgate.err" '"ready"' || fail "tollgate did not start"
address=$(sed -n 's/.*"listening".*"address":"\([^"]*\)".*/\1/p' "$work/tollgate.err" | head -n 1)

cat <<TEXT

tollgate listens on http://$address, Gunicorn on unix:$work/app.sock. Try:

  curl -i  http://$address/json                     # X-Request-Id, RateLimit, and a record below
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{http_code} ' http://$address/json; done   # the sixth: 429
  target/release/tollgate explain --config $work/tollgate.toml /json --ip 127.0.0.1
  curl     http://$address/echo                     # what the app is told about you
  curl     'http://$address/slow?seconds=2'
  curl -N  http://$address/events                   # server-sent events, one a second
  curl     'http://$address/download?bytes=1000000000' -o /dev/null
  head -c 5000000 /dev/zero | curl --data-binary @- http://$address/upload
  head -c 20000000 /dev/zero | curl --data-binary @- http://$address/upload   # 413
  curl -i  http://$address/error                    # the app's own 500

Each request is one JSON line here. Ctrl-C ends the demo.

The limit of five a minute on /json at work:

TEXT
for i in 1 2 3 4 5; do
    curl -sS -o /dev/null "http://$address/json"
done
curl -sSi "http://$address/json" | sed 's/^/  /'

# Ends when either side ends by itself; Ctrl-C ends it through the trap.
wait -n "${pids[@]}" || true
fail "a process ended by itself"

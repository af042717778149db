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

# The port, or any if somebody has it.
free_port() {
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then echo 0; else echo "$1"; fi
}
port=$(free_port 8080)
admin_port=$(free_port 9180)

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

[emf]
sink = "file:$work/emf.log"
service = "demo"

[admin]
address = "127.0.0.1:$admin_port"

[metrics.from_response]
cache_hit = { header = "X-Cache", equals = "HIT" }
analysis_latency = { server_timing = "analysis" }
llm = { tokens = "X-LLM-Tokens", model = "X-LLM-Model", operation = "X-LLM-Operation" }

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
bound() {
    sed -n "s/.*\"$1\".*\"address\":\"\([^\"]*\)\".*/\1/p" "$work/tollgate.err" | head -n 1
}
address=$(bound listening)
admin=$(bound 'admin listening')

cat <<TEXT

tollgate listens on http://$address, Gunicorn on unix:$work/app.sock.
The live page is http://$admin/, in a terminal: target/release/tollgate top --admin $admin

Try:

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
  curl -i  http://$address/analysis                 # the app tells of its cache, its model and its time
  curl -s  http://$admin/metrics | grep -v '^#'     # what Prometheus is told
  curl -s  http://$admin/readyz
  tail -n 1 $work/emf.log                           # what CloudWatch is told

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

# Benchmarks: docs/benchmarking.md says what they measure and how to read them.
#
#   make bench                              everything, about six minutes
#   make bench BENCH_ARGS="--quick small"   one scenario, to see that it works
#   BENCH_ROUNDS=11 make bench              more rounds, a narrower spread
#   make bench-micro                        the pieces of the request path by themselves
#   make bench-limits                       a million keys: memory, snapshot
#   make bench-reload                       start and reload with a thousand routes, and what requests notice
#   make bench-telemetry                    counting, lines, a scrape, start and size of the program

.PHONY: bench bench-micro bench-limits bench-telemetry bench-reload bench-tools

# Debian keeps nginx and haproxy where only root's path looks.
BENCH_PATH := $(PATH):/usr/sbin:/sbin
# program:package
BENCH_TOOLS := nginx:nginx haproxy:haproxy strace:strace taskset:util-linux setpriv:util-linux kill:procps
# Thousands of idle connections are held from both ends by one process.
BENCH_OPEN_FILES := 20000

bench: bench-tools
	@ulimit -n $(BENCH_OPEN_FILES) 2>/dev/null || ulimit -n "$$(ulimit -Hn)"; \
	PATH="$(BENCH_PATH)" cargo bench --bench proxies -- $(BENCH_ARGS)

bench-micro:
	cargo bench --bench micro -- $(BENCH_ARGS)

# Debian starts nginx and haproxy as services when it installs them; what this installed, it stops.
bench-tools:
	@PATH="$(BENCH_PATH)"; missing=""; \
	for tool in $(BENCH_TOOLS); do \
		command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "bench: install these packages first:$$missing" >&2; exit 1; \
	fi; \
	as_root=""; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	$$as_root apt-get update -qq && \
	$$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing || exit 1; \
	[ -d /run/systemd/system ] || exit 0; \
	for package in $$missing; do \
		case "$$package" in nginx|haproxy) $$as_root systemctl disable --now "$$package" ;; esac; \
	done

bench-limits:
	cargo bench --bench limits

bench-reload:
	cargo bench --bench reload

bench-telemetry:
	cargo bench --bench telemetry

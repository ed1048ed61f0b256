# make demo   trains, exports, verifies and measures `cnn`
# make test   formats, lint, types, tests
# make bench  measures what README promises
# make bench-zoo MINUTES=9  trains what is missing in results/zoo.jsonl, in pieces
# make bench-equivalence BUNDLES="artifacts/cnn …"  deliberate faults and benign variants of these bundles
# make bench-embed  first answers, memory, golden answers on every runtime at hand, flipped bits
# make bench-latency MINUTES=9  can latencies be told apart, and only where they differ? On an idle machine; with CALM=1
#                               trials wait for the host to be at rest, and count only where it was
PYTHON ?= python3
VENV   ?= .venv
MINUTES ?= 9
JOBS   ?= 2
BUNDLES ?= artifacts/cnn
# set-up was seen to take 7.4 GB
ROOM_GB ?= 9
BIN    := $(VENV)/bin

.PHONY: demo test test-all lint bench bench-zoo bench-equivalence bench-latency bench-embed clean

demo: $(VENV)/.installed-demo
	$(BIN)/pipeline train-export cnn

test: lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadscope

test-all: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadscope

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python -m pipeline.figures

bench-zoo: $(VENV)/.installed-test
	$(BIN)/python -m pipeline.bench_zoo --minutes $(MINUTES)

bench-latency: $(VENV)/.installed-test
	$(BIN)/python -m pipeline.bench_latency --minutes $(MINUTES) $(if $(CALM),--calm) $(firstword $(BUNDLES))

bench-embed: $(VENV)/.installed-test
	$(BIN)/python -m pipeline.bench_embed $(firstword $(BUNDLES))

bench-equivalence: $(VENV)/.installed-test
	$(BIN)/python -m pipeline.bench_equivalence --minutes $(MINUTES) $(BUNDLES)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old; name a Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m pipeline.room $(VENV) $(ROOM_GB)
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pipeline.room $(VENV) $(ROOM_GB)
	@echo "setting up $(VENV): about 2 minutes and 7 GB, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,rtx,openvino]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pipeline.room $(VENV) $(ROOM_GB)
	@echo "setting up $(VENV) for tests: about 2 minutes and 7 GB, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,rtx,openvino,sign,triton,dev]'
	@touch $@ $(VENV)/.installed-demo

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache build *.egg-info

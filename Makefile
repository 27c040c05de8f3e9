# Needs make and Python 3.11 or newer, nothing else. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# named to uv each time, so that a virtual or conda environment of the caller cannot divert it
INTO := --python $(BIN)/python
# Python to build the environment with; the first of these that is new enough. Override: make PYTHON=...
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

.PHONY: help setup demo test test-torch test-gpu chaos bench lint format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned dependencies (again only when they change)

demo: setup ## deploy a notebook and ask its endpoint for predictions
	$(BIN)/nb2prod deploy notebooks/flight_delays.ipynb
	$(BIN)/nb2prod predict flight_delays --example

test: setup ## run the tests; make test ARGS="-k extract -x" hands pytest its arguments
	$(BIN)/python -m pytest $(ARGS)

# pip, not uv: it takes a CPU build where one is at hand (PIP_FIND_LINKS); the registry's brings CUDA, 4.5 GB
test-torch: setup ## run the tests that need PyTorch, which they install
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "test-torch: installing PyTorch"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[torch]'; }
	$(BIN)/python -m pytest tests/with_torch $(ARGS)

test-gpu: ## run the tests that need a GPU, with the PyTorch that is installed
	$(BIN)/python -m pytest tests/with_gpu $(ARGS)

chaos: setup ## 2,000 random notebooks; 50,000 mutated bodies; 1,000 clients that leave; 30 minutes of load
	NB2PROD_PROGRAMS=2000 $(BIN)/python -m pytest tests/test_extract_property.py
	NB2PROD_BODIES=50000 $(BIN)/python -m pytest tests/test_serving_fuzz.py
	NB2PROD_LEAVERS=1000 NB2PROD_SOAK_S=1800 $(BIN)/python -m pytest tests/test_serving_chaos.py

bench: setup ## one pipeline behind every server, ours and others', driven with wrk (apt install wrk); an hour
	@[ -x .venv-peers/bin/python ] || { $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peers && \
		$(BIN)/uv pip install --python .venv-peers/bin/python --quiet --compile-bytecode -r bench/peers/requirements.txt; }
	$(BIN)/python -m bench.serving --peers .venv-peers/bin/python $(ARGS)

lint: setup ## ruff, formatting, strict types, the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff fix and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## write requirements.lock anew from pyproject.toml; ARGS=--upgrade takes newer versions
	$(BIN)/uv pip compile pyproject.toml --extra demo --extra dev \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --quiet --output-file requirements.lock $(ARGS)

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Also brings an older environment up to date: `sync` installs what is missing and removes what is no longer in
# the lock. uv itself comes out of the lock, hash and all: its block is the first thing that pip installs.
$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "nb2prod needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || true)" >&2; \
		echo "Install a newer one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; \
		exit 3; fi
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "setup: making $(VENV) with $$($(PYTHON) --version)"; \
		rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
			echo "$(PYTHON) cannot make a virtual environment (Debian and Ubuntu: apt install python3-venv)." >&2; \
			exit 3; }; fi
	@if [ ! -x $(BIN)/uv ]; then \
		awk '/^[a-z0-9]/ { keep = /^uv==/ } keep' requirements.lock > $(VENV)/uv.txt; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt; fi
	@echo "setup: installing requirements.lock (some 1.5 GB; minutes the first time)"
	@$(BIN)/uv pip sync $(INTO) --quiet --require-hashes --compile-bytecode requirements.lock
	@$(BIN)/uv pip install $(INTO) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

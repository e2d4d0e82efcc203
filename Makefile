# Every target sets itself up: a fresh machine needs Python 3.11 with venv, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench interop soak clean

help:
	@echo "make demo | test | lint | bench | interop | soak | install | clean"

# Two stamps: the demo needs neither torch nor the linters.
$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[cloud,sim]"
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[cloud,offline,sim,dev]"
	@touch $@ $(VENV)/.demo

install: $(VENV)/.all

demo: $(VENV)/.demo
	$(BIN)/longtail demo

test: $(VENV)/.all
	$(BIN)/python -m pytest -m "not soak and not interop"

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.all
	$(BIN)/longtail bench all --write docs/benchmarks.md

# What needs programs of other people: Node with tus-js-client, the Rerun viewer's loader.
interop: $(VENV)/.all
	$(PIP) rerun-sdk
	npm install --prefix tests/interop --no-audit --no-fund --silent
	$(BIN)/python -m pytest -m interop

soak: $(VENV)/.all
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info

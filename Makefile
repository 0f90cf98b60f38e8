# Every target sets itself up: `make demo` and `make test` work on a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
# The tests start hundreds of workers: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE
READY := .venv/.ready

.PHONY: help setup demo test check bench bench-quick bench-scale chaos accelerate plain clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: $(READY) ## make .venv with everything pinned, so that .venv/bin/waybill works

# Redone only when what is installed would differ.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Waybill needs Python 3.11 to 3.14, and none is on the PATH: install one, or make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making .venv" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "could not make .venv: is the venv module there? (Debian: apt-get install python3-venv)" >&2; rm -rf .venv; exit 1; }
	@echo "installing the pinned packages: about 700 MB, a few minutes the first time" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "installing the project" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the samples through every shipped pipeline, and the books balanced at the end
	@$(BIN)/waybill demo

# Files side by side, three at a time also on two cores, because most of them wait; each process has a Kafka of its own.
# In the order of tests/conftest.py: the longest begin first.
test: $(READY) plain ## the whole test suite, real Kafka included; prints what was skipped and why
	@$(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

check: $(READY) ## lint, format, types, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## the benchmarks (under 20 minutes); results in bench/results/
	@$(BIN)/python -m bench

bench-quick: $(READY) ## the benchmarks, short (under 3 minutes)
	@$(BIN)/python -m bench --quick

bench-scale: $(READY) ## how the cost grows, axis by axis (hours; no time limit): [AXIS=name] [LIMIT=size] [RESUME=1]
	@$(BIN)/python -m bench.scale $(if $(AXIS),--axis $(AXIS)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(RESUME),--resume)

ROUNDS ?= 10
SEED ?= 1
FIRST ?= 0

chaos: $(READY) ## fault rounds on real Kafka, judged from outside: ROUNDS=n SEED=s [FIRST=n] [BROKEN=mode] [SEVERAL=1] [RESUME=1]
	@$(BIN)/python -m chaos --rounds $(ROUNDS) --seed $(SEED) --first $(FIRST) $(if $(BROKEN),--broken $(BROKEN)) \
		$(if $(SEVERAL),--several) $(if $(RESUME),--resume)

accelerate: $(READY) ## the hottest modules compiled by mypyc (needs a C compiler; minutes), held equal to their sources
	@$(BIN)/python -m accelerate

# Tests put other functions in the place of ours, which compiled code does not see.
plain: ## undo `make accelerate`
	@find audit schemas streams -name '*.so' -delete
	@rm -f streams/accelerated.digest

clean: plain ## remove .venv, caches and the local broker's data (stop it first)
	@if [ -x $(BIN)/waybill ] && [ -d .waybill ]; then $(BIN)/waybill broker stop; fi
	rm -rf .venv .waybill .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make demo    trains imbalanced-cls on the packaged images and writes a report; needs nothing but a Python
# make test    what CI runs: lint, types, layers, benchmarks' smoke runs, docs, tests
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench clean

VENV := .venv
BIN := $(VENV)/bin
EXTRAS := benchmarks,dev,docs,tensorboard

# The real data sets that some tests and the benchmarks read, where they lie beside the checkout.
ifneq ($(wildcard ../shared/data),)
export MLEXPERT_DATA ?= $(abspath ../shared/data)
endif

help:
	@echo "make demo | test | lint | format | docs | bench | clean"

demo: $(VENV)/installed
	$(BIN)/mlexpert fit imbalanced-cls demo --run-dir runs/demo --fresh --final-test "make demo"

test: lint $(VENV)/installed-all
	for script in benchmarks/*/run.py; do OMP_NUM_THREADS=2 $(BIN)/python "$$script" --smoke; done
	$(MAKE) --no-print-directory docs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/installed-all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/installed-all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/installed-all
	for script in benchmarks/*/run.py; do $(BIN)/python "$$script"; done

clean:
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Installed anew only when what is to be installed has changed.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-all: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@ $(VENV)/installed

$(BIN)/python:
	for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "mlexpert needs Python 3.11, 3.12 or 3.13; none was found" >&2; exit 1

# make demo: a first search.  make test: the tests.  make check: what CI runs.
PYTHON ?= $(or $(shell command -v python3.11),python3)
# An extra package index for torch, where the plain pin would pull CUDA:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test test-all check fmt format lint types imports clean

demo: .venv/installed
	$(BIN)/archsearch run search_spaces/quickstart.yaml

test: .venv/installed-test
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: .venv/installed-test
	$(BIN)/python -m pytest

check: format lint types imports test

fmt: .venv/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format: .venv/installed-test
	$(BIN)/ruff format --check .

lint: .venv/installed-test
	$(BIN)/ruff check .

types: .venv/installed-test
	$(BIN)/mypy

imports: .venv/installed-test
	$(BIN)/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info

# `make demo` and `make test` are all that a newcomer needs. Both install into .venv, with uv bootstrapped inside it,
# so that they work where pip refuses to touch the system.

PYTHON ?= python3
UV_VERSION = 0.13.9
BIN = .venv/bin
SYNC = .venv/.synced

.PHONY: demo test test-long lint types layers unit bench install clean
.DELETE_ON_ERROR:

demo: install
	$(BIN)/satisfice demo $(DEMO)

install: $(SYNC)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "satisfice needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "cannot make a venv (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(SYNC): $(BIN)/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --python $(BIN)/python --locked --inexact --all-extras
	@touch $@

test: lint types layers unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports --no-cache --no-logo

unit: install
	$(BIN)/python -m pytest -m "not long" -n auto --dist loadfile --cov --cov-report=term:skip-covered

test-long: install
	$(BIN)/python -m pytest -m long

bench: install
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/concurrency.py

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

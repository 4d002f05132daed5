# Everything a newcomer runs. Needs Python 3.11 or later, pip and make; sets up nothing outside
# this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test test-deployment test-chaos lint mutations clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/fedward lab simulate experiments/studies/demo.toml

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not deployment"

# A coordinator, three sites and MLflow as real processes: studies to their ends. Some minutes.
test-deployment: $(READY)
	$(BIN)/pytest tests/deployed/test_whole.py

# The same, each process killed once; and both pages of docs/ followed. A quarter of an hour.
test-chaos: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m deployment --ignore tests/deployed/test_whole.py \
		tests/deployed tests/docs

# Breaks every guarantee once and looks whether a test fails; some minutes.
mutations: $(READY)
	$(BIN)/python tests/mutations.py

clean:
	rm -rf $(VENV) fedward-runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

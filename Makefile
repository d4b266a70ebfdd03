# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment they need.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
BIN := $(VENV)/bin

.PHONY: demo test check lint types bench docs clean

demo: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/schedengine train --schedule schedules/digits/agp.yaml --model digits_cnn --data digits --seed 0 --out $(RUN)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8

check: lint types test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/transcripts.py

bench: $(VENV)/.installed-dev
	for name in step global_threshold bounds; do $(BIN)/python benchmarks/$$name.py || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

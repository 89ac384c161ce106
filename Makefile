# make demo   installs into .venv (once, with all extras) and runs the main job
# make test   installs into .venv (once) and runs the tests
# make test-fast   the same without those that take seconds
# make coverage    the fast tests again, with the lines and branches of the package that none of them runs
# make bench  installs into .venv (once) and compares the speed of a forward pass with HuBERT Base's, for a minute
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed

# Files of tests in as many processes as there are cores, up to 4.
PYTEST := $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast coverage bench lint clean

demo: $(STAMP)
	$(VENV)/bin/fithubert demo

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow"

coverage: $(STAMP)
	$(PYTEST) -m "not slow" --cov=fithubert_upstream --cov-branch --cov-report=term-missing:skip-covered

bench: $(STAMP)
	$(VENV)/bin/fithubert benchmark inference --short

lint: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/mypy

# torch first and by itself, so that the other packages find the pinned one in place.
$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) result

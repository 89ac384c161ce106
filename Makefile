# make demo   installs into .venv (once, with all extras) and runs the main job
# make test   installs into .venv (once) and runs the tests
# make bench  installs into .venv (once) and compares the speed of a forward pass with HuBERT Base's, for a minute
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: demo test bench lint clean

demo: $(STAMP)
	$(VENV)/bin/fithubert demo

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest

bench: $(STAMP)
	$(VENV)/bin/fithubert benchmark inference --short

lint: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# torch first and by itself, so that the other packages find the pinned one in place.
$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) result

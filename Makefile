# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs Python 3.11 or newer with venv; installs into .venv only.

PYTHON ?= python3
VENV := .venv
HEADWORKS := $(VENV)/bin/headworks
READY := $(VENV)/.ready

export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: demo test slow lint docs clean help

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY) ## three avatars from embedded data, a report and a ledger
	$(HEADWORKS) demo

test: $(READY) ## the default test suite
	$(VENV)/bin/pytest -n 2

slow: $(READY) ## the tests that take minutes
	$(VENV)/bin/pytest -m slow

lint: $(READY) ## ruff and the type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(READY) ## the site, in site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

clean: ## remove the virtual environment and caches, keep data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# torch first and pinned: an unpinned torch would bring gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

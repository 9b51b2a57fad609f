# What you can do here: `make help`. Nothing is installed outside .venv, except system packages
# for the windows of `make test` when it runs as root on Debian or Ubuntu.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 ...` overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Anything pip should be told, such as where to find a CPU build of torch (see constraints.txt).
PIP_ARGS ?=
INSTALL = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input \
	install --constraint constraints.txt $(PIP_ARGS)
# A display is a running X or Wayland server, or any Mac.
DISPLAY_HERE := $(or $(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin,$(shell uname)))
# The GUI tests choose their own (virtual) screen. Compiled modules are kept whatever the environment
# says: a third of the time of all tests would go into compiling them again in each process.
PYTEST := env -u WAYLAND_DISPLAY -u QT_QPA_PLATFORM -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest
# A process for each core, at most four; a file's tests stay together, for they share what they train.
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SOURCES := medseg pipelines/medseg_pipelines napari_plugin/medseg_napari

.PHONY: help demo test test-slow test-all check check-style check-types check-floors \
	check-docstrings check-plugin check-wheel screenshots benchmarks clean system-packages \
	pacs-packages

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-$(if $(DISPLAY_HERE),napari,base) ## Make phantom CT patients, train, segment, report; a few minutes
	@$(if $(DISPLAY_HERE),scripts/system_packages.sh)
	@$(BIN)/medseg demo --output demo $(if $(DISPLAY_HERE),,--no-view)

test: $(VENV)/.installed-dev system-packages ## Run the tests (those that take minutes left out)
	@$(PYTEST) $(IN_PARALLEL) -m "not slow"

test-slow: $(VENV)/.installed-dev system-packages
	@$(PYTEST) $(IN_PARALLEL) -m slow

test-all: $(VENV)/.installed-dev system-packages ## Run all tests
	@$(PYTEST) $(IN_PARALLEL)

check: check-style check-types check-floors check-docstrings check-plugin check-wheel ## Run every gate: style, types, imports, docstrings, plugin, wheel

check-style: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

check-types: $(VENV)/.installed-dev
	@$(BIN)/mypy

check-floors: $(VENV)/.installed-dev
	@$(BIN)/lint-imports --no-logo

check-docstrings: $(VENV)/.installed-dev
	@find $(SOURCES) -name '*.py' -print0 | xargs -0 $(BIN)/numpydoc lint --config .
	@echo "Docstrings follow numpydoc."

check-plugin: $(VENV)/.installed-dev
	@$(BIN)/npe2 validate medseg

check-wheel: $(VENV)/.installed-dev
	@$(PYTEST) tests/architecture/test_wheel.py --durations=0

screenshots: $(VENV)/.installed-dev system-packages ## Draw the pictures of docs/images/ anew
	@env -u WAYLAND_DISPLAY -u QT_QPA_PLATFORM $(BIN)/python benchmarks/screenshots.py

benchmarks: $(VENV)/.installed-dev ## Run every script of benchmarks/, one after another
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## Remove what was made here; .venv stays (delete it to start over)
	@rm -rf build dist demo runs screenshots .coverage *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find $(SOURCES) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@scripts/system_packages.sh

# A real archive for tests/pacs; those tests are skipped without it.
pacs-packages:
	@scripts/pacs_packages.sh

# Stamps: an installation is repeated only when one of these two files is newer. A larger
# installation holds the smaller ones.
REQUIREMENTS := pyproject.toml constraints.txt

$(VENV)/.installed-base: $(REQUIREMENTS) | $(VENV)/.made
	@echo "Installing medseg into $(VENV)/ (a minute or two the first time) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-napari: $(REQUIREMENTS) | $(VENV)/.made
	@echo "Installing medseg and napari into $(VENV)/ (a minute or two the first time) ..."
	@$(INSTALL) --editable '.[napari]'
	@touch $(VENV)/.installed-base $@

$(VENV)/.installed-dev: $(REQUIREMENTS) | $(VENV)/.made
	@echo "Installing medseg, napari and the tests' tools into $(VENV)/ (a minute or two the first time) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed-base $(VENV)/.installed-napari $@

# An environment that works is kept, whoever made it.
$(VENV)/.made:
	@scripts/make_venv.sh "$(VENV)" "$(PYTHON)"
	@touch $@

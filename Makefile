# make demo    environment, install, the main job on real data (about 10 minutes)
# make test    environment, install, tests
# make check   all that must be green before a commit
# Needs Python 3.11 or newer, make and pip; everything else goes into .venv.
#
#   make demo DATA=my.iob      train on your own CoNLL/IOB file
#   make demo DEMO_ARGS="--seeds 0,1,2 --random-weights"    the table of the README
#   make PYTHON=python3.12 test
#   make PIP_FLAGS="--find-links wheels" demo       more options for pip, such as where torch comes from

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
DATA ?=
SEED ?= 0
DEMO_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint slow fix all gpu clean

help:
	@sed -n 's/^# \{0,1\}//; /^$$/q; p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "spacy-deberta needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -u -m examples.ner_demo --seeds $(SEED) $(if $(DATA),--data "$(DATA)") $(DEMO_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest

check: lint test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

all: check slow

# the tests that run longer than 5 s
slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not gpu and not network and not reference and not shared"

gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu

clean:
	rm -rf $(VENV) build dist demo *.egg-info

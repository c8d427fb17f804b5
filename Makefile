# Every target makes what it needs: a virtual environment in .venv with nlpipe in it, at the versions of
# requirements/constraints.txt. `make PYTHON=python3.12 …` picks the interpreter it is made with.

PYTHON ?= python3
PY := .venv/bin/python
CONSTRAINTS := requirements/constraints.txt
STAMP = $(shell date +%Y%m%d-%H%M%S)

# One environment, and always an editable install, so that one target never runs code that another one installed.
EXTRAS_quickstart := quickstart
EXTRAS_test := test,quickstart
EXTRAS_test-all := test,quickstart,onnx,openvino,ctranslate2
EXTRAS_check := dev

# Tests never ask the network, and threads that share a core only slow each other down.
TEST := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all mutants check fix bench

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' \
	    | awk -F'|' '{ printf "make %-12s%s\n", $$1, $$2 }'

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("nlpipe needs Python 3.11 or newer and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11 …")'
	@echo "making .venv with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed-%: pyproject.toml $(CONSTRAINTS) | .venv/.made
	@echo "installing into .venv: nlpipe[$(EXTRAS_$*)] (the first time this takes minutes: torch is large) …"
	@$(PY) -m pip install -qq --disable-pip-version-check \
	    --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS_$*)]'
	@touch $@

quickstart: .venv/.installed-quickstart ## fine-tune a small encoder, measure it, and ask it about three new sentences
	@set -e; dir=runs/quickstart-$(STAMP); \
	echo "$$ nlpipe run recipes/quickstart/sentiment.yaml --set output.dir=$$dir"; \
	.venv/bin/nlpipe run recipes/quickstart/sentiment.yaml --set output.dir=$$dir; \
	echo; \
	echo "$$ nlpipe predict $$dir/model --input recipes/quickstart/new.txt --output -"; \
	.venv/bin/nlpipe predict $$dir/model --input recipes/quickstart/new.txt --output -; \
	echo; \
	echo "The score above is a demonstration, not a measurement: the sentences were written for nlpipe."

test: .venv/.installed-test ## the tests that every change runs (about 7 minutes on two cores)
	$(TEST) -m "not slow"

test-all: .venv/.installed-test-all ## all tests: every architecture, faults, long runs (under 60 minutes); records the grid
	$(TEST) --evidence

mutants: .venv/.installed-test ## planted defects, each of which a check of the kit must catch (about 10 minutes)
	$(PY) tests/mutants/run.py

check: .venv/.installed-check ## lint, format and types; changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

fix: .venv/.installed-check ## put right what ruff can put right by itself
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: .venv/.installed-test ## measured comparisons with peers; see benchmarks/
	@set -e; for file in $(sort $(wildcard benchmarks/*.py)); do echo "$$ $$file"; $(PY) "$$file"; done

# make reproduce: the degradation study, its figures and its table. make test: all tests.
# make acceptance: every claim about the networks, tested; a table.
# Both set up .venv by themselves. Plain POSIX make; PYTHON=python3.12 chooses another one.

PYTHON = python3
BIN = .venv/bin

reproduce: .venv/.runtime
	$(BIN)/python experiments/train.py study=degradation

# make paper STUDY=degradation STYLE=neurips FORMAT=pdf; without STUDY, of all studies.
STUDY =
STYLE = web
FORMAT = pdf,png

paper: .venv/.runtime
	$(BIN)/python analysis/make.py outputs/$(STUDY) --style $(STYLE) --format $(FORMAT)

test: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

# make test-portable: the numeric tests as on other CPUs; PART=short, under two settings only.
PART = whole

test-portable: .venv/.dev
	$(BIN)/python tests/portable.py $(PART)

test-slow: .venv/.dev
	$(BIN)/pytest -m slow

# make docs: the site, into site/; open site/index.html. It reads and searches without a network.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmark: .venv/.runtime
	$(BIN)/python -m benchmarks

acceptance: .venv/.runtime
	$(BIN)/python experiments/acceptance.py

# make test-lowest: the tests with the lowest versions that pyproject.toml allows. Warnings are no
# errors there: of old versions newer ones of their own requirements warn.
LOWEST = -m 'not slow and not gpu and not numeric'

test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/pytest -o filterwarnings=default $(LOWEST)

# make dist: the wheel and the sdist, in dist/.
dist: .venv/bin/python
	$(BIN)/python -m pip install build
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf .venv .venv-lowest dist site

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradflow needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# make reproduce TORCH_INDEX=URL takes torch from another index, such as that of its CPU wheels
# (pytorch.org, Get started): on Linux the usual one has a CUDA build of several GB.
TORCH_INDEX =

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the packages of constraints.txt into .venv, about 1.5 GB with torch for the CPU:"
	test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install --constraint constraints.txt --index-url "$(TORCH_INDEX)" torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all]'
	touch .venv/.runtime

.venv/.dev: .venv/.runtime
	@echo "Installing what the tests need:"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all,dev]'
	touch .venv/.dev

.venv/.docs: .venv/.runtime
	@echo "Installing what builds the site:"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all,docs]'
	touch .venv/.docs

# make notebooks: executes them where they lie, at most three minutes each.
notebooks: .venv/.runtime
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all,notebooks]' pytest
	$(BIN)/python -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False docs/notebooks/*.ipynb

.venv-lowest/.installed: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/constraints.txt
	@echo "Installing the lowest versions into .venv-lowest:"
	test -z "$(TORCH_INDEX)" || .venv-lowest/bin/python -m pip install --constraint .venv-lowest/constraints.txt --index-url "$(TORCH_INDEX)" torch
	.venv-lowest/bin/python -m pip install --constraint .venv-lowest/constraints.txt --editable '.[all,test]'
	touch .venv-lowest/.installed

.PHONY: reproduce paper test test-portable test-slow test-lowest docs notebooks benchmark acceptance dist clean

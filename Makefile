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

# make docs: the site, into site/; open site/index.html. Searches and reads without a network.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmark: .venv/.runtime
	$(BIN)/python -m benchmarks

acceptance: .venv/.runtime
	$(BIN)/python experiments/acceptance.py

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradflow needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch .venv/.runtime

.venv/.dev: .venv/.runtime
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/.dev

.venv/.docs: .venv/.runtime
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch .venv/.docs

.PHONY: reproduce paper test test-portable test-slow docs benchmark acceptance clean

# Ridgeline's commands. Needs make, a POSIX shell and Python 3.11 or newer with its venv module.
#
#   make demo PYTHON=/path/to/python3.12        use another interpreter for the virtual environment
#   make test PYTEST_ARGS="-k compose -x"       pass arguments to pytest

PYTHON ?= python3
PYTEST_ARGS ?=

# Python keeps what it compiles, even where images of containers tell it not to: the tests start it hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
LOCKS := deploy/locks
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Python compiles what is imported; most of it never is. Wheels alone: a package that has none for this platform fails at once instead of compiling for minutes.
INSTALL_LOCKED := $(PIP) install --no-compile --require-hashes --only-binary=:all: --requirement
PACKAGE_INPUTS := pyproject.toml hatch_build.py $(wildcard proto/ridgeline/v1/*.proto)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo dev test test-slow soak accuracy docs engine-flags audit lint format proto bench lock clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: $(VENV)/demo.stamp $(VENV)/package.stamp ## install into .venv and answer a real question
	@echo 'ridgeline recommend llama-2-7b rtx-a6000 --batch 1 --input-len 2048 --output-len 128'
	@$(BIN)/ridgeline recommend llama-2-7b rtx-a6000 --batch 1 --input-len 2048 --output-len 128

dev: $(VENV)/dev.stamp $(VENV)/package.stamp ## install all that building, linting and testing need

test: dev ## run the tests, on a PostgreSQL of their own too, a worker for each core and one more
	@$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(PYTEST_ARGS)

test-slow: dev ## run the tests left out of `make test`: Ray, the real Envoy, a notebook, rude callers
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

soak: dev ## hammer, kill, misuse and fuzz the service for some hours, on both databases
	@$(BIN)/python -m tests.soak

accuracy: dev ## judge predictions by published measurements on rows left out, and write docs/accuracy.md
	@$(BIN)/python -m tests.accuracy

docs: dev ## write docs/techniques from the techniques' modules, the catalog's evidence and switches
	@$(BIN)/python -m ridgeline_server.advisor.documentation docs/techniques

engine-flags: dev ## look every flag of the catalog up in the engines' sources, which are downloaded
	@$(BIN)/python -m tests.engine_flags

audit: dev ## look the service's locked dependencies up among known vulnerabilities
	@$(BIN)/python -m tests.audit

lint: dev ## ruff, mypy --strict, import contracts, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

format: dev ## rewrite sources as the linters want them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

proto: dev ## compile proto/ into client/ridgeline/v1 in place
	@$(BIN)/python hatch_build.py

bench: dev ## run the benchmarks and print their figures
	@for script in benchmarks/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script" || exit 1; done

# uv resolves for every supported Python and platform at once; dev.txt constrains the smaller files, so
# that all environments agree on every version.
COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --upgrade
lock: dev ## refresh deploy/locks to the newest allowed versions
	$(PIP) install uv
	$(COMPILE) pyproject.toml --extra server --extra postgres --extra plots --extra arrow --extra aio --extra ray --extra otel --group dev -o $(LOCKS)/dev.txt
	$(COMPILE) pyproject.toml --extra server --extra plots --group build -c $(LOCKS)/dev.txt -o $(LOCKS)/demo.txt
	$(COMPILE) pyproject.toml --extra server --extra postgres -c $(LOCKS)/dev.txt -o $(LOCKS)/service.txt
	$(COMPILE) --group build -c $(LOCKS)/dev.txt -o $(LOCKS)/build.txt

clean: ## remove .venv, generated code and caches
	rm -rf $(VENV) client/ridgeline/v1 build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Ridgeline needs Python 3.11 or newer: name one, as in `make demo PYTHON=python3.12`.' >&2; exit 1; }
	@echo 'creating $(VENV)'
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo 'This Python cannot make virtual environments; on Debian and Ubuntu install python3-venv.' >&2; exit 1; }

# Stamps say what is installed, so that nothing is asked of pip when nothing has changed.
$(VENV)/demo.stamp: $(LOCKS)/demo.txt | $(BIN)/python
	@echo 'installing locked dependencies'
	@$(INSTALL_LOCKED) $(LOCKS)/demo.txt
	@touch $@

$(VENV)/dev.stamp: $(LOCKS)/dev.txt | $(BIN)/python
	@echo 'installing locked development dependencies'
	@$(INSTALL_LOCKED) $(LOCKS)/dev.txt
	@touch $@ $(VENV)/demo.stamp

# Either stamp above brings the build tools; a goal names its stamp first, and .NOTPARALLEL keeps the order.
$(VENV)/package.stamp: $(PACKAGE_INPUTS) | $(BIN)/python
	@echo 'installing ridgeline'
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Everything here sets itself up: it needs Linux, Python 3.11 or newer, git and make.
# `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALLED := .venv/.installed
WHEELS := .venv/wheel

# Set it, as CI does, and `make test` runs the tests on the wheel instead of the sources.
WHEEL ?= $(CI)
export WHEEL

# Which tests `make test` runs; all of them unless given: make test TESTS=tests/unit
TESTS ?=

# Four processes of tests, since half of their time is waiting; each has servers of its own. Files in their order, so
# that those of acceptance, which wait most, do not come last and alone.
PYTEST := -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: up demo test bench lint fmt docs picture lock clean help

up: $(INSTALLED) ## run everything on this machine: Redis, Postgres, two Beats, a watchdog, workers, Flower
	@exec $(BIN)/celery -A tasks dev

demo: $(INSTALLED) ## kill schedulers, workers and Redis for a minute, then count the effects
	@exec $(BIN)/python ops/demo.py

test: lint ## format, lint, types, floors, and every test; with WHEEL=1, those of the wheel
	@if [ -n "$$WHEEL" ]; then \
	  $(BIN)/python ops/wheel_environment.py $(WHEELS); \
	  exec $(WHEELS)/bin/python $(PYTEST) $(TESTS); \
	fi; \
	exec $(BIN)/python $(PYTEST) $(TESTS)

lint: $(INSTALLED) ## all of `make test` but the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fmt: $(INSTALLED) ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

docs: $(INSTALLED) ## write docs/reference from the code
	@$(BIN)/python ops/reference.py

picture: $(INSTALLED) ## record `make up` for the README, from a terminal of tmux
	@$(BIN)/python ops/picture.py

bench: $(INSTALLED) ## run every benchmark
	@for program in $$(grep -l '__main__' bench/*.py); do \
	  printf '\n\033[1m%s\033[0m\n' "$$program"; \
	  $(BIN)/python "$$program"; \
	done

lock: ## write the lock files anew: of everything, of a deployment, of a build
	@uv=$$(command -v $(BIN)/uv || command -v uv || true); \
	if [ -z "$$uv" ]; then \
	  echo 'No uv, which writes the lock file. Install it: pip install uv' >&2; exit 1; \
	fi; \
	compile="$$uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header"; \
	compile+=' --no-emit-package steadybeat --quiet'; \
	$$compile pyproject.toml tasks/pyproject.toml --extra dev --extra otel --group test -o requirements.lock; \
	$$compile pyproject.toml tasks/pyproject.toml -c requirements.lock -o requirements-runtime.lock; \
	$$compile --group build -c requirements.lock -o requirements-build.lock
	@echo 'requirements*.lock are up to date.'

clean: ## remove the environment, the caches and the local stack's data
	@if [ -e .steadybeat/up.json ] && kill -0 "$$(cat .steadybeat/up.lock)" 2>/dev/null; then \
	  echo "The local stack is running. Stop it first: kill $$(cat .steadybeat/up.lock)" >&2; exit 1; \
	fi
	@$(BIN)/python -c 'from pathlib import Path; from steadybeat.dev import servers, unprivileged; \
	  unprivileged.forget(Path(".steadybeat/postgres"), servers.find_postgres())' 2>/dev/null || true
	@rm -rf .venv .steadybeat .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'Clean.'

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  \033[1mmake %-6s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One environment, of exactly what the lock file says; made again only when that or a pyproject.toml has changed.
$(INSTALLED): requirements.lock pyproject.toml tasks/pyproject.toml
	@ops/environment.sh
	@touch $@

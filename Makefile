# Everything here sets itself up: it needs Linux, Python 3.11 or newer, git and make.
# `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: up demo test bench lint fmt lock clean help

up: $(INSTALLED) ## run everything on this machine: Redis, Postgres, two Beats, workers, Flower
	@exec $(BIN)/celery -A tasks dev

demo: $(INSTALLED) ## kill schedulers, workers and Redis for a minute, then count the effects
	@exec $(BIN)/python ops/demo.py

test: lint ## format, lint, types, floors, and every test
	@$(BIN)/python -m pytest

lint: $(INSTALLED) ## all of `make test` but the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fmt: $(INSTALLED) ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## run every benchmark
	@for program in $$(grep -l '__main__' bench/*.py); do \
	  printf '\n\033[1m%s\033[0m\n' "$$program"; \
	  $(BIN)/python "$$program"; \
	done

lock: ## write requirements.lock anew, from pyproject.toml
	@uv=$$(command -v $(BIN)/uv || command -v uv || true); \
	if [ -z "$$uv" ]; then \
	  echo 'No uv, which writes the lock file. Install it: pip install uv' >&2; exit 1; \
	fi; \
	"$$uv" pip compile pyproject.toml --extra dev --group test --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	@echo 'requirements.lock is up to date.'

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
	@python=''; \
	for each in python3.13 python3.12 python3.11 python3; do \
	  if "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'No Python 3.11 or newer. Debian, Ubuntu: apt install python3 python3-venv' >&2; exit 1; \
	fi; \
	if ! $(PIP) --version >/dev/null 2>&1; then \
	  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python cannot make virtual environments. Debian, Ubuntu: apt install python3-venv" >&2; exit 1; \
	  fi; \
	  "$$python" -m venv --clear .venv; \
	fi; \
	printf 'Installing %d packages into .venv ' "$$(grep -c '^[a-z0-9].*==' requirements.lock)"; \
	$(PIP) install --progress-bar off --require-hashes -r requirements.lock \
	  | awk '/^(Collecting|Requirement already|Installing)/ { printf "."; fflush() } END { print "" }'; \
	$(PIP) install --quiet --no-deps --no-build-isolation -e . -e tasks; \
	touch $@

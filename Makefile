# Everything a person or a pipeline does here; `make help` lists it. Only Python 3.11+ with venv is needed beforehand.
SHELL := bash
PY := .venv/bin
UV := uv
STAMP := .venv/.synced

.DEFAULT_GOAL := help
.PHONY: help run test lint format types unit live live-all browser drill up down status bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# The lock names versions and hashes but no index, so it works with any mirror that pip is configured for.
$(STAMP): requirements.lock pyproject.toml
	@command -v uv >/dev/null || python3 -m pip install --quiet --user uv || python3 -m pip install --quiet --break-system-packages uv
	@PATH="$$HOME/.local/bin:$$PATH"; test -x $(PY)/python || uv venv --quiet --python '>=3.11' .venv
	@PATH="$$HOME/.local/bin:$$PATH"; uv pip install --quiet --python $(PY)/python --require-hashes -r requirements.lock
	@PATH="$$HOME/.local/bin:$$PATH"; uv pip install --quiet --python $(PY)/python --no-deps --editable .
	@touch $@

run: $(STAMP) ## the main job: cluster, stack, Boutique, scenarios, report
	$(PY)/pytest scenarios/ -n auto

test: $(STAMP) lint types unit live ## our own tests: the one gate, the same here and in CI

lint: $(STAMP) ## format and lint checks
	$(PY)/ruff format --check .
	$(PY)/ruff check .

format: $(STAMP) ## format the code
	$(PY)/ruff format .
	$(PY)/ruff check --fix .

types: $(STAMP) ## strict types
	$(PY)/mypy

unit: $(STAMP) ## fast tests without a cluster
	$(PY)/pytest tests/unit -q

live: $(STAMP) ## smoke test on a real cluster, under names of its own
	$(PY)/pytest tests/live/test_smoke.py -v -m live

drill: $(STAMP) ## every fault of the catalogue, its runner killed at every step, on an environment of its own (two hours)
	HARNESS_ENV=drill $(PY)/harness up
	HARNESS_ENV=drill $(PY)/python -m harness.faults.drill --all --write docs/reference/drill.md
	HARNESS_ENV=drill $(PY)/harness down

live-all: $(STAMP) ## all live tests, among them lies and bad days, on the environment that is up
	$(PY)/pytest tests/live -v -m live

browser: $(STAMP) ## the report in headless Chromium (Debian's, installed when missing)
	@command -v chromedriver >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium chromium-driver; } >/dev/null
	$(PY)/pytest tests/browser -v

up: $(STAMP) ## make the platform, or reuse it
	$(PY)/harness up

down: $(STAMP) ## remove the platform
	$(PY)/harness down

status: $(STAMP) ## is it healthy?
	$(PY)/harness status

clean: ## remove the virtual environment
	rm -rf .venv

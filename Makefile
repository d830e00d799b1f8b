# Everything here works on a fresh machine: each target sets up what it needs, once.
# ARGS goes to the program behind a target: make run ARGS=--verbose, make test ARGS="-k claim -x".
# Settings (PORT, REDIS_PORT, LIVEKIT_PORT, GREENROOM_HOME, …: see .env.example) go through the environment.

.POSIX:
.DEFAULT_GOAL := help
.PHONY: help run test image-test bench chaos soak observe lint format setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: ## Start everything on this machine; Ctrl-C ends it
	@sh scripts/setup.sh
	@sh scripts/frontend.sh || printf 'greenroom: the pages could not be built, see above; the API starts without them\n' >&2
	@exec .venv/bin/greenroom run $(ARGS)

test: ## Check style, types and import directions, and run all tests
	@sh scripts/test.sh $(ARGS)

image-test: ## Build the container images without Docker, and run them: a session, an answer, every stop
	@sh scripts/image_test.sh $(ARGS)

bench: ## Measure all figures and compare with the alternatives, 45 minutes: make bench ARGS="open_loop claims"
	@sh scripts/setup.sh --bench && sh scripts/frontend.sh
	@.venv/bin/python -m benchmarks $(ARGS)

chaos: ## Break every part of a running system with users in it: make chaos ARGS="--seed 7 --faults 10"
	@sh scripts/setup.sh --dev
	@.venv/bin/python -m benchmarks.chaos $(ARGS)

soak: ## See whether anything grows, for 45 minutes: make soak ARGS="--minutes 90 --agents 40"
	@sh scripts/setup.sh --dev
	@.venv/bin/python -m benchmarks.soak $(ARGS)

observe: ## Two minutes of calls under a Prometheus: every panel's and alert's value
	@sh scripts/packages.sh python redis prometheus
	@sh scripts/setup.sh --dev
	@.venv/bin/python -m benchmarks.observe $(ARGS)

lint: ## Check style, types and import directions
	@sh scripts/setup.sh --dev
	@sh scripts/lint.sh

format: ## Format the code and mend what can be mended by itself
	@sh scripts/setup.sh --dev
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .

setup: ## Install the Python packages, with the tools for tests
	@sh scripts/setup.sh --dev

clean: ## Remove what was built here; .env and the data in .greenroom stay
	@rm -rf .venv .uv .node frontend/node_modules frontend/dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

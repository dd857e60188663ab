# Two commands for a newcomer: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
READY := $(VENV)/.ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test lint types mypy pyright unit slow ray postgres docs live accept packages sbom picture soak mutants bench-grammar lock clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The demonstration needs a tenth of what the tests need, and a newcomer waits for it. What is not compiled
# beforehand is compiled where it is imported.
$(DEMO): requirements-demo.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agentkit needs Python 3.11 or newer; name one with make PYTHON=...")'
	@echo "Installing into $(VENV) (once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --no-compile --require-hashes -r requirements-demo.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $(DEMO)

$(READY): requirements-dev.lock $(DEMO)
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $(READY)

# Images of containers like to set it; then every test process compiles all of the tests anew.
unexport PYTHONDONTWRITEBYTECODE

# Through the environment, so that a question and an address may hold any character.
export Q PROJECT URL
PROJECT ?= .

demo: $(DEMO) ## An agent answers three questions about this repository; or make demo Q="..." PROJECT=DIR
	@if [ -n "$$Q" ]; then printf '%s\n' "$$Q"; else cat examples/questions.txt; fi | \
	while IFS= read -r question; do \
	  printf '\n? %s\n' "$$question"; \
	  $(BIN)/agentkit run "$$question" --project "$$PROJECT" --model tiny </dev/null || exit $$?; \
	done

# What one core does goes two at a time; the tests keep both busy by themselves, and all of them run.
test: $(READY) ## Check everything that needs no server: format, lint, types, layers, pages, tests
	@$(MAKE) --no-print-directory -j 2 lint mypy pyright docs
	@$(MAKE) --no-print-directory -k unit slow ray postgres

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: mypy pyright

mypy: $(READY)
	$(BIN)/mypy

pyright: $(READY)
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(READY) ## Run the quick tests: a minute or two
	$(BIN)/pytest -n auto --dist worksteal -m "not slow and not live and not ray and not postgres"

slow: $(READY) ## Run the tests that start processes, kill them or take thousands of samples
	$(BIN)/pytest -n 3 --dist worksteal -m "slow and not live and not ray and not postgres"

ray: $(READY) ## Run the tests that need a Ray cluster, which they start
	$(BIN)/pytest -m ray tests/executors tests/evals

postgres: $(READY) ## Run the tests that need a Postgres server, which they start
	$(BIN)/pytest -m postgres tests/journal tests/cli

docs: $(READY) ## Build the pages as a site in build/site, and follow its links
	@rm -rf build/site
	$(BIN)/sphinx-build -q -W --keep-going -E -d build/site-doctrees -c docs/site . build/site
	$(BIN)/python -m docs.site.links build/site

live: $(READY) ## Run the live tests on a real vLLM, which it installs (once), starts and stops
	$(BIN)/python -m tests.live $(ARGS)

accept: $(READY) ## Play what agents rely on upon the server you run: make accept URL=http://localhost:8000/v1
	-@$(BIN)/agentkit eval suites install bfcl
	@$(BIN)/agentkit accept $${URL:+"$$URL"} $(ARGS)

packages: $(READY) ## Build wheel and sdist in dist, and install each extra alone on each Python that is here
	$(BIN)/python -m release.check $(ARGS)

sbom: $(READY) ## Write the bill of materials of an installation with all extras: build/sbom.cdx.json
	$(BIN)/python -m release.sbom build/sbom.cdx.json

picture: $(READY) ## Draw the picture of the README anew, from a run of the demonstration model
	$(BIN)/python -m release.picture docs/run.svg

soak: $(READY) ## Run one proof in full: make soak PART=name
	$(BIN)/python -m soak.$(PART) $(ARGS)

mutants: $(READY) ## Plant faults in a module and see how many the tests notice: make mutants MODULE=name
	$(BIN)/python -m soak.mutants $(MODULE) $(ARGS)

bench-grammar: $(READY) ## Measure the grammar on a vocabulary of Gemma's size, against its budget
	$(BIN)/python -m benchmarks.grammar $(ARGS)

RESOLVE := --universal --generate-hashes --no-annotate --no-header -q
EXTRAS := cli local mcp tools otel ray postgres evals

lock: ## Resolve both environments anew (needs uv)
	uv pip compile $(RESOLVE) --upgrade --group dev $(EXTRAS:%=--extra %) -o requirements-dev.lock pyproject.toml
	uv pip compile $(RESOLVE) --upgrade --group build --extra cli --extra local --extra tools \
	  -c requirements-dev.lock -o requirements-demo.lock pyproject.toml

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

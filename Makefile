# `make` lists the targets. Each uses .venv, which is made where it is missing.

BIN := .venv/bin
TESTS := partner_center_pipeline_tests
PYTEST := $(BIN)/pytest -n auto --dist loadgroup
BENCHMARK := $(BIN)/python -m $(TESTS).benchmarks

.DEFAULT_GOAL := help
.PHONY: help venv test long fast lint types demo bench pins sbom documents

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)$$/\1|\2/' | \
		while IFS='|' read -r target text; do printf '  %-10s %s\n' "$$target" "$$text"; done

venv: ## make .venv, or bring it up to date
	python3 -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'

$(BIN)/pytest:
	$(MAKE) venv

test: | $(BIN)/pytest ## run all tests but the long suites
	$(PYTEST)

long: | $(BIN)/pytest ## run the long suites
	$(PYTEST) -m long

fast: | $(BIN)/pytest ## run the tests that are not slow: the inner loop
	$(PYTEST) -m 'not slow'

lint: | $(BIN)/pytest ## check style, format and imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: | $(BIN)/pytest ## check types
	$(BIN)/mypy

demo: | $(BIN)/pytest ## run the pipeline against the local Microsoft
	$(BIN)/partner-center demo

bench: | $(BIN)/pytest ## measure: domains, scoring, dns, report, and ingest without its million referrals
	$(BENCHMARK) domains
	$(BENCHMARK) scoring
	$(BENCHMARK) dns
	$(BENCHMARK) report
	$(BENCHMARK) ingest --no-million

# With uv, as it takes the hashes of all files of a version from the index; pip knows those that it downloads.
COMPILE := $(BIN)/uv pip compile -q --generate-hashes --no-annotate --custom-compile-command 'make pins'

pins: | $(BIN)/pytest ## write constraints-hashed.txt and deploy/requirements.txt anew, from constraints.txt
	$(BIN)/pip install -q -c constraints.txt uv
	$(COMPILE) --universal --no-deps constraints.txt -o constraints-hashed.txt
	echo setuptools | $(COMPILE) --python-platform linux --python-version 3.11 -c constraints.txt pyproject.toml - -o deploy/requirements.txt

sbom: | $(BIN)/pytest ## write sbom.json: what an installation consists of (CycloneDX)
	$(BIN)/cyclonedx-py requirements deploy/requirements.txt --pyproject pyproject.toml --of JSON -o sbom.json

documents: | $(BIN)/pytest ## write the generated pages of docs/ and .env.example
	$(BIN)/python -m $(TESTS).documents

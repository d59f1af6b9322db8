# make setup | demo | test | lint | format | bench | clean
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
OUT ?= demo
# Two test processes suit two cores and more memory-hungry machines alike; WORKERS=auto takes all cores.
WORKERS ?= 2

.PHONY: setup demo test lint types imports format bench help-docs clean

setup: $(STAMP)

# torch comes first and alone: with its version settled, nothing installed later can drag in another build of it.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check "torch==2.13.0"
	$(BIN)/pip install -q --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: setup
	@mkdir -p $(OUT)
	$(BIN)/kinestream generate "walks forward" "turns left while walking" "waves with both hands, happy" \
		-o $(OUT)/demo.glb -o $(OUT)/demo.html -o $(OUT)/demo.mp4 --seed 7
	@echo "Open $(OUT)/demo.html in a browser, play $(OUT)/demo.mp4, or drop $(OUT)/demo.glb into a viewer."

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/python scripts/check_imports.py

# Timings first, with the machine to themselves; then everything else in parallel.
test: lint types imports
	$(BIN)/python -m pytest -q -m perf -p no:cacheprovider
	$(BIN)/python -m pytest -q -m "not perf" -n $(WORKERS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

help-docs: setup
	$(BIN)/python scripts/write_cli_help.py

bench: setup
	@for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean:
	rm -rf $(VENV) $(OUT) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache

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
		--seconds 3,4,3.5 -o $(OUT)/demo.glb -o $(OUT)/demo.html -o $(OUT)/demo.mp4 --seed 7
	@echo "Open $(OUT)/demo.html in a browser, play $(OUT)/demo.mp4, or drop $(OUT)/demo.glb into a viewer."

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/python scripts/check_imports.py

# Timings are no part of it (another process on the machine would fail them): see bench.
test: lint types imports
	$(BIN)/python -m pytest -q -m "not perf" -n $(WORKERS) --dist loadfile

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

help-docs: setup
	$(BIN)/python scripts/write_cli_help.py

# DATA is what `kinestream data build` wrote, BANDAI_NAMCO the folder with the two data sets, SONG a sound file; without them
# those parts are left out.
DATA ?= data/built
bench: setup
	KINESTREAM_CHECK_SHAPES=0 $(BIN)/python -m pytest -q -m perf
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.engine.runtimes
	$(BIN)/python -m benchmarks.engine.sampling
	$(BIN)/python -m benchmarks.dance_speed
	$(BIN)/python -m benchmarks.streaming_latency
	$(BIN)/python -m benchmarks.fuzz_parsers --mutations 20000
	@if [ -n "$(SONG)" ]; then $(BIN)/python -m benchmarks.dance_latency "$(SONG)"; else echo "SONG=FILE is not given: a whole dance is not timed"; fi
	@if [ -n "$(BANDAI_NAMCO)" ]; then $(BIN)/python -m benchmarks.bvh_import "$(BANDAI_NAMCO)"; \
		else echo "BANDAI_NAMCO=FOLDER is not given: BVH import is not timed"; fi
	@if [ -f "$(DATA)/manifest.json" ]; then $(BIN)/python -m benchmarks.quality --data "$(DATA)" -o docs/results/quality.json; \
		else echo "$(DATA) is no data set: quality is not measured"; fi

clean:
	rm -rf $(VENV) $(OUT) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache

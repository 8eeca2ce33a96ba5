# Two commands for a fresh clone: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-full lint schema clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/qrecipe apply recipes/quickstart_w4a4.yaml

# Two processes of one thread: the models are tiny, and threads that wait for each other are a hundred times slower.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart=0 --dist loadfile --durations=15

# The second tier: every family's recipe at its model's published size.
test-full: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart=0 -m full tests/full tests/deploy --durations=20

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# After a new row of the table of quantizers or initialisers: the file that editors read.
schema: $(READY)
	$(BIN)/qrecipe schema > schema.tmp && mv schema.tmp qrecipe/recipe/schema.json

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache

# Two commands on a fresh machine: `make demo` and `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test lint clean

demo: $(VENV)/core
	$(BIN)/facelift predict examples/astronaut.jpg --out out/demo --draw

test: $(VENV)/test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: $(VENV)/test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

# What a user gets from `pip install facelift`, and MediaPipe's face finder.
$(VENV)/core: pyproject.toml requirements/mediapipe.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/mediapipe.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps mediapipe==0.10.21
	touch $@

# Everything that learns, and the tools of the tests. torch first and pinned: its CPU build.
$(VENV)/test: $(VENV)/core requirements/torch.txt requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]' -r requirements/test.txt
	touch $@

clean:
	rm -rf $(VENV) out

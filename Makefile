# Two commands on a fresh machine: `make demo` and `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where torch comes from, if not from pip's default, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test lint check-training clean

demo: $(VENV)/core
	$(BIN)/facelift predict examples/astronaut.jpg --out out/demo --draw

test: $(VENV)/test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

# The whole recipe at small size, from heads to ONNX, in about ten minutes of one CPU thread: must reach its bounds.
check-training: $(VENV)/test
	rm -rf out/check-training
	PATH="$(abspath $(BIN)):$$PATH" recipes/check.sh out/check-training

# What a user gets from `pip install .`.
$(VENV)/core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# Everything that learns, the tools of the tests, and MediaPipe for its adapters. torch first and pinned.
$(VENV)/test: $(VENV)/core requirements/torch.txt requirements/test.txt requirements/mediapipe.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
	    -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]' -r requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/mediapipe.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps mediapipe==0.10.21 \
	    || echo 'no MediaPipe for this Python or machine: tests of its adapters are skipped (docs/install.md)'
	touch $@

clean:
	rm -rf $(VENV) out

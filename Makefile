# `make train` and `make test` are all that a newcomer needs; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/vqvae/adaptive_compression_example.yaml
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
NATIVE := $(wildcard csrc/* csrc/*/*)
# Torch may come from a folder of wheels on an offline machine: PIP_FIND_LINKS does that.
PIP := $(BIN)/python -m pip --disable-pip-version-check

# cmake would compile one file at a time.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

.PHONY: setup train test test-lowest lint types bench clean
setup: $(STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "spinlock needs Python >= 3.11; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml CMakeLists.txt constraints.txt $(NATIVE) | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP)
	$(BIN)/spinlock train-vqvae --config $(CONFIG) --verbose

test: lint types
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# With the oldest libraries that pyproject.toml allows, gigabytes with a CUDA build of torch.  What
# newer ones among them call deprecated in older ones is no error here.
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --python $(LOWEST)/bin/python \
	  $(addprefix --extra ,all bench transformers onnx) --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt --editable '.[dev]'
	$(LOWEST)/bin/python -m pytest --numprocesses auto --dist worksteal -W default

bench: $(STAMP)
	$(BIN)/python -m bench --quick

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LOWEST) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed.stamp
TYPED := $(wildcard pyro_drpm models tests benchmarks)
SOURCES := $(TYPED) $(wildcard docs tutorials)

.PHONY: demo table1 test lint docs benchmark wheel clean

demo: $(INSTALLED)  ## Train DRPM-VC and its baselines on the embedded digits.
	$(VENV)/bin/python -m models.vc

table1: $(INSTALLED)  ## Tables 1, 4 and 5 on MNIST, which is downloaded: make table1 OPTIONS="--seeds 3".
	$(VENV)/bin/python -m models.vc --dataset mnist --out runs/vc/table1 \
		--pretrainings neighbors contrastive reconstruction $(OPTIONS)

test: $(INSTALLED)  ## Run the tests and the doctests in two processes.
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

lint: $(INSTALLED)  ## Check the style, the format and the types.
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy $(TYPED)

docs: $(INSTALLED)  ## Build the documentation into build/docs, warnings are errors.
	$(VENV)/bin/python -m sphinx --builder html --fail-on-warning --keep-going docs build/docs

benchmark: $(INSTALLED)  ## Measure one training step of the partition.
	$(VENV)/bin/python -m benchmarks.training_step

wheel: $(INSTALLED)  ## Build the wheel into dist/.
	$(VENV)/bin/python -m pip wheel . --no-deps --wheel-dir dist

clean:  ## Remove the environment, builds and caches, but no results.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamp is written last: an interrupted installation is repeated, a finished one is not.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

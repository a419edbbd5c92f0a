# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed.stamp
TYPED := $(wildcard pyro_drpm models tests benchmarks)
LOWEST := .venv-lowest
LOWEST_INSTALLED := $(LOWEST)/installed.stamp
# What the library and the models take from elsewhere is used at least once, at smoke size; the
# statistical tests are about mathematics, which other releases do not change.
LOWEST_TESTS := $(wildcard tests/distributions/test_contract*.py) tests/infer tests/partitions \
	tests/tutorials $(wildcard tests/test_*.py) $(addprefix tests/models/test_,cli.py data.py \
	failures.py hardware.py own_files.py stages.py vc_estimator.py vc_own.py)
SOURCES := $(TYPED) $(wildcard docs tutorials)

.PHONY: help demo table1 test test-lowest lint docs benchmark gpu wheel clean

help:  ## Say what there is.
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

demo: $(INSTALLED)  ## Train DRPM-VC and its baselines on the embedded digits.
	$(VENV)/bin/python -m models.vc

table1: $(INSTALLED)  ## Tables 1, 4 and 5 on MNIST, which is downloaded: make table1 OPTIONS="--seeds 3".
	$(VENV)/bin/python -m models.vc --dataset mnist --out runs/vc/table1 \
		--pretrainings neighbors contrastive reconstruction $(OPTIONS)

test: $(INSTALLED)  ## Run the tests and the doctests in two processes.
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

# Old releases warn of what newer ones that they depend on have made of it: no errors here.
test-lowest: $(LOWEST_INSTALLED)  ## Run some of the tests with the lowest versions allowed.
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 -W default \
		-m "not statistical" $(LOWEST_TESTS)

lint: $(INSTALLED)  ## Check the style, the format and the types.
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy $(TYPED)

docs: $(INSTALLED)  ## Build the documentation into build/docs, warnings are errors.
	$(VENV)/bin/python -m sphinx --builder html --fail-on-warning --keep-going docs build/docs

benchmark: $(INSTALLED)  ## Measure one training step of the partition.
	$(VENV)/bin/python -m benchmarks.training_step

gpu: $(INSTALLED)  ## Test and measure everything on a GPU, in about eight minutes.
	$(VENV)/bin/python -m benchmarks.gpu

wheel: $(INSTALLED)  ## Build the wheel into dist/.
	$(VENV)/bin/python -m pip wheel . --no-deps --wheel-dir dist

clean:  ## Remove the environment, builds and caches, but no results.
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamp is written last: an interrupted installation is repeated, a finished one is not.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(LOWEST_INSTALLED): pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints.txt \
		--constraint constraints-lowest.txt --editable ".[docs,test,tutorials]"
	touch $@

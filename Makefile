# make demo   the whole workflow on data it simulates itself; ends by naming the report
# make test   the test suite
# make test-slow    tests of whole runs, faults and memory; KRONUFFT_DATA=FOLDER adds those on measured
#             data, which lie in the folder as the README's examples want them
# make test-slurm   the workflow on a SLURM that it starts on this machine (root; apt: slurm-wlm)
# make test-faults  two hundred runs that are hit by a fault at a random moment, and run again
# make test-input   a thousand bad and good inputs, made from SEED; a few of them are in make test
# make lint   every check of the code
# make docs   the documentation as a site, built with its examples; fails on a warning
# make bench-gpu  the first figures of a GPU, each step by itself, into results/first-figures
# make bench  speed, memory and accuracy against other packages
# make format, make schema, make lock   what lint compares with
# make clean  remove .venv, and all results
# CORES=4, TRIALS=5, INPUTS=5000, PYTHON=python3.12 set cores of the demo, runs of test-faults, inputs
# of test-input, and the Python.
# Each does everything on a fresh machine with Python 3.11 to 3.13.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
# So that commands find each other without an activated environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: all demo test test-slow test-slurm test-faults test-input lint format docs bench bench-gpu schema lock clean

all: demo

# The pinned packages and this one, editable. torch first, alone: its pin then satisfies all others.
.venv/installed: envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, found " + sys.version.split()[0] + "; say which: make PYTHON=python3.12")'
	@echo "Some $$(grep -c == envs/requirements.txt) packages are installed into .venv, which takes minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' envs/requirements.txt)"
	$(BIN)/python -m pip install --quiet -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: .venv/installed
	snakemake --cores $(CORES)
	@echo
	@echo "Open the report: $(CURDIR)/results/report.html"

# On two workers, a file on one of them: its tests share what was made for them.
TEST := python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: .venv/installed
	$(TEST) -m "not slow and not slurm"

test-slow: .venv/installed
	$(TEST) -m "slow and not slurm"

test-slurm: .venv/installed
	python -m pytest -m slurm tests/cluster

SEED ?= 0
TRIALS ?= 200
test-faults: .venv/installed
	python tests/faults/harness.py --trials $(TRIALS) --seed $(SEED)

INPUTS ?= 1000
test-input: .venv/installed
	cd tests && python -m inputs.harness --trials $(INPUTS) --seed $(SEED)

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache
	snakefmt --check Snakefile workflow
	snakemake --lint

format: .venv/installed
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

docs: .venv/installed
	sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/site
	@echo "Open the site: $(CURDIR)/build/site/index.html"

# Peers in a folder of their own: they are not part of the lock.
build/peers: tests/benchmarks/peers.txt .venv/installed
	python -m pip install --quiet --no-deps --upgrade --target $@ --requirement $<
	touch $@

bench: build/peers
	python tests/benchmarks/run.py
	python tests/benchmarks/run.py radar
	python tests/benchmarks/run.py back-projection

bench-gpu: build/peers
	python tests/benchmarks/run.py gpu

# The JSON schema of config.yaml, for editors.
schema: .venv/installed
	python -c 'import yaml; from pipeline.config.schema import config_schema; print("# Made from pipeline/config by `make schema`; for editors and the workflow catalogue."); print(yaml.safe_dump(config_schema(), sort_keys=False, width=100), end="")' > workflow/schemas/config.schema.yaml

# Needs uv; resolves pyproject.toml anew.
lock:
	envs/lock.sh

clean:
	rm -rf .venv results/* logs benchmarks .snakemake build *.egg-info

# Two commands are enough: `make demo` and `make test`. Each first sets up .venv if it is not there yet.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs faults bench clean

BIN := .venv/bin
export PYTHON TORCH MAKECMDGOALS
# Models come from a package or from disk, never from a hub.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# With OpenMP's default spinning, a busy machine runs the tests several times slower.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create or refresh .venv
	@bash scripts/setup.sh

demo: setup ## Edit 300 real facts into a real model, then take one back
	@$(BIN)/sola demo

test: lint ## Lint, type-check, and run every test
	$(BIN)/python -m pytest -q -m "not real"
	$(BIN)/python -m pytest -q -m real

lint: setup ## ruff, ruff format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

faults: setup ## Kill real processes for a long while, and search for histories that break a store or an index
	SOLA_FAULT_KILLS=$${SOLA_FAULT_KILLS:-200} $(BIN)/python -m pytest -m fault
	SOLA_HYPOTHESIS=searching SOLA_STATEFUL_EXAMPLES=200 SOLA_INDEX_STEPS=10000 \
	  $(BIN)/python -m pytest tests/store/test_stateful.py tests/index/test_stateful.py

bench: setup ## Run every benchmark; one JSON file each in report/; DATA=FOLDER of editing data for the index's keys
	@mkdir -p report
	@for script in scripts/bench_*.py; do \
	  extra=""; \
	  case $$script in \
	    *bench_gpu_*) nvidia-smi -L >/dev/null 2>&1 || { echo "==> $$script: no GPU here"; continue; } ;; \
	    *bench_index.py) \
	      if [[ -z "$${DATA:-}" ]]; then echo "==> $$script: needs DATA=FOLDER, see docs/key-index.md"; continue; fi; \
	      [[ -f report/keys.npy ]] || $(BIN)/python scripts/make_real_keys.py --data "$$DATA" --out report; \
	      extra="--keys report/keys.npy --queries report/queries.npy" ;; \
	  esac; \
	  echo "==> $$script"; \
	  $(BIN)/python "$$script" --json $$extra >"report/$$(basename "$$script" .py).json"; \
	done

clean: ## Remove what the other targets made
	rm -rf .venv build dist site report .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

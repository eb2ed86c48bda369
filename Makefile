# Everything that is done with this repository. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BROKEN := $(VENV)/.installing
PIP := $(BIN)/python -m pip --disable-pip-version-check --retries 10 --timeout 30

# A run of the tests that takes longer than this hangs.
MOST := 90m

# Passed by name, so that a path with spaces, quotes or a ~ is nobody's trouble: recipes read them from the environment.
export IMAGES OUT

.PHONY: help setup demo test unit lint format chaos chaos-live bench bench-fold rtx train clean

help: ## Show this list
	@echo 'Usage: make TARGET'
	@echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-11s %s\n", $$1, $$2}'
	@echo
	@echo 'make demo IMAGES=FOLDER takes your own photographs; OUT=FILE names the result (demo/results.json).'

setup: $(STAMP) ## Install everything into .venv (Python 3.11 or 3.12; 1.6 GB; costs nothing the second time)
	@echo "$(VENV) is ready."

# .installing stands while pip works: where it is found again, pip was cut short, and .venv is made anew.
$(STAMP): pyproject.toml constraints.txt
	@rm -f '$@'
	@deploy/find-python $(VENV) $(BROKEN)
	@echo 'Installing into $(VENV): 1.6 GB and a minute or two the first time.'
	@touch $(BROKEN)
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@rm $(BROKEN)
	@touch '$@'

demo: $(STAMP) ## Run a whole job, on 300 drawn scenes or on IMAGES=FOLDER
	@home() { if [[ "$$1" == '~' || "$$1" == '~/'* ]]; then echo "$$HOME$${1:1}"; else echo "$$1"; fi; }; \
	images="$$(home "$${IMAGES:-}")" out="$$(home "$${OUT:-demo/results.json}")"; \
	if [[ -z "$$images" ]]; then \
	    images=demo/images; \
	    if [[ ! -e "$$images/.drawn" ]]; then \
	        $(BIN)/python -m trapstream.scenes "$$images" --count 300 --size 1280x960; \
	        mkdir -p "$$images"; touch "$$images/.drawn"; \
	    fi; \
	fi; \
	mkdir -p "$$(dirname "$$out")"; \
	$(BIN)/trapstream run -o "$$out" -- "$$images"

test: $(STAMP) lint ## Check style, types and layers, and run every test
	@status=0; timeout --foreground --signal INT --kill-after 60 $(MOST) \
	    $(BIN)/python -m pytest --numprocesses 4 --durations 20 || status=$$?; \
	if [[ $$status == 124 || $$status == 137 ]]; then echo 'The tests did not end within $(MOST): ended.'; fi; \
	exit $$status

unit: $(STAMP) ## Run the tests that need no server (within a minute)
	$(BIN)/python -m pytest tests/unit

lint: $(STAMP) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(STAMP) ## Kill processes of a stack at random, KILLS=200 times with SEED=1, and compare each job's file
	$(BIN)/python -m bench.tools.chaos --kills '$(or $(KILLS),200)' --seed '$(or $(SEED),1)'

bench: $(STAMP) ## Measure this machine within 5 minutes; NAME=pipeline for one part
	$(BIN)/trapstream bench '$(or $(NAME),all)' --quick

bench-fold: $(STAMP) ## Fold COUNT=3000000 results through a real topic, a tenth of them, and 1,000 jobs at once
	$(BIN)/trapstream bench fold --count '$(or $(COUNT),3000000)'
	$(BIN)/trapstream bench fold --count "$$(( $(or $(COUNT),3000000) / 10 ))"
	$(BIN)/trapstream bench fold --count "$$(( $(or $(COUNT),3000000) / 10 ))" --jobs 1000

chaos-live: $(STAMP) ## Kill processes while UPLOADS=2000 images are uploaded, KILLS=60 times, and look for each one
	$(BIN)/python -m bench.tools.arrivals --uploads '$(or $(UPLOADS),2000)' --kills '$(or $(KILLS),60)' --seed '$(or $(SEED),1)'

rtx: $(STAMP) ## Compile the graph of a plan without a GPU (adds TensorRT for RTX to .venv: 300 MB)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,rtx]'
	$(BIN)/python -m pytest tests/gpu

train: $(STAMP) ## Train the demonstration model anew for MINUTES=60 (adds PyTorch to .venv)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,train]'
	$(BIN)/python -m training.train build/scenes --minutes '$(or $(MINUTES),60)'
	$(BIN)/python -m training.export build/scenes/weights.pt
	$(BIN)/python -m training.evaluate --write

clean: ## Remove .venv, caches and demo/
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

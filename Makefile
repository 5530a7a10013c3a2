# Every target first calls `setup`, which does nothing when nothing changed. Paths are relative, so a folder name may hold spaces.
#
#   make setup    virtual environment in .venv, everything installed, weights fetched and verified
#   make demo     the main job: train, swap, measure, report; the last line is one JSON object
#   make lab      JupyterLab with the notebooks
#   make test     the default tier, some minutes on two cores  (make test ARGS="tests/test_views.py -k wipe")
#   make test-all every test: half an hour on two cores
#   make lint     format, lint, types, layers
#   make bench    the benchmarks, in their quick form
#   make docs     the documentation as a site, in site/       (make docs-serve shows it while you write)
#
# PYTHON is the interpreter that makes .venv; EXTRA is cpu or gpu (found out by itself); WORKERS are the processes that test (auto:
# one for each core, at most 8; 0: none beside pytest itself, as a debugger wants it).

PYTHON ?= python3
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin
STAMP := .venv/.setup-stamp
DOCS_STAMP := .venv/.docs-stamp
WORKERS ?= auto
# A file's tests stay together: they share what its fixtures render and train. Files come in the order that conftest gives them.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-all lint format bench docs docs-serve clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)
	@cat $(STAMP)
	@$(BIN)/faceswap-lab models fetch

# The stamp holds what check.py said of the environment, so that an unchanged one is described without looking again. The rival of the
# wanted onnxruntime goes first: taken out later, it would take the shared folder with it. insightface requires the rival by name, so
# beside onnxruntime-gpu it comes without its dependencies, all of which the extra `gpu` has brought.
$(STAMP): pyproject.toml environments/constraints.txt environments/check.py
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing .[$(EXTRA),dev] into .venv; the first time this takes some minutes"
	@$(BIN)/python -m pip uninstall --yes -qq onnxruntime$(if $(filter cpu,$(EXTRA)),-gpu)
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[$(EXTRA),dev]' -c environments/constraints.txt
	$(if $(filter gpu,$(EXTRA)),@$(BIN)/python -m pip install --disable-pip-version-check --no-deps -c environments/constraints.txt insightface)
	@$(BIN)/python environments/check.py > $(STAMP).new
	@mv $(STAMP).new $(STAMP)

demo: setup
	$(BIN)/faceswap-lab quickstart $(ARGS)

# The package comes first: it sets how torch's threads wait and forbids onnxruntime's telemetry, and every kernel inherits both, whatever
# its notebook imports first. JupyterLab looks for updates and news once its question about them is answered with yes; here it has no
# address to ask.
lab: setup
	$(BIN)/python -c 'import faceswap_lab, sys; from jupyterlab.labapp import main; sys.exit(main())' notebooks \
	  --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

test: setup
	$(PYTEST) -m "not slow and not notebook and not browser" $(ARGS)

test-all: setup
	$(PYTEST) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	@for file in benchmarks/*.py; do \
	  test -e "$$file" || { echo "there is no benchmark yet"; break; }; \
	  $(BIN)/python "$$file" --quick $(ARGS) || exit 1; \
	done

$(DOCS_STAMP): $(STAMP)
	@echo "installing the extra docs into .venv"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[$(EXTRA),docs]' -c environments/constraints.txt
	@touch $(DOCS_STAMP)

# The theme prints an advertisement about its successor at each build unless told not to.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean --strict $(ARGS)
	@echo "the documentation is in site/: open site/index.html"

docs-serve: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve $(ARGS)

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache

# One environment in .venv, made by whichever target needs it first and kept up to date with the locks.
# `make help` lists the targets.

SHELL  := /bin/sh
PYTHON ?=
SOURCE ?= ../shared/data/uci_hydraulic
ARGS   ?=
MACHINE =
FAULT  =
SECONDS ?= 600
SEED   ?= 1

BIN     := .venv/bin
PIP     := $(BIN)/python -m pip
BUNDLE  := services/gnn_service/model/shipped
SAMPLE  := services/gnn_service/demo/data/uci_hydraulic_slice
TORCH   := 2.13.0
# A process of tests for each core; one that runs out of tests takes half of what another has left.
CORES   := --numprocesses auto --dist worksteal
# What the tests themselves need, onnx and scipy beside; the rest of the group dev checks, and trains.
FLOOR_TOOLS := hypothesis import-linter interlock-cb pytest pytest-asyncio pytest-timeout pytest-xdist

# Settings of the caller's shell that would lead pip or Python out of the environment.
unexport PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test torture floor lint types model bench lock clean source

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo "  Further: ARGS='...' is passed on by demo, test, floor and bench; PYTHON=/path/to/python3 chooses the interpreter."

install: .venv/.runtime ## the environment, with what runs and nothing else

demo: .venv/.runtime ## cycles of a real rig, diagnosed by the service; MACHINE=excavator FAULT=E1 simulates one
	@# In a terminal the demo gets a process group of its own, so that Ctrl-C ends the demo and not make;
	@# elsewhere it takes the shell's place, so that a signal to make reaches it.
	@set -- $(MACHINE) $(if $(FAULT),--fault "$(FAULT)") $(ARGS); \
	if [ -t 0 ] && [ -t 1 ]; then set -m; $(BIN)/gnn-service demo "$$@"; else exec $(BIN)/gnn-service demo "$$@"; fi

test: .venv/.dev ## every test (the first time this installs torch, see README)
	$(BIN)/python -m pytest $(CORES) $(ARGS)

torture: .venv/.dev ## load while database and service are killed; SECONDS=600 SEED=1
	GNN_TEST_TORTURE_SECONDS=$(SECONDS) GNN_TEST_TORTURE_SEED=$(SEED) $(BIN)/python -m pytest -n 0 tests/failure/test_torture.py $(ARGS)

# Serving alone, without what a newer dependency brings in or forgives; of Python 3.11, for which all have wheels.
floor: .venv/.created ## the tests that need no torch, on the oldest versions that the package supports
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make floor: .venv must be of Python 3.11: rm -r .venv, then make floor PYTHON=python3.11" >&2; exit 1; }
	@echo "Making the environment build/floor (about 500 MB)"
	@mkdir -p build && $(BIN)/python -m venv --clear build/floor
	@sed -n '/^# what runs/,/^# extra/p; /^onnx==/p; /^scipy==/p' services/gnn_service/requirements-2025.txt > build/floor/requirements.txt
	@build/floor/bin/python -m pip install -q --only-binary :all: -r build/floor/requirements.txt $(FLOOR_TOOLS)
	@build/floor/bin/python -m pip install -q --no-deps --editable .
	build/floor/bin/python -m pytest -p no:cacheprovider --serving $(CORES) $(ARGS)

lint: .venv/.dev ## style, format and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.dev ## mypy, strict
	$(BIN)/python -m mypy

model: source .venv/.dev ## rebuild the shipped bundle and sample; SOURCE=DIR is the published rig recording
	$(BIN)/gnn-service import uci-hydraulic "$(SOURCE)" --out build/rig --overwrite
	$(BIN)/gnn-service train build/rig --out $(BUNDLE) --sample $(SAMPLE) --overwrite

bench: .venv/.runtime ## latency of the shipped bundle beside its bare runtime
	$(BIN)/gnn-service bench model $(ARGS)

source:
	@[ -e "$(SOURCE)" ] || { echo "make model: there is no '$(SOURCE)'; name the folder of the hydraulic recording (UCI 447): make model SOURCE=DIR" >&2; exit 1; }

# Resolved on the oldest supported Python; from wheels alone, or the resolver walks back to sources too old to build.
lock: .venv/.created ## resolve the locks again, to the newest versions that fit together
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make lock: .venv must be of Python 3.11: rm -r .venv, then make lock PYTHON=python3.11" >&2; exit 1; }
	rm -rf build/lock && mkdir -p build/lock
	$(BIN)/python -m venv build/lock/all && build/lock/all/bin/python -m pip install -q --upgrade pip
	build/lock/all/bin/python -m pip install -q --only-binary :all: ".[train]" --group dev "torch==$(TORCH)"
	build/lock/all/bin/python -m pip freeze --exclude gnn-service | sed 's/+[A-Za-z0-9.]*$$//' | grep -Ev '^(cuda|nvidia|triton)' > build/lock/all.txt
	$(BIN)/python -m venv build/lock/runtime
	build/lock/runtime/bin/python -m pip install -q . --constraint build/lock/all.txt
	build/lock/runtime/bin/python -m pip freeze --exclude gnn-service > build/lock/runtime.txt
	{ sed -n '/^#/p' requirements/runtime.txt; sed "s/^uvloop==.*/&; sys_platform != 'win32'/" build/lock/runtime.txt; } > build/lock/new && mv build/lock/new requirements/runtime.txt
	{ sed -n '/^#/p; /^-r/p' requirements/dev.txt; grep -vxFf build/lock/runtime.txt build/lock/all.txt; } > build/lock/new && mv build/lock/new requirements/dev.txt

clean: ## remove what was built and cached (not the environment: rm -r .venv)
	rm -rf build dist runs .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment: each stamp is older than nothing that it was made from ---------------------

# An environment that was moved with its folder points at the old place: make it anew.
ifneq "$(shell cat .venv/.created 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/.created
endif

.venv/.created:
	@set -e; found=; fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.11 python3 python3.12 python3.13); do \
	    if "$$python" -c "$$fits" 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "make: no Python 3.11, 3.12 or 3.13 $(if $(PYTHON),at '$(PYTHON)',found); install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv) or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "make: $$found has no venv module; install it (Debian, Ubuntu: sudo apt-get install $$("$$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))" >&2; exit 1; \
	fi; \
	if [ -f .venv/.created ] || ! { .venv/bin/python -c "$$fits" && $(PIP) --version; } >/dev/null 2>&1; then \
	    echo "Making the environment .venv with $$("$$found" --version)"; "$$found" -m venv --clear .venv; \
	fi; \
	printf '%s\n' "$(CURDIR)" > $@

.venv/.runtime: .venv/.created requirements/runtime.txt pyproject.toml
	@echo "Installing what runs (about 450 MB, once)"
	@$(PIP) install -q -r requirements/runtime.txt
	@$(PIP) install -q --no-deps --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	@echo "Installing what trains and tests (about 2 GB, with a CUDA build of torch several GB more; once)"
	@$(PIP) install -q -r requirements/dev.txt
	@touch $@

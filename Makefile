# Every target makes its own virtual environment in .venv when that is missing or out of date.
#   make PYTHON=python3.11 test     another interpreter (used when .venv is made)
#   make WORKERS=0 test             the tests in one process
#   make test PYTEST_ARGS='-k half' further arguments to pytest

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=
EXTRAS := plots,tensorboard,dmc,video,dev

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check -c requirements.lock
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal

# The stamp holds the folder that the environment was made in. Without it, or when the folder was
# moved or the interpreter is gone, the environment is made from nothing.
ifneq ($(shell $(PY) -c 'import pip' 2>/dev/null && cat $(READY) 2>/dev/null),$(CURDIR))
FORCE := force
VENV_OPTIONS := --clear
endif

.PHONY: help demo test test-slow lint types docs bench clean force
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo       train the mixture SAC recipe with its defaults"
	@echo "make test       the test suite"
	@echo "make test-slow  the tests marked slow"
	@echo "make lint       ruff: rules and format"
	@echo "make types      mypy"
	@echo "make docs       the documentation, in docs/_build/html; its tutorials are executed"
	@echo "make bench      time of one update against other implementations"
	@echo "make clean      remove what the other targets made, .venv included; runs/ stays"

demo: $(READY)
	@OMP_NUM_THREADS=1 $(PY) recipes/sac_mixture.py

test: $(READY)
	@$(PYTEST) $(PYTEST_ARGS)

test-slow: $(READY)
	@$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY)
	@$(PY) -m mypy

docs: $(READY)-docs
	@OMP_NUM_THREADS=1 $(PY) -m sphinx -q -E -a -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)-bench
	@OMP_NUM_THREADS=1 $(PY) benchmarks/update.py

clean:
	@rm -rf $(VENV) build dist *.egg-info docs/_build docs/jupyter_execute
	@rm -rf .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

force:

$(READY): pyproject.toml requirements.lock $(FORCE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "requirements.lock needs Python 3.11 or newer; name one with PYTHON=python3.11"; \
	      exit 1; }
	@echo "Setting up $(VENV) (about a minute the first time, longer where torch is a CUDA build)..."
	@rm -f $@ $@-docs $@-bench
	@$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	@$(PIP_INSTALL) -e '.[$(EXTRAS)]'
	@echo '$(CURDIR)' > $@

$(READY)-%: $(READY)
	@echo "Adding what '$*' needs to $(VENV)..."
	@$(PIP_INSTALL) -e '.[$(EXTRAS),$*]'
	@touch $@

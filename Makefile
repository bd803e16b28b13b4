# The project's verbs. `make` prints them. Needs Python 3.11 to 3.13 and make beforehand, nothing else:
# each verb first sets up .venv from the locks in requirements/, with what it needs and no more.

PYTHON ?= python3
ARGS ?=

# A fresh .venv is byte-compiled as it is used, which is faster than all of it at once; so let Python keep
# what it compiled, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

# A stamp carries the hash of what was installed: another lock, another stamp, and it is installed again.
BASE := requirements/build.lock pyproject.toml setup.cfg
stamp = .venv/.$(1)-$(firstword $(shell cat requirements/$(1).lock $(BASE) | cksum))
DEMO_STAMP := $(call stamp,demo)
DEV_STAMP := $(call stamp,dev)

# The first Python that runs, is 3.11 to 3.13 and can make a venv. One named on the command line is the only one.
CANDIDATES := $(if $(filter command,$(firstword $(origin PYTHON))),"$(PYTHON)","$(PYTHON)" python3.13 python3.12 python3.11 python3)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# $(call install,demo|dev,seconds). `.installing` tells an interrupted installation, which starts over.
define install
set -e; found=; \
if [ -e .venv/.installing ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1 \
   || ! .venv/bin/python -c '$(SUITABLE)' >/dev/null 2>&1; then \
  for python in $(CANDIDATES); do \
    if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found="$$python"; break; fi; \
  done; \
  if [ -z "$$found" ]; then \
    echo "make: no Python 3.11 to 3.13 with venv found (tried:" $(CANDIDATES)"); install one, or name it: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; \
    exit 1; \
  fi; \
  echo "Setting up .venv (about $(2) s, once)"; \
  "$$found" -m venv --clear .venv; \
else \
  echo "Updating .venv"; \
fi; \
rm -f .venv/.demo-* .venv/.dev-*; \
touch .venv/.installing; \
pip=".venv/bin/python -m pip install -qq --disable-pip-version-check --progress-bar off --no-deps"; \
$$pip --no-compile --only-binary :all: --require-hashes -r requirements/$(1).lock -r requirements/build.lock; \
$$pip --no-build-isolation -e .; \
rm .venv/.installing
endef

.PHONY: help demo up test verify check format bench bench-small screenshots examples lock clean

help:  ## Print these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO_STAMP)  ## Decide three nights on a year of real purchases and print the campaigns (ARGS="--nights 5")
	@.venv/bin/marketing demo $(ARGS)

up: $(DEMO_STAMP)  ## Serve everything: PostgreSQL, the Dagster UI and its daemon
	@.venv/bin/marketing up $(ARGS)

test: $(DEV_STAMP)  ## Run the tests that take under three minutes (ARGS="-k lake")
	@.venv/bin/pytest $(ARGS)

verify: $(DEV_STAMP)  ## Run the tests that are slow by nature
	@.venv/bin/pytest -m verify $(ARGS)

check: $(DEV_STAMP)  ## Check format, lint, types, import rules and the SQL's portability
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/pytest marketing_assets_tests/test_sql_lint.py

format: $(DEV_STAMP)  ## Format the code and mend what the linter can
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

bench: $(DEV_STAMP)  ## Measure nights of up to a million users and write docs/benchmark (the first time makes 100 million rows)
	@.venv/bin/python -m benchmarks $(ARGS)

bench-small: $(DEV_STAMP)  ## Measure what fits into three minutes; fails where a ratio is out of its bound
	@.venv/bin/python -m benchmarks --small $(ARGS)

screenshots: $(DEV_STAMP)  ## Take the pictures of docs/operations.md anew (needs chromium: apt-get install chromium)
	@.venv/bin/python docs/screenshots.py

# Exact versions with hashes and no download address. The second lock takes its versions from the first.
# `make lock ARGS=--upgrade` takes the newest that pyproject.toml allows.
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" $(ARGS)

examples: $(DEV_STAMP)  ## Run the commands of docs/api.md and README.md again (needs `make up`, after `make demo`)
	@.venv/bin/python docs/api_examples.py

lock: $(DEV_STAMP)  ## Write requirements/*.lock anew from pyproject.toml
	@.venv/bin/python -m pip install -qq --disable-pip-version-check uv
	@$(COMPILE) pyproject.toml --extra local --extra dev -o requirements/dev.lock >/dev/null
	@$(COMPILE) pyproject.toml --extra local -c requirements/dev.lock -o requirements/demo.lock >/dev/null
	@.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(COMPILE) - -o requirements/build.lock >/dev/null
	@! grep -nE '://|^--|^-[a-z]|@ ' requirements/*.lock

clean:  ## Remove .venv, caches and build artefacts (.marketing and .benchmarks, with databases and lakes, stay)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name .git -prune -o -name .marketing -prune -o -name .benchmarks -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# What the demo needs is part of what development needs: a .venv for development serves the demo too.
$(DEMO_STAMP):
	@if [ -e $(DEV_STAMP) ]; then touch $@; else $(call install,demo,60) && touch $@; fi

$(DEV_STAMP):
	@$(call install,dev,75) && touch $@

# One line a door; `make` alone lists them. Each installs what it needs.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python on the path that is new enough, unless PYTHON= names one.
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
# Many containers forbid Python to keep what it compiled; every process would then compile the project again.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := .venv/.installed

# $(call option,NAME) is `--name "VALUE"` where NAME has a value.
lower = $(subst _,-,$(shell echo $(1) | tr A-Z a-z))
option = $(if $($(1)),--$(call lower,$(1)) "$($(1))")

.PHONY: help demo test test-full up down status verify lint format pictures docs lock

help:  ## list the doors
	@echo "make DOOR [NAME=value]"
	@awk 'BEGIN {FS = ":.*  ## "} /^[a-z-]+:.*  ## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## the whole system with a story on the terminal [MAIL=folder RECORDS=folder READS=timelines ONCE=1]
	@exec $(RUN) -m simulator.demo $(call option,MAIL) $(call option,RECORDS) $(call option,READS) $(if $(ONCE),--once)

# Each worker has a Kafka and a MongoDB of its own (500 MB). Tests mostly wait, so there are twice as many workers as
# cores, at most 8.
TEST_WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores * 2 > 8 ? 8 : cores * 2)))

test: $(INSTALLED)  ## all tests at their small sizes, on a real Kafka and MongoDB [ARGS=pytest's TEST_WORKERS=number; CI=1: a skip is a failure]
	@$(RUN) -m deploy.local stack fetch
	@exec $(RUN) -m pytest -n $(TEST_WORKERS) $(ARGS)

# One test at a time: some of full size measure how long something takes.
test-full: TEST_WORKERS := 0
test-full: $(INSTALLED)  ## the tests of full size, resumed where the last run ended [ONLY=section ARGS=pytest's]
	@$(RUN) -m deploy.local stack fetch
	@exec $(RUN) -m pytest -n $(TEST_WORKERS) --full="$(or $(ONLY),all)" $(ARGS)

up: $(INSTALLED)  ## start the whole system in the background
	@exec $(RUN) -m deploy.local up

down: $(INSTALLED)  ## stop it; the data stay in .local [ERASE=1: they do not]
	@exec $(RUN) -m deploy.local down $(if $(ERASE),--erase)

status: $(INSTALLED)  ## where it listens, where it logs, what each process says of itself
	@exec $(RUN) -m deploy.local status

verify: $(INSTALLED)  ## archives through the whole system, compared with what is expected [MAIL MEETINGS RECORDS EXPECTED CHANGES EXPECTED_AFTER OUT REPLICAS]
	@exec $(RUN) -m simulator.verify $(foreach name,MAIL MEETINGS RECORDS EXPECTED CHANGES EXPECTED_AFTER OUT REPLICAS,$(call option,$(name)))

lint: $(INSTALLED)  ## check style, types, the direction of imports, and what containers are made of
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports
	@.venv/bin/hadolint deploy/Dockerfile
	@.venv/bin/docker-compose --file docker-compose.yml --env-file deploy/simulator.env config --quiet

format: $(INSTALLED)  ## bring the code into its form
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

pictures: $(INSTALLED)  ## take the pictures of README anew, of the page with the demo's story, in Chromium
	@exec $(RUN) -m docs.pictures

docs: $(INSTALLED)  ## write anew the documents that are generated from the code
	@exec $(RUN) -m docs.generate

lock: $(INSTALLED)  ## renew requirements/ from pyproject.toml [ARGS=--upgrade]
	@for extra in mail-ingest matcher tracking simulator dev; do \
		echo "requirements/$$extra.txt"; \
		.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $(ARGS) \
			pyproject.toml --extra $$extra --output-file requirements/$$extra.txt || exit 1; \
	done

$(INSTALLED): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none is on the path: install it, or name it by PYTHON=."; exit 1; }
	@$(PYTHON) $(NEW_ENOUGH) || { echo "$(PYTHON) is older than Python 3.11: name a newer one by PYTHON=."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv or no pip: on Debian and Ubuntu, apt-get install python3-venv."; exit 1; }
	@echo "installing the pinned requirements into .venv, once; it takes about a minute …"
	@$(PYTHON) -m venv .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/dev.txt
	@touch $@

# The commands of the project; `make` alone lists them. Each installs the requirements first.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python on the path that is new enough, unless PYTHON= names one.
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
# Many containers forbid Python to keep what it compiled; every process would then compile the project again.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := .venv/.installed
NPM_PROJECT := tests/clients/javascript

# $(call option,NAME) is `--name "VALUE"` where NAME has a value.
lower = $(subst _,-,$(shell echo $(1) | tr A-Z a-z))
option = $(if $($(1)),--$(call lower,$(1)) "$($(1))")

.PHONY: help demo test test-full up down status verify chaos lint format pictures docs lock

help:  ## list the commands
	@echo "make COMMAND [NAME=value]"
	@awk 'BEGIN {FS = ":.*  ## "} /^[a-z-]+:.*  ## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## run the whole system with a story on the terminal [MAIL=folder RECORDS=folder READS=timelines ONCE=1]
	@exec $(RUN) -m scenarios.demo $(call option,MAIL) $(call option,RECORDS) $(call option,READS) $(if $(ONCE),--once)

# Each worker has a Kafka and a MongoDB of its own (500 MB). Tests mostly wait, so there are twice as many workers as
# cores, at most 8.
TEST_WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores * 2 > 8 ? 8 : cores * 2)))

test: $(INSTALLED)  ## all tests at their small sizes, on a real Kafka and MongoDB [ARGS=pytest's TEST_WORKERS=number; CI=1: a skip is a failure]
	@$(RUN) -m deploy.local stack fetch
	@exec $(RUN) -m pytest -n $(TEST_WORKERS) $(ARGS)

# One test at a time: some of full size measure how long something takes.
test-full: TEST_WORKERS := 0
test-full: $(INSTALLED)  ## the tests of full size, resumed where the last run ended [ONLY=section ARGS=pytest's; MAILBOXES=number, in the section mailboxes]
	@$(RUN) -m deploy.local stack fetch
	@exec $(RUN) -m pytest -n $(TEST_WORKERS) --full="$(or $(ONLY),all)" $(ARGS)

up: $(INSTALLED)  ## start the whole system in the background
	@exec $(RUN) -m deploy.local up

down: $(INSTALLED)  ## stop it; the data stay in .local [ERASE=1: delete them]
	@exec $(RUN) -m deploy.local down $(if $(ERASE),--erase)

status: $(INSTALLED)  ## print state, address, log and counts of each process
	@exec $(RUN) -m deploy.local status

verify: $(INSTALLED)  ## run archives through the whole system, and compare the results with the expected ones [MAIL MEETINGS RECORDS EXPECTED CHANGES EXPECTED_AFTER OUT REPLICAS]
	@exec $(RUN) -m scenarios.verify $(foreach name,MAIL MEETINGS RECORDS EXPECTED CHANGES EXPECTED_AFTER OUT REPLICAS,$(call option,$(name)))

chaos: $(INSTALLED)  ## run the whole system under faults, and judge all that is published and answered [SEED=n CHANGES=n KILLS=n MAILBOXES=n; ONLY=capture: mail-ingest alone, under the faults of Graph; ONLY=cluster: under faults of brokers and MongoDB members]
	@exec $(RUN) -m scenarios.chaos $(foreach name,ONLY SEED CHANGES KILLS MAILBOXES,$(call option,$(name)))

lint: $(INSTALLED)  ## check style, types, imports, dependencies, vocabulary, containers and the files of the repository
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports
	@.venv/bin/deptry --no-ansi . 2>&1
	@$(RUN) -m checks.dependencies
	@$(RUN) -m checks.vocabulary
	@$(RUN) -m checks.textfiles
	@.venv/bin/hadolint deploy/Dockerfile .devcontainer/Dockerfile
	@.venv/bin/docker-compose --file docker-compose.yml --env-file deploy/simulator.env config --quiet
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/change.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.renovate renovate.json
	@.venv/bin/check-jsonschema --quiet --schemafile .devcontainer/devcontainer.schema.json .devcontainer/devcontainer.json
	@.venv/bin/pre-commit validate-config

format: $(INSTALLED)  ## format the code
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

pictures: $(INSTALLED)  ## take the pictures in README again: the page with the demo's story, in Chromium
	@exec $(RUN) -m docs.pictures

docs: $(INSTALLED)  ## generate the documents that are derived from the code
	@exec $(RUN) -m docs.generate

# The official clients are compiled last, with the versions of all others as constraints. npm's lock file names packages
# and hashes and no address, as requirements/ does.
lock: $(INSTALLED)  ## renew requirements/ from pyproject.toml, and npm's lock file [ARGS=--upgrade]
	@for extra in mail-ingest matcher tracking simulator dev official-clients; do \
		echo "requirements/$$extra.txt"; \
		test $$extra = official-clients && options="--constraint requirements/dev.txt --fork-strategy fewest"; \
		.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $(ARGS) $$options \
			pyproject.toml --extra $$extra --output-file requirements/$$extra.txt || exit 1; \
	done
	@command -v npm >/dev/null || { echo "npm is missing, so $(NPM_PROJECT)/package-lock.json stays as it is."; exit 0; }; \
		echo "$(NPM_PROJECT)/package-lock.json"; \
		npm $(if $(findstring --upgrade,$(ARGS)),update,install) --prefix $(NPM_PROJECT) --package-lock-only --ignore-scripts \
			--omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error >/dev/null

$(INSTALLED): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is required and none is on the path: install it, or set PYTHON=path."; exit 1; }
	@$(PYTHON) $(NEW_ENOUGH) || { echo "$(PYTHON) is older than Python 3.11: set PYTHON=path of a newer one."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv or no pip: on Debian and Ubuntu, apt-get install python3-venv."; exit 1; }
	@echo "installing the pinned requirements into .venv, once; it takes about a minute …"
	@$(PYTHON) -m venv .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/dev.txt
	@touch $@

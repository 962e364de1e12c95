# Every target first builds .venv from a hashed lock file; the stamp file makes later runs quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(BIN)/python docs/tools/install.py
# What demo and serve need. LOCK=requirements-server.lock has no embedded engine, for those with a ClickHouse server.
LOCK ?= requirements.lock
RUN := $(VENV)/$(basename $(LOCK))

.PHONY: help demo serve test torture bench docs reference screenshots lint audit format lock browser mailtools caddy loadtools npmtools clients clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(RUN) ## run the whole product on embedded chDB with live sample traffic
	@$(BIN)/mailwake demo

serve: $(RUN) ## run the service on embedded chDB, without configuration
	@$(BIN)/mailwake serve

test torture: export PYTHONDONTWRITEBYTECODE = # they start hundreds of processes: compile once only

test: ## run every test, including the browser tests
	@$(MAKE) --no-print-directory -j2 lint caddy npmtools clients # with their dependencies: linters and packages in parallel
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

torture: $(VENV)/dev browser npmtools clients ## run the longer tests
	@MAILWAKE_TORTURE=1 $(BIN)/python -m pytest -m torture

bench: $(VENV)/bench loadtools ## measure speed, as ratios measured side by side; writes bench.json
	@$(BIN)/python -m tests.bench

screenshots: $(VENV)/dev browser ## take the screenshots of the documentation from the demo
	@$(BIN)/python -m docs.tools.screenshots

docs: $(VENV)/dev ## build the documentation as a site, in docs/site
	@cd docs && ../$(BIN)/zensical build --strict

reference: $(VENV)/dev ## generate docs/reference from the code
	@$(BIN)/python -m docs.tools.references

lint: $(VENV)/dev ## run ruff, mypy, bandit and the check of wording
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/python -m docs.tools.wording
	@$(BIN)/bandit --quiet --recursive app --configfile pyproject.toml

audit: $(VENV)/dev ## check locked packages for vulnerabilities (asks PyPI, or ASK="-s osv"; fails without an answer)
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock $(ASK)

format: $(VENV)/dev ## format the code with ruff
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: $(VENV)/dev ## update the lock files (they contain no registry's URL)
	@$(PIP) install uv
	@for group in "" "-server --no-emit-package chdb-core" "-dev --group dev" "-bench --group dev --group bench"; do \
	  set -- $$group; name=$$1; [ $$# -gt 0 ] && shift; \
	  $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header pyproject.toml $$@ -o requirements$$name.lock; \
	done
	@$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --group clients -o requirements-clients.lock

$(RUN): $(LOCK)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) $(LOCK) --link
	@touch $@

$(VENV)/dev: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/requirements

$(VENV)/bench: $(VENV)/dev requirements-bench.lock
	@$(INSTALL) requirements-bench.lock
	@touch $@

browser:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }

mailtools: browser # one after the other: apt-get cannot run twice at once
	@command -v postfix >/dev/null && command -v swaks >/dev/null && command -v gpg >/dev/null && command -v faketime >/dev/null \
	  && ls /usr/lib/postgresql >/dev/null 2>&1 \
	  || { apt-get update -qq \
	       && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postfix swaks gpg faketime postgresql >/dev/null; } \
	  || echo "postfix, swaks, gpg, faketime and postgresql could not be installed: their tests are skipped"

caddy: mailtools $(VENV)/dev # unpacked, not installed, so that it does not listen on port 80
	@test -x $(VENV)/caddy/usr/bin/caddy \
	  || { apt-get update -qq && cd $(VENV) && apt-get download -qq caddy && dpkg-deb -x caddy_*.deb caddy; } \
	  || echo "caddy could not be downloaded: its test is skipped"

loadtools:
	@command -v wrk >/dev/null && command -v nginx >/dev/null && ls /usr/lib/postgresql >/dev/null 2>&1 \
	  || { apt-get update -qq && apt-get install -y -qq wrk nginx-light postgresql >/dev/null; } \
	  || echo "wrk, nginx-light and postgresql could not be installed: their part is skipped"

NPM := postal-mime@4.0.0 @redocly/cli@2.77.0 openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3

npmtools: $(VENV)/dev # another MIME parser, for comparison; a linter and a generator for the API's description
	@test "$$(cat $(VENV)/npm/installed 2>/dev/null)" = "$(NPM)" \
	  || { npm install --prefix $(VENV)/npm --no-save --ignore-scripts --no-audit --no-fund --silent $(NPM) \
	       && echo "$(NPM)" >$(VENV)/npm/installed; } \
	  || echo "npm or its packages are not available: their tests are skipped"

clients: $(VENV)/dev # a generator of clients
	@test -x $(VENV)/clients/bin/openapi-python-client \
	  || { $(PYTHON) -m venv $(VENV)/clients \
	       && $(VENV)/clients/bin/python -m pip --disable-pip-version-check --quiet install --no-deps \
	            -r requirements-clients.lock; } \
	  || echo "openapi-python-client could not be installed: its test is skipped"

clean: ## remove the virtual environment and caches (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

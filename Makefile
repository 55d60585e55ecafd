# Everything works on a fresh clone: each target makes the .venv it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup search test postgres lint format clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

search: setup
	$(BIN)/metaml search --task sklearn:breast_cancer --max-latency-ms 0.1 --time 2m

test: lint postgres
	$(BIN)/pytest -q -n 2 --dist loadfile

# The store's tests on PostgreSQL need its server. CI installs it where it may; elsewhere they are skipped with the reason.
postgres:
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		apt-get update -qq && apt-get install -y -qq postgresql >/dev/null || echo "no PostgreSQL: its tests are skipped"; \
	fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info

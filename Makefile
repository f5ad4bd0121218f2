# Two commands for a newcomer: `make app` and `make test`. Both make .venv first where it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= runs/demo

.PHONY: app test proofs proofs-long lint format chromium screenshots docs reference faults fuzz load lowest vulnerabilities clean

app: $(VENV)/.installed
	$(BIN)/lossprint demo --out $(DEMO)

# In four processes for two cores: the browser's tests often wait, the others compute, and more threads would get in
# each other's way. A file is one piece of work, the longest first (tests/conftest.py), so that none is left over. What
# Python compiles is kept, also where the environment says otherwise: each of the processes would compile it all anew.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m "not proof"

# What no ordinary commit breaks: kills, odd inputs, load, Ray, the wheel, the documentation's blocks and site, examples.
# Before a release, and before a change to one of them is called done. `make faults`, `make fuzz` and `make load` are
# the long programs: hours.
proofs: $(VENV)/.installed-test chromium
	$(PYTEST) -m proof

proofs-long: proofs faults fuzz load

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of the demo run as pictures for the README.
screenshots: $(VENV)/.installed-test chromium
	$(BIN)/lossprint demo --no-app --out $(DEMO)
	$(BIN)/python assets/make_screenshots.py $(DEMO)

# The documentation as a site in build/docs; as Markdown it is in docs/.
docs: $(VENV)/.installed-test
	$(BIN)/python -m mkdocs build --strict

# The pages of docs/ that follow from docstrings and options.
reference: $(VENV)/.installed-test
	$(BIN)/python docs/make_reference.py

# 200 kills at random moments over all stages: minutes. A short form is among the tests.
faults: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py --kills 200

# 10,000 odd inputs for each reader, command and page, and hostile ones by kind: hours. A short form is among the tests.
fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py --jobs 2

# 20 sessions at once for 10 minutes, after one alone. A short form is among the tests.
load: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/load.py --sessions 20 --minutes 10

# The suite but for the browser with the lowest version of everything that pyproject.toml allows, in an environment of its
# own. PyTorch is large: minutes.
lowest: BIN = build/lowest/bin
lowest:
	@mkdir -p build
	$(PYTHON) tests/support/lowest.py >build/lowest.txt
	$(PYTHON) -m venv --clear build/lowest && $(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --constraint build/lowest.txt -e '.[test]'
	$(PYTEST) -m "not proof and not browser"

# Known vulnerabilities of everything installed and of the lowest allowed, by pip-audit in an environment of its own, which
# asks PyPI. What it cannot look up is a failure. The two that are passed over are in docs/dependencies.md.
UNREACHED = --ignore-vuln CVE-2026-4538 --ignore-vuln CVE-2025-3000
vulnerabilities: $(VENV)/.installed-test
	$(PYTHON) -m venv build/pip-audit && build/pip-audit/bin/python -m pip install -q pip-audit
	$(BIN)/python -m pip freeze --exclude-editable >build/installed.txt
	build/pip-audit/bin/pip-audit --strict --no-deps --disable-pip -r build/installed.txt
	$(BIN)/python tests/support/lowest.py >build/lowest.txt
	build/pip-audit/bin/pip-audit --strict --no-deps --disable-pip $(UNREACHED) -r build/lowest.txt

# The system's Chromium if there is one; on Debian as root its package, without windows where there is such a one, which
# takes a quarter less of the processor; else Playwright's own.
chromium: $(VENV)/.installed-test
	@if command -v chromium-headless-shell || command -v chromium || command -v chromium-browser || \
		command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && \
		{ apt-get install -y -qq chromium-headless-shell || apt-get install -y -qq chromium; }; \
	else $(BIN)/python -m playwright install chromium; fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing into $(VENV). PyTorch is large: this takes a few minutes, once."
	@$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml
	@echo "Installing into $(VENV). PyTorch is large: this takes a few minutes, once."
	@$(BIN)/python -m pip install -q -e '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache

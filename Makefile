# Every target sets up what it needs first; `make setup` alone is safe to repeat.
# Run as root: network namespaces and Debian packages need it.
BIN := .venv/bin

.PHONY: help setup lab lab-down test test-hwsim lint docs bench lock

help:    ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup:   ## install Debian packages and the virtual environment
	@tools/setup.sh

lab: setup   ## start a small data centre in network namespaces and show a host's clock
	@$(BIN)/visorctl lab up
	@$(BIN)/visorctl lab exec host1 -- visorctl clock status --wait tracking

lab-down: setup   ## remove the lab
	@$(BIN)/visorctl lab down

test: setup lint   ## lint, type-check and run every test
	@$(BIN)/pytest -n auto --dist worksteal --ignore=tests/guests
	@$(BIN)/pytest -m "not long" tests/guests
	@$(MAKE) --no-print-directory test-hwsim ARGS='-m "not long"'

test-hwsim: setup   ## clock tests on simulated NICs in a QEMU guest; ARGS="-k lock -x" for pytest
	@PYTHONPATH=tests $(BIN)/python -m hwsim $(ARGS)

lint: setup   ## ruff and mypy --strict
	@! git ls-files -ci --exclude-standard | grep .  # nothing is tracked that is meant to be ignored
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

docs: setup   ## write the generated reference pages anew
	@$(BIN)/python tools/reference.py

bench: setup   ## measure beside the peers; JSON in build/bench, table on the terminal
	@$(BIN)/python -m bench

lock: setup   ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --extra dev --generate-hashes --no-annotate \
		--python-version 3.11 --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml

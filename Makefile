# Two commands are enough: `make demo` and `make test`. Each sets up what is missing first.
#   make demo   KEEP=1 leaves the stack up
#   make bench  NAME=rpo
BIN := .venv/bin
NAME ?= rpo
.DEFAULT_GOAL := help
.PHONY: help setup demo test checks emulators integration lint bench soak oracle down clean

help:
	@echo "make demo | test | lint | bench NAME=rpo | soak | oracle | down | clean"

setup:
	@ops/setup.sh

demo: setup
	@$(BIN)/wedsync-backup demo $(if $(KEEP),--keep)

test: checks integration

lint: setup
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

checks: lint
	@$(BIN)/pytest -n auto
	@$(BIN)/pytest -m simulation

emulators: setup
	@ops/emulators.sh

# After the quick checks also under `make -j`: both at once would measure each other.
integration: checks emulators
	@$(BIN)/pytest -m integration

bench: setup
	@$(BIN)/wedsync-backup bench $(NAME)

soak: setup
	@FUZZ=$(or $(FUZZ),100000) $(BIN)/pytest -s tests/fuzz
	@HISTORIES=$(or $(HISTORIES),10000) $(BIN)/pytest -s -m simulation tests/simulation/test_histories.py

# Random histories against Postgres' own recovery: hours. SEED=n plays one of them again.
oracle: setup
	@ROUNDS=$(or $(ROUNDS),100) $(BIN)/pytest -s -m integration tests/oracle

down: setup
	@$(BIN)/wedsync-backup down

# The stack's state, too: everything that `make setup` or `make demo` made.
clean: down
	@rm -rf build .wedsync .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .venv

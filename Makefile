# Two commands on a fresh machine: make demo, make test. Both set up everything they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHOTOS ?=

.PHONY: demo test lint format setup bench-setup bench clean

demo: setup
	$(BIN)/python -m examples.demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: setup
	$(BIN)/pytest -n auto --dist loadgroup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "facetrove needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up $(VENV) (about 2.6 GB, a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The peers that benchmarks compare with. face_recognition asks for dlib's sources, which take
# minutes to compile; dlib-bin is the same, compiled.
bench-setup: setup
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps face_recognition==1.3.0

bench: bench-setup
	$(BIN)/python -m benchmarks.embed_throughput "$(PHOTOS)"

clean:
	rm -rf $(VENV) demo-output

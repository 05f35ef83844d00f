# Two commands on a fresh machine: make demo, make test. Both set up everything they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHOTOS ?=
SERVE ?=
COUNT ?= 1000000
WORK ?= bench-work

.PHONY: demo test test-fast test-lasting fuzz lint format docs wheel-check setup bench-setup bench bench-index clean

demo: setup
	$(BIN)/python -m examples.demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(SERVE),--serve)

# Tests start many processes, which would all compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

test: setup
	$(BIN)/pytest -n auto

# Without those that take more than a few seconds.
test-fast: setup
	$(BIN)/pytest -n auto -m 'not slow and not lasting'

# Two minutes of fuzzing, processes that are watched for half a minute, in case they call home, jobs whose
# processes are killed, hundreds of hostile files, partial indexes, wheels that are installed: all of over four seconds.
test-lasting: setup
	$(BIN)/pytest -n 3 -m lasting

# Every parser of what strangers wrote, for MINUTES; inputs that reach new code are kept in tests/fuzz/corpus.
# Then changes of any byte and value of stored files: about as long again.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(or $(MINUTES),30)
	FACETROVE_SEED=$$(date +%s) FACETROVE_EXAMPLES=$$((100 * $(or $(MINUTES),30))) \
		$(BIN)/pytest -n auto tests/indexer/test_changed_files.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# The pages of docs/ and a Python reference from the docstrings, in build/docs: open index.html there. A
# browser searches them when they are served: .venv/bin/python -m http.server --directory build/docs
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/docs/index.html"

# What users install: wheel and sdist are built, the wheel is installed with all that it asks for, in
# the versions of today, into an empty environment, and the demo runs there, from another folder.
wheel-check: setup
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m build --no-isolation --outdir "$$folder" . >"$$folder/build.log" && \
	$(BIN)/python -m venv "$$folder/environment" && \
	"$$folder/environment/bin/pip" install --quiet --disable-pip-version-check "$$folder"/*.whl && \
	"$$folder/environment/bin/pip" check && \
	du -sh "$$folder/environment" && \
	cd "$$folder" && environment/bin/python "$(CURDIR)/examples/demo.py"

# Milvus Lite asks for faiss-cpu, whose files would overwrite those of faiss-gpu.
setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "facetrove needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up $(VENV) (about 5 GB, a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,databases]'
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps milvus-lite
	@touch $@

# The peers that benchmarks compare with. face_recognition asks for dlib's sources, which take
# minutes to compile; dlib-bin is the same, compiled. autofaiss asks for NumPy 1 and another FAISS
# wheel, works without, and brings a package `tests` that would hide ours: it gets its own folder.
bench-setup: setup
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps face_recognition==1.3.0
	@test -d $(VENV)/autofaiss || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
		--target $(VENV)/autofaiss autofaiss==2.18.0 embedding-reader==1.8.1 fire==0.7.1 termcolor==3.3.0

bench: bench-setup
	$(BIN)/python -m benchmarks.embed_throughput "$(PHOTOS)"

# Indexes of COUNT generated faces, in the folder WORK (3 GB for a million), which is kept.
bench-index: bench-setup
	$(BIN)/python -m benchmarks.index_speed compare $(COUNT) --work "$(WORK)"
	$(BIN)/python -m benchmarks.index_speed recipes $(COUNT) --work "$(WORK)"
	$(BIN)/python -m benchmarks.index_speed lifecycle $(COUNT) --work "$(WORK)"
	$(BIN)/python -m benchmarks.index_speed peers $(COUNT) --work "$(WORK)"

clean:
	rm -rf $(VENV) demo-output

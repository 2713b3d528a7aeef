# `make demo` trains and draws; `make test` checks. Each sets up what it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock

.PHONY: demo test lint slow assets bench ui setup lock clean

demo: setup hw2_data/digits/svhn/val.csv
	$(BIN)/python -m jobs.train_ddpm --config jobs/configs/demo.yaml --overwrite true

# A tree that is already there, the course's for instance, is taken as it is.
hw2_data/digits/svhn/val.csv: | setup
	$(BIN)/python -m jobs.prepare_data --out hw2_data

test: lint
	$(BIN)/python -m pytest -q -m "not slow"

slow: setup
	$(BIN)/python -m pytest -q -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The released weights, trained again: about an hour. One thread, as they were made: the number of
# threads moves the last bits.
assets: export OMP_NUM_THREADS = 1
assets: setup hw2_data/digits/svhn/val.csv
	$(BIN)/python -m jobs.train_judge --config jobs/configs/assets_judge.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/judge --name judge
	$(BIN)/python -m jobs.train_ddpm --config jobs/configs/assets_digits.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/digits --name digits

# Ratios against the bare loop, side by side.
bench: setup hw2_data/digits/svhn/val.csv
	$(BIN)/python benchmarks/ray_train_overhead.py

ui: setup
	@case "$$MLFLOW_TRACKING_URI" in \
	  http*) echo "the tracking server is at $$MLFLOW_TRACKING_URI" ;; \
	  *) $(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" ;; \
	esac

# The stamp holds the hash of the lock: the same lock installs nothing again.
setup:
	@want=$$(cat $(LOCK) pyproject.toml | sha256sum | cut -d' ' -f1); \
	if [ "$$(cat $(VENV)/.lock-sha256 2>/dev/null)" != "$$want" ]; then \
	  echo "setting up $(VENV) from $(LOCK) (about 6 GB, a few minutes) ..."; \
	  { [ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	  echo "$$want" > $(VENV)/.lock-sha256; \
	fi

lock:
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o $(LOCK)

clean:
	rm -rf $(VENV) build *.egg-info

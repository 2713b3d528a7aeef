# `make demo` trains and draws; `make test` checks. Each sets up what it needs. Further settings of
# the demo: make demo ARGS="--scaling.num_workers 1".
PYTHON ?= $(notdir $(firstword $(foreach minor,11 12 13,$(shell command -v python3.$(minor))) python3.11))
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
# The tests start hundreds of processes: code is compiled once, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=
# Tests compute with one thread each: two processes of them for two cores.
PYTEST := $(BIN)/python -m pytest -q -n 2 --no-loadscope-reorder

.PHONY: demo faces sweeps clip concepts report test lint slow chaos assets bench bench-gpu ui mlflow-server submit-check cluster-token audit setup lock clean

demo: setup hw2_data/digits/svhn/val.csv
	$(BIN)/python -m jobs.train_ddpm --config jobs/configs/demo.yaml --overwrite true $(ARGS)

# Faces from the given noises, over eta, and between two noises.
faces: setup hw2_data/face/GT/09.png
	$(BIN)/python -m jobs.sample_faces --out outputs/faces
	$(BIN)/python -m jobs.eta_sheet --out outputs/eta_sheet
	$(BIN)/python -m jobs.interpolate_faces --out outputs/interpolation

# Both sweeps, half an hour on two cores.
sweeps: setup hw2_data/digits/svhn/val.csv hw2_data/face/GT/09.png
	$(BIN)/python -m jobs.tune_guidance --config tune_configs/guidance.yaml --out outputs/tune_guidance
	$(BIN)/python -m jobs.tune_eta --config tune_configs/eta.yaml --out outputs/tune_eta

# Three prompt sets on the same pictures, compared in pairs.
clip: setup hw2_data/clip_zeroshot/id2label.json
	$(BIN)/python -m jobs.clip_zero_shot --templates simple,course,cifar --out outputs/clip

# Three concepts, learnt apart by two methods, jointly, and merged; drawn and graded.
SOURCES := 0 1 2
concepts: setup hw2_data/textual_inversion/input.json
	set -e; for s in $(SOURCES); do \
	  $(BIN)/python -m jobs.textual_inversion --config jobs/configs/textual_inversion.yaml --source $$s --out outputs/inversion_$$s; \
	  $(BIN)/python -m jobs.custom_diffusion --config jobs/configs/custom_diffusion.yaml --sources $$s --out outputs/custom_$$s; \
	done
	$(BIN)/python -m jobs.custom_diffusion --config jobs/configs/custom_diffusion.yaml --sources 0,1,2 --train.num_steps 400 --out outputs/custom_joint
	$(BIN)/python -m jobs.merge_concepts --concepts outputs/custom_0,outputs/custom_1,outputs/custom_2 --out outputs/merged
	$(BIN)/python -m jobs.generate_concepts --config jobs/configs/generate_concepts.yaml
	$(BIN)/python -m jobs.generate_concepts --config jobs/configs/generate_concepts.yaml --untrained true --out outputs/concepts_untrained
	$(BIN)/python -m jobs.grade_concepts --generated outputs/concepts --against outputs/concepts_untrained --out outputs/concept_grades

# All of it as one page a language, outputs/report/report.*.html; what is done is not done again.
report: setup hw2_data/digits/svhn/val.csv hw2_data/face/GT/09.png hw2_data/face/real hw2_data/clip_zeroshot/id2label.json hw2_data/text2image/train.csv hw2_data/textual_inversion/input.json
	$(BIN)/python -m jobs.report --config jobs/configs/report_local.yaml

# A tree that is already there, the course's for instance, is taken as it is. Of each part the file
# that is written last: what was interrupted goes on.
hw2_data/digits/svhn/val.csv hw2_data/face/GT/09.png hw2_data/face/real \
hw2_data/clip_zeroshot/id2label.json hw2_data/clip_zeroshot/train.csv \
hw2_data/text2image/train.csv hw2_data/textual_inversion/input.json: | setup
	$(BIN)/python -m jobs.prepare_data --out hw2_data

test: lint
	$(PYTEST) -m "not slow"

slow: setup
	$(PYTEST) -m slow

# Trainings disturbed N times at random, and a table of what it cost; SEED=.. draws the same again.
N ?= 10
chaos: setup
	$(BIN)/python -m tests.chaos --points $(N) $(if $(SEED),--seed $(SEED))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The released weights, trained again: two to three hours, and five minutes of a GPU for the digits, which
# are refused without one.
assets: setup hw2_data/digits/svhn/val.csv hw2_data/face/real hw2_data/clip_zeroshot/train.csv hw2_data/text2image/train.csv
	$(BIN)/python -m jobs.train_judge --config jobs/configs/assets_judge.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/judge --name judge
	$(BIN)/python -m jobs.train_ddpm --config jobs/configs/assets_digits.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/digits --name digits
	$(BIN)/python -m jobs.train_faces --config jobs/configs/assets_faces.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/faces --name faces \
	  --note "The loss is of pictures that were trained on: it compares trainings, and says nothing of new faces."
	$(BIN)/python -m jobs.train_clip --config jobs/configs/assets_clip.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/clip --name clip \
	  --note "The val crops come from few tiles of ten photos and overlap, so that the intervals, which take pictures for independent, are narrower than the truth. The settings were chosen by looking at val."
	$(BIN)/python -m jobs.train_autoencoder --config jobs/configs/assets_autoencoder.yaml
	$(BIN)/python -m jobs.train_text2image --config jobs/configs/assets_text2image.yaml
	$(BIN)/python -m jobs.release_asset --model outputs/assets/text2image --name text2image \
	  --note "The pictures are crops of a dozen photos, so that held-out ones overlap with those of the training. Settings were chosen by looking. The loss is that of v, all timesteps alike. The autoencoder in it is trained before by jobs/configs/assets_autoencoder.yaml."

# Figures against peers and floors, side by side, as tables and in outputs/bench; takes hours.
bench: setup hw2_data/digits/svhn/val.csv hw2_data/clip_zeroshot/id2label.json
	$(BIN)/python benchmarks/ray_train_overhead.py
	$(BIN)/python benchmarks/tune_overhead.py
	$(BIN)/python benchmarks/clip_throughput.py
	$(BIN)/python benchmarks/clip_throughput.py --model ViT-B-32 --count 640 --json outputs/bench/clip_throughput_b32.json
	$(BIN)/python benchmarks/clip_memory.py
	$(BIN)/python benchmarks/merge_shapes.py
	$(BIN)/python benchmarks/training_peers.py
	$(BIN)/python benchmarks/drawing_peers.py
	$(BIN)/python benchmarks/start_times.py
	-$(MAKE) bench-gpu  # refused without a GPU

# The same on a GPU: its switches, training and drawing beside the peers; half an hour.
BENCH := outputs/bench
bench-gpu: setup hw2_data/digits/svhn/val.csv
	$(BIN)/python benchmarks/gpu_switches.py --batch 64 256 --rounds 5
	$(BIN)/python benchmarks/training_peers.py --device cuda --core_seconds 240 --json $(BENCH)/training_peers_gpu.json \
	  --config jobs/configs/train_ddpm.yaml --ours train.batch_size 256 train.num_steps 800 train.learning_rate 3e-3 \
	  train.checkpoint_every 80 diffusion.min_snr_gamma 0.4 sample.guidance_interval 0,1 --every 2 --noises 25 --floor_steps 50
	$(BIN)/python benchmarks/drawing_peers.py --device cuda --pictures 10000 --slow_pictures 10000 --noises 250 --json $(BENCH)/drawing_peers_gpu.json

# One worker, and none of the eight processes that MLflow starts for judges of language models.
PORT := 5000
ui: setup
	@case "$$MLFLOW_TRACKING_URI" in \
	  http*) echo "the tracking server is at $$MLFLOW_TRACKING_URI" ;; \
	  *) echo "http://127.0.0.1:$(PORT): choose Model training at the top left"; \
	    exec env MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	    $(BIN)/mlflow ui --workers 1 --port $(PORT) --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" ;; \
	esac

# One tracking server for all nodes (docs/mlflow.md); DATABASE=sqlite on a machine without PostgreSQL.
DATABASE := own
mlflow-server: setup
	$(BIN)/python -m hw2.mlflow_server --database $(DATABASE) $(ARGS)

# What `ray job submit --working-dir .` would send: its size, files over 1 MB, secrets (docs/cluster.md).
submit-check: setup
	$(BIN)/python -m hw2.distributed.upload

# The stamp holds the hash of the lock: the same lock installs nothing again.
setup:
	@want=$$(cat $(LOCK) pyproject.toml | sha256sum | cut -d' ' -f1); \
	if [ -z "$$want" ] || [ "$$(cat $(VENV)/.lock-sha256 2>/dev/null)" != "$$want" ]; then \
	  [ "$$(uname -sm)" = "Linux x86_64" ] || { \
	    echo "error: this is $$(uname -sm); the lock file is for Linux x86_64 (on Windows: WSL)" >&2; exit 2; }; \
	  { [ -x $(BIN)/python ] || $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; } || { \
	    echo "error: $(PYTHON) is no Python 3.11 to 3.13 with venv: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    echo "  (Debian, Ubuntu: apt install python3-venv; elsewhere: uv python install 3.11)" >&2; exit 2; }; \
	  echo "setting up $(VENV) from $(LOCK) (about 7.6 GB, a few minutes) ..."; \
	  { [ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	  echo "$$want" > $(VENV)/.lock-sha256; \
	fi

lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o $(LOCK)

# Known holes of what the lock pins, by pip-audit in an environment of its own (docs/reliability.md).
AUDIT := build/audit
audit:
	@[ -x $(AUDIT)/bin/pip-audit ] || { $(PYTHON) -m venv $(AUDIT) && \
	  $(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	@$(PYTHON) .ci/audit $(AUDIT)/bin/pip-audit $(LOCK)

# The token of your Ray clusters, readable by you alone: Ray writes the file for everybody to read.
cluster-token: setup
	@umask 077 && mkdir -p ~/.ray && $(BIN)/ray get-auth-token --generate > /dev/null && \
	  chmod 600 ~/.ray/auth_token && echo "~/.ray/auth_token: give the same file to every node"

clean:
	rm -rf $(VENV) build *.egg-info

# Everything happens in .venv; Python 3.10 or newer, make and a C compiler are all it takes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RELAY  := .venv-relay
OUT    := out
MODEL  := $(OUT)/mobilenet.so
TESTS  ?= tests
# One more than there are cores: some tests wait, for a board, a limit, a process that ends.
SPREAD := -n $$(( $$(nproc) < 8 ? $$(nproc) + 1 : 8 )) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test frozen test-gpu relay compare-stacks test-relay runtime-wheel lint types bench clean tree

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# scikit-image's photograph of a cup; its answer must be the best one, and a sure one.
demo: $(VENV)/demo.stamp  ## trained weights: compile, verify, classify a photograph, time it
	@mkdir -p $(OUT)
	$(BIN)/tvm-mobilenet compile v2 --weights pretrained --output $(MODEL)
	$(BIN)/tvm-mobilenet verify $(MODEL)
	$(BIN)/tvm-mobilenet run $(MODEL) "$$($(BIN)/python -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("skimage").origin).parent / "data" / "coffee.png")')" | tee $(OUT)/answer.txt
	@grep -Eq '^ *espresso +9[0-9]\.' $(OUT)/answer.txt || { echo 'demo: wrong, this is an espresso' >&2; exit 1; }
	$(BIN)/tvm-mobilenet bench $(MODEL)

test: $(VENV)/test.stamp  ## the tests, and last what was skipped and the command that gets it
	@mkdir -p $(OUT)
	$(BIN)/python -m pytest -m "not alone" $(TESTS) $(SPREAD) --junitxml $(OUT)/tests.xml
	$(BIN)/python -m pytest -m alone $$(grep -rl --include='*.py' mark.alone $(TESTS)) --junitxml $(OUT)/tests-alone.xml
	@$(BIN)/python tests/skips.py $(OUT)/tests.xml $(OUT)/tests-alone.xml

frozen: $(VENV)/test.stamp  ## compare what compiling decides with tests/golden/frozen.txt, every case
	$(BIN)/python tests/frozen.py

test-gpu: $(VENV)/gpu.stamp  ## on an NVIDIA GPU: numerics, tuner, profile, against PyTorch; writes results
	$(BIN)/python benchmarks/on_gpu.py --out benchmarks/results

relay: $(RELAY)/made.stamp  ## the classic stack's environment: Relay and TE schedules on TVM 0.19

compare-stacks: $(RELAY)/made.stamp $(VENV)/bench.stamp  ## both stacks in one table, on this processor
	$(BIN)/python benchmarks/stacks.py --relay-python $(RELAY)/bin/python

test-relay: $(RELAY)/test.stamp  ## the classic stack's tests
	@mkdir -p $(OUT)
	$(RELAY)/bin/python -m pytest tests/classic $(SPREAD) --junitxml $(OUT)/tests-relay.xml

runtime-wheel: $(VENV)/test.stamp  ## tvm-mobilenet-runtime, which loads and runs beside NumPy alone
	$(BIN)/python wheels/stage_runtime.py $(OUT)/runtime
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(OUT) $(OUT)/runtime

# schedules/ and tuning_logs/ stand at the top and install inside the package: what looks at the
# package as a whole looks at this copy.
tree:
	@rm -rf $(OUT)/tree && mkdir -p $(OUT)/tree
	@cp -R tvm_mobilenet $(OUT)/tree/ && cp -R schedules tuning_logs $(OUT)/tree/tvm_mobilenet/

lint: $(VENV)/lint.stamp tree  ## style, and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(OUT)/tree && $(CURDIR)/$(BIN)/lint-imports --no-logo --config $(CURDIR)/pyproject.toml

types: $(VENV)/lint.stamp tree  ## mypy --strict
	cd $(OUT)/tree && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml

bench: $(VENV)/bench.stamp  ## this processor against ONNX Runtime, OpenVINO, ncnn and LiteRT
	@mkdir -p $(OUT)
	$(BIN)/tvm-mobilenet compile v1 --output $(MODEL)
	$(BIN)/tvm-mobilenet bench $(MODEL) --against onnxruntime,openvino,ncnn,litert

clean:  ## remove what these targets made
	rm -rf $(VENV) $(RELAY) $(OUT) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

# One rule per extra: installed again when the dependencies change.
$(VENV)/%.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Both TVMs call their package `tvm`: two environments, one tvm_mobilenet in both.
$(RELAY)/packages.stamp: requirements-relay.txt
	$(PYTHON) -m venv $(RELAY)
	$(RELAY)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-relay.txt
	@touch $@

$(RELAY)/made.stamp: $(RELAY)/packages.stamp pyproject.toml
	$(RELAY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(RELAY)/test.stamp: $(RELAY)/made.stamp
	$(RELAY)/bin/python -m pip install --quiet --disable-pip-version-check 'pytest>=8' 'pytest-xdist>=3.6'
	@touch $@

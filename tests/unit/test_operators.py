"""Every operator of ours: what its facts say of it, and that the other rooms know it."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from not_a_number import works
from tvm_mobilenet.schedules.plans import GPU_PLANS, PLANS, TE_GPU_PLANS, TE_PLANS
from tvm_mobilenet.schedules.tensorir.cpu.integer.rules import WRITERS

import tvm_mobilenet.compute
from tvm_mobilenet.machine import PRESETS, parse
from tvm_mobilenet.models.spec import INPUT, Conv2d, Dense, Scale, Softmax
from tvm_mobilenet.operators.dense import dense_in_blocks
from tvm_mobilenet.operators.facts import OPERATORS, Shared, shared
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.operators.integers import INTEGER_OPERATORS
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.predict import predict
from tvm_mobilenet.verify.kernel_case import layers_of

TARGET = dataclasses.replace(PRESETS["znver5"], cores=2)
WORKS = works(TARGET.lanes)
INTEGERS = {facts.name for facts in INTEGER_OPERATORS}
FLOATS = OPERATORS.keys() - INTEGERS


def test_every_operator_is_tried() -> None:
    assert {work.operator for work in WORKS.values()} == FLOATS


@pytest.mark.parametrize("name", sorted(FLOATS))
def test_every_room_knows_it(name: str) -> None:
    facts, (folder,) = OPERATORS[name], tvm_mobilenet.compute.__path__
    assert facts.name == name
    assert f"def {facts.file}(work" in (Path(folder) / f"{facts.file}.py").read_text()
    assert name in PLANS
    assert (name in GPU_PLANS) >= (name in TE_GPU_PLANS)
    assert (name in PLANS) >= (name in TE_PLANS)
    if isinstance(facts, Shared):
        parts = {part for pattern in facts.patterns for part in pattern} - {"residual"}
        assert parts <= OPERATORS.keys()


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_one_in_integers_has_a_plan_and_is_written(name: str) -> None:
    """Tests of kernels: tests/numerics/test_integer*.py."""
    assert OPERATORS[name].name == name
    assert name in PLANS
    assert name in WRITERS
    assert not any(name in plans for plans in (GPU_PLANS, TE_PLANS, TE_GPU_PLANS))


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_its_layers_are_its_own(work: Workload) -> None:
    """A layer of it becomes it again; its weights are as many, and its shapes fit."""
    facts, layers = OPERATORS[work.operator], layers_of(work)
    for before, layer in itertools.pairwise(layers):
        assert layer.in_shape == before.out_shape
    classes = work.classes or work.out_channels
    shape = layers[-1].out_shape
    channels = shape[3 if work.operator == "to_nhwc" else 1]
    assert (shape[0], channels) == (work.batch, classes)
    if not isinstance(facts, Shared):
        again = workload_of_layer(layers[0], TARGET) or facts.of_chain(layers, TARGET)
        assert again is not None
        assert again.operator == work.operator
        # What is added and what ends it may be layers of their own.
        assert again.key == work.key or len(layers) > 1
    weights = sum(layer.params for layer in layers)
    assert 4 * weights <= weight_bytes(work)
    assert (weights == 0) == (weight_bytes(work) == 0)


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_it_costs_something(work: Workload) -> None:
    size = map_bytes(work)
    cost = predict(work, TARGET, CacheContext(1 << 20, (size, size), 1), 2)
    assert cost.macs == work.macs
    assert cost.cycles > 0


def test_layers_that_are_nobodys() -> None:
    squared = Scale("a", ("b", "b"), (1, 8, 1, 1))
    assert workload_of_layer(squared, TARGET) is None


def test_what_a_stack_has_no_kernels_for() -> None:
    """A full convolution is then the one that reads a plain map; groups are nobody's."""
    wide = Conv2d("a", (INPUT,), (1, 8, 4, 4), 16, (3, 3))
    grouped = dataclasses.replace(wide, groups=4)
    dilated = dataclasses.replace(wide, kernel=(2, 2), dilations=(2, 2))
    for layer in (wide, grouped, dilated):
        work = workload_of_layer(layer, TARGET)
        assert work is not None
        assert work.operator == "conv_blocked"
    plain = workload_of_layer(wide, TARGET, TE_PLANS)
    assert plain is not None
    assert plain.operator == "conv"
    assert workload_of_layer(grouped, TARGET, TE_PLANS) is None
    assert workload_of_layer(dilated, TARGET, TE_PLANS) is None


def test_a_lone_channel_reads_blocks() -> None:
    for kernel, operator in ((3, "depthwise"), (1, "pointwise")):
        work = workload_of_layer(Conv2d("a", (INPUT,), (1, 1, 5, 5), 1, (kernel, kernel)), TARGET)
        assert work is not None
        assert work.operator == operator


def test_a_dense_layer_in_blocks_is_a_pointwise_one() -> None:
    work = dense_in_blocks(Dense("a", (INPUT,), (2, 24), 40), TARGET)
    assert (work.operator, work.out_block) == ("pointwise", TARGET.lanes)


def test_a_row_is_a_block_of_threads_on_a_gpu() -> None:
    for classes, block in ((3, 4), (100, 128), (1000, 128)):
        work = workload_of_layer(Softmax("a", (INPUT,), (1, classes)), parse("sm_90"))
        assert work is not None
        assert work.out_block == block


def test_the_longest_pattern_is_tried_first() -> None:
    lengths = [len(pattern) for facts in shared().values() for pattern in facts.patterns]
    assert lengths == sorted(lengths, reverse=True)


def test_to_ask_for_sizes_takes_neither_tvm_nor_numpy() -> None:
    program = (
        "import sys; import tvm_mobilenet.operators.sizes, tvm_mobilenet.operators.footprint; "
        "sys.exit(bool({'tvm', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

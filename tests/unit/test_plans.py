"""A plan is made without TVM, is what the schedule applies, and is what a prediction is of."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import OPERATORS, works
from tvm_mobilenet.schedules.knobs import KnobError, Knobs, SeededKnobs
from tvm_mobilenet.schedules.plans import PLANS, TE_PLANS, plan
from tvm_mobilenet.schedules.tensorir.cpu.integer.rules import WRITERS
from tvm_mobilenet.schedules.tensorir.rules import CPU, CPU_REWRITTEN, CPU_WRITTEN, schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.workspace import parallel_units
from tvm_mobilenet.machine import PRESETS, TargetSpec, parse
from tvm_mobilenet.network.integers import elements_for
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.predict import predict

AVX512 = dataclasses.replace(PRESETS["znver5"], cores=2)
EVERY = [work for operator in OPERATORS for work in works(AVX512.lanes)[operator]]


def test_every_schedule_has_a_plan() -> None:
    scheduled = CPU.keys() | CPU_WRITTEN.keys() | CPU_REWRITTEN.keys() | WRITERS.keys()
    assert PLANS.keys() == scheduled
    assert TE_PLANS.keys() <= PLANS.keys()


def test_plans_and_predictions_need_no_tvm() -> None:
    program = (
        "import sys; import tvm_mobilenet.schedules.plans, tvm_mobilenet.prediction.predict; "
        "sys.exit('tvm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(EVERY), st.integers(0, 2**32), st.integers(1, 8))
def test_the_schedule_has_the_units_of_its_plan(work: Workload, seed: int, cores: int) -> None:
    target = dataclasses.replace(AVX512, cores=cores)
    by_plan, by_schedule = SeededKnobs(seed), SeededKnobs(seed)
    planned = plan(work, by_plan, target, PLANS)
    done = schedule(prim_func(work), target, by_schedule)
    assert done is not None
    assert by_plan.chosen == by_schedule.chosen
    assert parallel_units(done.func) == ([planned.units] if planned.parallel else [])


def te_targets() -> list[TargetSpec]:
    return [AVX512, PRESETS["x86-64-v3"], PRESETS["rpi4"]]


@settings(deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 2**32), st.sampled_from(te_targets()))
def test_te_is_offered_no_tails(work: Workload, seed: int, target: TargetSpec) -> None:
    if work.operator not in TE_PLANS:
        return
    knobs = SeededKnobs(seed)
    planned = plan(work, knobs, target, TE_PLANS)
    plan(work, Knobs(knobs.chosen), target, PLANS)  # and nothing that TensorIR is not
    width = work.out_size[1]
    if work.operator == "conv":
        assert width % planned.tile.pixels == 0
    elif work.operator in ("depthwise", "separable"):
        assert not planned.row.has_tail
    elif work.operator == "dense":
        assert work.batch % planned.images == 0


def test_recorded_knobs_are_predicted() -> None:
    work = Workload("pointwise", 1, 256, 256, (14, 14), (14, 14), 16, 16, activation="relu6")
    context = CacheContext(1 << 20, (1 << 20, 1 << 18), 1)
    rule = predict(work, AVX512, context, 2)
    knobs = Knobs()
    plan(work, knobs, AVX512, PLANS)
    assert predict(work, AVX512, context, 2, knobs.chosen).cycles == rule.cycles
    narrow = predict(work, AVX512, context, 2, {"pixels": 1, "vectors": 1})
    alone = predict(work, AVX512, context, 2, {"threads": "one"})
    assert narrow.cycles > 2 * rule.cycles
    assert alone.cycles > 1.5 * rule.cycles
    with pytest.raises(KnobError, match="has no knob 'tile_q'"):
        predict(work, AVX512, context, 2, {"tile_q": 4})


@pytest.mark.parametrize(
    ("target", "channels", "side", "tile"),
    [
        ("x86-64-v4", (16, 96), 112, "4x2"),  # of all with as much to do the smallest of 8 sums
        ("x86-64-v4", (24, 144), 56, "4x3"),  # nine blocks
        ("x86-64-v4", (576, 160), 7, "7x2"),  # 49 pixels
        ("x86-64-v3", (16, 96), 112, "4x1"),
        ("rpi5", (16, 96), 112, "4x1"),
    ],
)
def test_tiles_of_products_in_integers(
    target: str, channels: tuple[int, int], side: int, tile: str
) -> None:
    spec, size, knobs = parse(target), (side, side), Knobs()
    dtype = elements_for(spec)
    work = Workload("qpointwise", 1, *channels, size, size, 16, 16, dtype=dtype, limits=(0, 127))
    plan(work, knobs, spec, PLANS)
    assert knobs.chosen["tile"] == tile

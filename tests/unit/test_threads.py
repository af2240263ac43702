"""No thread has more than 5% above the mean to do, as the schedules cut the kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from kernels import fused_of_model, of_model, workload
from tvm import tirx
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import BALANCED, imbalance
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.workspace import parallel_units
from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.operators.workload import Workload

MODELS = [(1.0, 224), (0.75, 192), (0.5, 160), (0.25, 128)]


def units(work: Workload, target: TargetSpec) -> list[int]:
    done = schedule(prim_func(work), target, Knobs())
    assert done is not None
    return parallel_units(done.func)


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
@pytest.mark.parametrize(("alpha", "resolution"), MODELS)
@pytest.mark.parametrize("name", ["znver5", "x86-64-v3"])
def test_no_thread_waits_for_more_than_a_twentieth(
    name: str, alpha: float, resolution: int, cores: int
) -> None:
    target = dataclasses.replace(PRESETS[name], cores=cores)
    found = {
        key: units(work, target)
        for key, work in of_model(mobilenet_v1(alpha, resolution), target.lanes).items()
    }
    uneven = {
        key: regions
        for key, regions in found.items()
        if any(imbalance(count, cores) > BALANCED for count in regions)
    }
    assert not uneven
    shared = [key for key, regions in found.items() if regions]
    if cores == 1:
        assert not shared
    else:  # all but what is too small for a second thread: the pool, the softmax, small layers
        big = [key for key in found if key.startswith("pointwise")]
        assert len(set(shared) & set(big)) >= len(big) - (3 if alpha == 0.25 else 0)


@pytest.mark.parametrize("cores", [2, 4, 8])
def test_fused_kernels_share_evenly(cores: int) -> None:
    target = dataclasses.replace(PRESETS["znver5"], cores=cores)
    for key, work in fused_of_model(mobilenet_v1(), target.lanes).items():
        regions = units(work, target)
        assert regions, key
        assert all(imbalance(count, cores) <= BALANCED for count in regions), (key, regions)


def test_small_maps_are_shared_by_channels() -> None:
    """7 x 7 pixels are seven tiles of seven: no number of threads divides them."""
    target = dataclasses.replace(PRESETS["znver5"], cores=8)
    work = workload("pointwise", (1024, 1024), (7, 7), 16, activation="relu6")
    (count,) = units(work, target)
    assert count % 8 == 0


def test_parallel_loops_are_found_wherever_they_are() -> None:
    def loop(extent: int, kind: Any, body: Any) -> Any:
        return tirx.For(tirx.Var("i", "int32"), 0, extent, kind, body)

    serial, parallel = tirx.ForKind.SERIAL, tirx.ForKind.PARALLEL
    nothing = tirx.Evaluate(0)
    body = tirx.SeqStmt(
        [loop(3, serial, loop(5, parallel, nothing)), nothing, loop(7, parallel, nothing)]
    )
    assert parallel_units(tirx.PrimFunc([], body)) == [5, 7]

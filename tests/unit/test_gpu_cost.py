"""The prediction of GPU kernels: by hand, monotony, and who decides about fusion."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from tvm_mobilenet.machine import GPUS, Dtype, parse
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.network.explain import explain as explain_plan
from tvm_mobilenet.network.explanation import Explanation
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.gpu_cost import (
    L2_BYTES,
    L2_LATENCY,
    LAUNCH_US,
    MEMORY_LATENCY,
    MEMORY_SHARE,
    Grid,
    Load,
    gpu_cost,
)
from tvm_mobilenet.prediction.predict import predict

A100 = GPUS["sm_80"]


def explain(model: Any, target: Any, **options: Any) -> Explanation:
    """Plan a network, and predict it."""
    return explain_plan(plan_network(model, target, **options))


WIDE = Grid(108 * 64, 256, 32, 0)


def test_what_a_unit_holds() -> None:
    assert (Grid(1, 256, 32).resident(A100), Grid(1, 256, 32).occupancy(A100)) == (8, 1.0)
    assert Grid(1, 256, 128).resident(A100) == 2  # 65536 registers
    assert Grid(1, 256, 128, 100 << 10).resident(A100) == 1  # of 164 KiB
    assert Grid(1, 256, 255, 165 << 10).resident(A100) == 0
    assert Grid(108 * 4, 256, 128).waves(A100) == 2


def test_the_longest_of_arithmetic_and_bytes_counts() -> None:
    launch = LAUNCH_US["cuda"] * A100.clock_mhz
    busy = gpu_cost(0, WIDE, Load(108 * 64 * 1e4, 0.5, 1, 0), A100, half=False)
    assert busy.parts["compute"] == pytest.approx(1e4 / 0.5)
    assert busy.cycles == pytest.approx(1e4 / 0.5 + launch + 2 * L2_LATENCY)
    near = gpu_cost(0, WIDE, Load(1, 1, 1e8, 0), A100, half=False)
    assert near.parts["L2"] == pytest.approx(1e8 / (108 * L2_BYTES))
    far = gpu_cost(0, WIDE, Load(1, 1, 1e8, 1e8, cold=True), A100, half=False)
    assert far.parts["memory"] == pytest.approx(1e8 / (1555e9 * MEMORY_SHARE / 1410e6))
    assert far.parts["latency"] == L2_LATENCY + MEMORY_LATENCY
    assert far.bound == "memory"


def test_few_threads_wait_for_latency() -> None:
    """One warp a unit with 32 bytes under way each: 1 KiB a latency."""
    few = Grid(108, 32, 32)
    cost = gpu_cost(0, few, Load(1, 1, 108 * 1e5, 0), A100, half=False)
    assert cost.parts["L2"] == pytest.approx(1e5 / (1024 / L2_LATENCY))
    chained = gpu_cost(0, few, Load(108 * 1e5, 1, 1, 0, chains=1), A100, half=False)
    assert chained.parts["compute"] == pytest.approx(1e5 / (32 / 4))


def test_a_block_too_many_takes_as_long_as_a_whole_round() -> None:
    even, odd = (Grid(108 * 2 + extra, 1024, 64) for extra in (0, 1))
    first, second = (
        gpu_cost(0, grid, Load(grid.blocks * 1e6, 1, 1, 0), A100, half=False).parts["compute"]
        for grid in (even, odd)
    )
    assert second == pytest.approx(1.5 * first)


def test_halves_are_half_the_bytes() -> None:
    work = Workload("pointwise", 1, 64, 128, (14, 14), (14, 14), 8, 8, dtype="float16")
    single = dataclasses.replace(work, dtype="float32", in_block=4, out_block=4)
    assert map_bytes(work) == 2 * 128 * 196
    assert map_bytes(single) == 2 * map_bytes(work)
    assert weight_bytes(single) == 2 * weight_bytes(work) == 4 * 128 * 65


@pytest.mark.parametrize("name", ["sm_75", "sm_90", "opencl-mali", "metal"])
@pytest.mark.parametrize(("dtype", "batch"), [("float32", 1), ("float16", 64)])
def test_every_layer_is_predicted_above_its_bound(name: str, dtype: Dtype, batch: int) -> None:
    found = explain(mobilenet_v1(0.25, 96, batch=batch), parse(name, dtype=dtype))
    assert not found.unpredicted
    for step in found.steps:
        assert 0 <= step.cost.share < 1, step.layers
        assert step.cost.parts["launch"] > 0
        assert step.cost.moved["memory"] <= step.cost.moved["L2"]
    totals = found.totals()
    assert totals["chosen"].cycles <= 1.001 * totals["unfused"].cycles


def seconds(found: Explanation) -> float:
    gpu = found.target.gpu
    assert gpu is not None
    return found.total.cycles / gpu.clock_mhz / 1e6


def test_a_larger_gpu_is_not_slower() -> None:
    model = mobilenet_v1(0.25, 96, batch=64)
    small, large = (seconds(explain(model, parse(name))) for name in ("sm_75", "sm_80"))
    assert small > 2 * large
    h100, h200 = (seconds(explain(model, parse(name))) for name in ("sm_90", "h200"))
    assert h200 <= h100


def test_a_gpu_gains_from_fewer_launches_on_small_work() -> None:
    """Large maps and few channels: the middle map and a launch against little done twice."""
    found = explain(mobilenet_v1(), parse("sm_90"))
    chosen = {step.layers[0]: step.choice for step in found.steps if step.choice is not None}
    assert "block13.pw" not in chosen  # no tail on GPUs
    assert chosen["block1.dw"].fused
    assert "all units" in chosen["block1.dw"].why
    # 1024 output channels for 49 pixels: every column of blocks would filter anew.
    assert not chosen["block13.dw"].fused


def test_a_map_beyond_l2_comes_from_memory() -> None:
    work = Workload("scale", 1, 64, 64, (112, 112), (112, 112), 4, 4)
    size = map_bytes(work)
    target = parse("sm_75")  # 4 MiB of L2
    near = predict(work, target, CacheContext(1000, (1000, 1000, 1000), 1), 0)
    far = predict(work, target, CacheContext(1000, (1000, size, size), 2), 0)
    assert near.moved["memory"] == 0
    assert far.moved["memory"] == size


def test_explaining_a_gpu_needs_no_tvm() -> None:
    code = (
        "import sys; from tvm_mobilenet.network.explain import explain;"
        "from tvm_mobilenet.network.planning import plan_network;"
        "from tvm_mobilenet.models import mobilenet_v1;"
        "from tvm_mobilenet.machine import parse;"
        "explain(plan_network(mobilenet_v1(), parse('sm_90', dtype='float16')));"
        "assert not {'tvm', 'tvm_ffi', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)

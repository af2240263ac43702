"""The cost model: bytes counted by hand, monotony, and choices that were measured."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from typing import Any

import pytest

from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.network.explain import explain as explain_plan
from tvm_mobilenet.network.explanation import Explanation
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.footprint import weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import Caches, Phase, Stream, cost_of
from tvm_mobilenet.prediction.fusion import MARGIN, Comparison, compare, decide
from tvm_mobilenet.prediction.predict import predict
from tvm_mobilenet.prediction.speeds import L3_SHARE, LEVELS, speeds_of

ZEN5 = dataclasses.replace(PRESETS["znver5"], cores=2)
ONE = dataclasses.replace(ZEN5, cores=1)


def explain(model: Any, target: Any, **options: Any) -> Explanation:
    """Plan a network, and predict it."""
    return explain_plan(plan_network(model, target, **options))


def test_a_stream_passes_the_levels_that_do_not_hold_it() -> None:
    caches = Caches(l1=100, l2=1000, l3=10_000)
    # 50 bytes from L3, then 3 times more after 80 bytes, and twice more after 800.
    stream = Stream(50, "L3", ((150, 80), (100, 800)))
    assert caches.crossing(stream) == (50 + 100, 50, 0)
    assert caches.crossing(Stream(50, "memory", ((100, 20_000),))) == (150, 150, 150)
    assert caches.crossing(Stream(50, "L1")) == (0, 0, 0)


def test_memory_gives_once_what_several_threads_read() -> None:
    caches = Caches(l1=100, l2=1000, l3=10_000)
    assert caches.crossing(Stream(50, "memory", readers=2)) == (50, 50, 25)


def test_without_l3_what_leaves_l2_comes_from_memory() -> None:
    caches = Caches(l1=100, l2=1000, l3=0)
    assert caches.crossing(Stream(50, "L2", ((70, 2000),))) == (120, 70, 70)
    assert caches.found(1001) == "memory"


def test_a_phase_takes_the_longest_of_its_parts() -> None:
    speeds = speeds_of(ONE)
    stream = Stream(10_000, "memory")
    slow = cost_of(0, [Phase(10, 0, (stream,))], ONE, 1, 1.0)
    assert slow.cycles == pytest.approx(10_000 / speeds.memory)
    assert slow.bound == "memory"
    assert sum(slow.parts.values()) == slow.cycles
    busy = cost_of(320, [Phase(5000, 128, (stream,)), Phase(7, 0, ())], ONE, 1, 1.0)
    assert busy.cycles == pytest.approx(5007)
    assert busy.bound == "compute"
    assert busy.moved == {"L1": 128, "L2": 10_000, "L3": 10_000, "memory": 10_000}
    assert busy.ideal == pytest.approx(10)
    assert busy.share == pytest.approx(10 / 5007)


def test_what_does_not_overlap_is_added() -> None:
    speeds = speeds_of(ZEN5)
    phase = Phase(1000, 0, ())
    cost = cost_of(0, [phase], ZEN5, 2, 2.0, start=Stream(290, "L3"), held=200.0)
    start = 290 / speeds.l2 + 290 / speeds.l3
    assert cost.parts["start"] == pytest.approx(start)
    assert cost.parts["threads"] == pytest.approx(speeds.region + 10)
    assert cost.cycles == pytest.approx(1000 + start + speeds.region + 10)


# A 28 x 28 pointwise layer of 32 to 64 channels: 98 KB in, 8 KB of weights, 196 KB out.
POINTWISE = Workload("pointwise", 1, 32, 64, (28, 28), (28, 28), 16, 16)
IN, WEIGHTS, OUT = 4 * 32 * 784, 4 * 64 * 32, 4 * 64 * 784


def test_bytes_of_a_pointwise_layer_by_hand() -> None:
    """Tiles of 7 pixels and 2 vectors: 112 tiles, 2 vector groups, one chunk."""
    context = CacheContext(50_000_000, (IN, IN, OUT), 1)
    cost = predict(POINTWISE, ONE, context, 1)
    assert cost.macs == 784 * 32 * 64
    tiles, groups = 112, 2
    assert cost.moved["L1"] == tiles * groups * 4 * 32 * (7 + 32)
    # L1 holds the panel; the input passes it once for each group, weights and output once.
    assert cost.moved["L2"] == groups * IN + WEIGHTS + OUT
    # Input and output stay in L2 (no map before was as large as the output, so that it comes
    # from afar), and the weights were last used 50 MB ago.
    assert cost.moved["L3"] == WEIGHTS + OUT
    assert cost.moved["memory"] == WEIGHTS + OUT
    near = predict(POINTWISE, ONE, CacheContext(50_000_000, (IN, OUT, IN, OUT), 2), 1)
    assert near.moved["L3"] == near.moved["memory"] == WEIGHTS


def test_a_small_l1_rereads_the_weight_panel_for_each_tile() -> None:
    tiny = dataclasses.replace(ONE, l1_bytes=4096)
    context = CacheContext(0, (IN, OUT, IN, OUT), 2)
    large, small = (predict(POINTWISE, spec, context, 1) for spec in (ONE, tiny))
    assert small.moved["L2"] - large.moved["L2"] == WEIGHTS * 111


def test_where_weights_come_from() -> None:
    maps = (IN, OUT, IN, OUT)
    large = int(ONE.l3_bytes * L3_SHARE)

    def moved(all_weights: int) -> list[float]:
        cost = predict(POINTWISE, ONE, CacheContext(all_weights, maps, 2), 1)
        return [cost.moved[level] for level in LEVELS[2:]]

    assert moved(ONE.l2_bytes // 4) == [0, 0]
    assert moved(ONE.l2_bytes) == [WEIGHTS, 0]
    assert moved(large) == [WEIGHTS, WEIGHTS]


def test_packed_weights_have_a_bias_for_each_channel() -> None:
    work = dataclasses.replace(POINTWISE, operator="tail", classes=1000, class_block=128)
    assert weight_bytes(POINTWISE) == WEIGHTS + 4 * 64
    assert weight_bytes(work) == WEIGHTS + 4 * 64 + 4 * (64 * 1024 + 1024)


def test_a_separable_block_moves_its_middle_only_within_l2() -> None:
    """V1's block 5: 28 x 28 x 256; 803 KB in, between and out."""
    size = 4 * 256 * 784
    first = Workload("depthwise", 1, 256, 256, (28, 28), (28, 28), 16, 16, (3, 3), (1, 1))
    second = Workload("pointwise", 1, 256, 256, (28, 28), (28, 28), 16, 16)
    context = CacheContext(17_000_000, (602112, *(4 * size,) * 4, size, size), 5)
    both = compare("separable", [first, second], ONE, context, 1)
    assert both.fused.macs == both.unfused.macs == 256 * 784 * (9 + 256)
    assert both.fused.moved["L3"] < both.unfused.moved["L3"] - size
    # Four row groups of seven rows read two border rows of each neighbour and all weights again.
    assert both.fused.moved["L1"] == pytest.approx(both.unfused.moved["L1"], rel=0.01)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("alpha", "resolution"), [(1.0, 224), (0.25, 97)])
def test_a_larger_cache_never_moves_more_bytes(name: str, alpha: float, resolution: int) -> None:
    """From beyond it; the plan changes with L2, so compare the fixed kernels of one plan."""
    spec = dataclasses.replace(PRESETS[name], cores=1)
    model = mobilenet_v1(alpha, resolution)

    def moved(target: TargetSpec) -> list[tuple[float, ...]]:
        found = explain(model, target, fusion="none")
        return [tuple(s.cost.moved[level] for level in LEVELS) for s in found.steps]

    for field, beyond in (("l1_bytes", "L2"), ("l3_bytes", "memory")):
        at = LEVELS.index(beyond)
        counts = [
            [row[at] for row in moved(dataclasses.replace(spec, **{field: size << 10}))]
            for size in (4, 32, 512, 8 << 10, 64 << 10)
        ]
        for few, more in itertools.pairwise(counts):
            assert all(b <= a for a, b in zip(few, more, strict=True)), field


def test_a_larger_l2_never_moves_more_bytes() -> None:
    stream = Stream(1000, "L3", ((5000, 300_000), (7000, 900_000), (100, 5_000_000)))
    passed = [Caches(48 << 10, size << 10, 1e7).crossing(stream)[1] for size in (128, 512, 1024)]
    assert passed == [13_100, 8_100, 1_100]
    context = CacheContext(17_000_000, (IN, OUT, IN, OUT), 2)
    counts = [
        predict(POINTWISE, dataclasses.replace(ONE, l2_bytes=size << 10), context, 1).moved["L3"]
        for size in (128, 256, 512, 1024, 2048)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


# Choices. Measured on two Zen 5 cores: benchmarks/traffic.py, docs/fusion.md.


def fused(found: Explanation) -> set[str]:
    return {s.layers[0] for s in found.steps if s.choice is not None and s.choice.fused}


def test_choices_at_full_size() -> None:
    found = explain(mobilenet_v1(), ZEN5)
    assert "block13.pw" in fused(found)  # 569 → 522 µs on one thread, 337 → 269 on two
    assert {"block5.dw", "block7.dw"} <= fused(found)  # 235 → 228, 228 → 224 µs on two
    assert not {"block2.dw", "block12.dw"} & fused(found)  # 136 → 138, 119 → 120 µs on two


def test_choices_where_fusing_lost() -> None:
    small = fused(explain(mobilenet_v1(0.5, 160), ZEN5))
    assert not {"block12.dw", "block13.pw"} & small  # 19 → 19, 50 → 53 µs on two threads
    assert {"block4.dw", "block7.dw"} <= small  # 22 → 18, 34 → 33 µs
    assert "block13.pw" not in fused(explain(mobilenet_v1(0.25, 128), ZEN5))  # 18% on one thread
    assert "block13.pw" in fused(explain(mobilenet_v1(0.75, 192), ZEN5))


def test_a_pi_keeps_what_its_memory_would_see_twice() -> None:
    """512 KB for two cores and no L3: each map that passes between layers is memory traffic."""
    found = explain(mobilenet_v1(), PRESETS["rpi4"])
    step = next(s for s in found.steps if s.layers[0] == "block1.dw")
    assert step.compared is not None
    assert step.choice is not None
    assert step.choice.fused
    saved = step.compared.unfused.moved["memory"] - step.compared.fused.moved["memory"]
    assert saved > 4 * 32 * 112 * 112
    assert all(s.cost.moved["L3"] == 0 for s in found.steps)


def test_a_gain_on_all_threads_is_no_excuse_for_a_loss_on_one() -> None:
    def comparison(threads: int, apart: float, joined: float) -> Comparison:
        costs = (cost_of(0, [Phase(c, 0, ())], ONE, 1, 1.0) for c in (apart, joined))
        return Comparison(threads, *costs)

    gain, loss = comparison(2, 100, 90), comparison(1, 100, 101)
    even, little = comparison(1, 100, 100), comparison(2, 100, 100 * (1 - MARGIN) + 0.1)
    assert decide([gain, even]).fused
    assert not decide([gain, loss]).fused
    assert "slower" in decide([gain, loss]).why
    assert not decide([even, little]).fused
    assert "10.0% faster on 2 threads" in decide([gain, even]).why


def test_explaining_needs_no_tvm() -> None:
    code = (
        "import sys; from tvm_mobilenet.network.explain import explain;"
        "from tvm_mobilenet.network.planning import plan_network;"
        "from tvm_mobilenet.models import mobilenet_v1;"
        "from tvm_mobilenet.machine import PRESETS;"
        "explain(plan_network(mobilenet_v1(), PRESETS['rpi4']));"
        "assert not {'tvm', 'tvm_ffi', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)

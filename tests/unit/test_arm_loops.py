"""What ARM's hot loops load for a multiply-add, and that nothing of them is on the stack.

A core of two pipes decodes four instructions a cycle: half as many loads as multiply-adds, which
is what a broadcast for every input takes, leave it at two thirds of its peak.
"""

from __future__ import annotations

import re

import pytest
from assembly import Loop, innermost_loops
from kernels import compiled
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import PLANS, plan

from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.models import build
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload

LOADS = {
    "rpi3": 0.2,  # Cortex-A53
    "rpi4": 0.2,  # Cortex-A72
    "rpi5": 0.2,  # Cortex-A76
    "graviton2": 0.25,  # Neoverse N1, whose 64 cores get small tiles
    "graviton3": 0.25,  # Neoverse V1
    "snapdragon-888": 0.22,  # Cortex-X1
    "rpi2": 0.75,  # Cortex-A7, which has no multiplication by a lane of 32-bit ARM's sixteen
}
"""Most load instructions for a multiply-add of four lanes, in the loop of a whole tile."""

_LOAD = re.compile(r"^v?ld")
# By a lane; on 32-bit ARM, whose tiles are not staged, a load that fills a vector.
_PRODUCT = {"aarch64": re.compile(r"^fmla.*\.s\["), "arm": re.compile(r"^vld1\.32\s+\{d\d+\[\]")}


def hot_kernels(spec: TargetSpec) -> list[Workload]:
    """One kernel of V1 and V2 for every loop: those whose plans have a tile alike have it, too."""
    found: dict[object, Workload] = {}
    for name in ("v1", "v2"):
        for kernel in plan_network(build(name), spec).kernels.values():
            work = kernel.work
            if work.operator not in ("pointwise", "separable"):
                continue
            made = plan(work, Knobs(), spec, PLANS)
            # LLVM unrolls short reductions, and looks at a last tile for itself.
            alike = (work.operator, made.tile, made.prefetch, work.depth < 32)
            alike += (work.out_pixels % made.tile.pixels > 0,)
            if alike not in found or found[alike].macs < work.macs:
                found[alike] = work
    return list(found.values())


def loads(loop: Loop) -> float:
    """Load instructions for a multiply-add."""
    return sum(bool(_LOAD.match(i)) for i in loop.body) / loop.fused


@pytest.mark.parametrize("target", LOADS)
def test_the_hot_loops_of_v1_and_v2(target: str) -> None:
    spec = PRESETS[target]
    works = hot_kernels(spec)
    found: dict[str, list[Loop]] = {work.key: [] for work in works}
    assembly = compiled(works, spec).mod.inspect_source("asm")
    for loop in innermost_loops(assembly, spec.machine):
        if loop.fused:
            assert not loop.spilled, (loop.function, loop.spilled)
            # The A7's addresses take what the compiler would keep the constants in.
            assert len(loop.spills) <= (4 if target == "rpi2" else 0), (loop.function, loop.spills)
        if any(map(_PRODUCT[spec.machine].match, loop.body)):
            found[loop.function].append(loop)
    assert len(works) >= 5
    for key, products in found.items():
        whole = max(products, key=lambda loop: loop.fused)
        assert whole.fused >= (16 if target == "rpi2" else 28), key
        assert loads(whole) <= LOADS[target], (key, loads(whole))

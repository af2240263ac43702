"""Two maps element by element, of all the shapes that one may have beside the other."""

from __future__ import annotations

import pytest
from kernels import check_kernel, compiled, use_threads

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models.elements import ELEMENTWISE, Elementwise
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.facts import OTHER
from tvm_mobilenet.operators.sizes import workload_of_layer


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


WHOLE = (2, 20, 5, 7)
OTHERS = [WHOLE, (1, 20, 5, 7), (2, 20, 1, 1), (1, 20, 1, 1), (2, 1, 5, 7), (1, 1, 1, 1)]


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_kernels(name: str) -> None:
    spec = here(name)
    pairs = [(WHOLE, other) for other in OTHERS] + [(other, WHOLE) for other in OTHERS[1:]]
    pairs += [((1, 64, 9, 9), (1, 64, 9, 9)), ((1, 1, 9, 9), (1, 1, 9, 9))]
    works = [
        workload_of_layer(Elementwise("a", (INPUT, OTHER), one, operator, other, swapped), spec)
        for one, other in pairs
        for operator in ELEMENTWISE
        for swapped in (False, operator == "Sub")
    ]
    found = {work.key: work for work in works if work is not None}
    assert len(found) == 4 * len(pairs)
    kernels = compiled([*found.values()], spec).jit()
    use_threads(2)
    for key, work in found.items():
        check_kernel(work, kernels[key])

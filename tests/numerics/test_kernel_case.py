"""Data and answers for single kernels, made in the package, against the kernels themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import compiled, output_of

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import host, parse
from tvm_mobilenet.models import Model, build, mobilenet_v1
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case, layers_of

MODEL = mobilenet_v1(alpha=0.75, resolution=64, classes=30)


def works(model: Model = MODEL, **options: Any) -> dict[str, Workload]:
    plan = plan_network(model, host(), **options)
    return {key: kernel.work for key, kernel in plan.kernels.items()}


@pytest.mark.parametrize("options", [{"fusion": "none"}, {"fusion": "all"}])
def test_every_kernel_of_a_network_passes_its_own_case(options: dict[str, Any]) -> None:
    found = works(**options)
    kernels = compiled(list(found.values()), host()).jit()
    operators = {work.operator for work in found.values()}
    assert operators >= ({"tail", "separable"} if options["fusion"] == "all" else {"dense", "pool"})
    for key, work in found.items():
        case = kernel_case(work, seed=1)
        got = output_of(case, kernels[key])
        assert case.error(got) < 1e-4
        # An element that is off by more than rounding, and one that nobody wrote.
        at = np.unravel_index(int(np.argmax(np.abs(case.want))), case.want.shape)
        off = got.copy()
        off[at] += np.float32(2 * case.bound[at] + 1e-6 * abs(case.want[at]))
        with pytest.raises(VerificationError, match=r"1 of .* elements are wrong"):
            case.error(off)
        off[at] = np.nan
        with pytest.raises(VerificationError, match=r"1 of .* nan instead of"):
            case.error(off)


@pytest.mark.parametrize("name", ["v2", "v3-small"])
@pytest.mark.parametrize("fusion", ["none", "all"])
def test_residuals_scales_and_hard_activations(name: str, fusion: str) -> None:
    found = works(build(name, alpha=0.35, resolution=64, classes=30), fusion=fusion)
    assert any(work.residual for work in found.values())
    kernels = compiled(list(found.values()), host()).jit()
    for key, work in found.items():
        case = kernel_case(work, seed=2)
        assert case.error(output_of(case, kernels[key])) < 1e-4
        with pytest.raises(VerificationError, match="elements are wrong"):
            case.error(np.full(case.want.shape, case.want.mean() + 1, np.float32))


def test_other_seeds_are_other_data() -> None:
    work = next(iter(works(fusion="none").values()))
    one, other = kernel_case(work, 0), kernel_case(work, 1)
    assert not np.array_equal(one.inputs[0], other.inputs[0])
    assert np.array_equal(one.inputs[0], kernel_case(work, 0).inputs[0])


def test_macs_of_the_layers_are_those_of_the_workload() -> None:
    for options in ({"fusion": "none"}, {"fusion": "all"}):
        for work in works(**options).values():
            if work.operator not in ("pool", "softmax", "tail"):
                assert sum(layer.macs for layer in layers_of(work)) == work.macs


@pytest.mark.parametrize("fusion", ["none", "all"])
def test_of_float16_only_the_result_is_rounded(fusion: Any) -> None:
    """Inputs are halves; the nearest half is right, the one behind the next is not."""
    target = parse("opencl", dtype="float16")
    network = mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    plan = plan_network(network, target, fusion=fusion)
    for work in (kernel.work for kernel in plan.kernels.values()):
        case = kernel_case(work, seed=3)
        plain = 1 if work.operator in ("conv", "softmax") else 0
        biases = 2 if work.operator == "separable" else 1
        halves = [x for x in case.inputs if x.dtype == np.float16]
        if work.operator in ("conv", "depthwise", "pointwise", "separable"):
            assert len(case.inputs) - len(halves) == plain + biases
        if work.operator in ("dense", "softmax"):
            continue  # their results are float32
        nearest = case.want.astype(np.float16)
        assert case.error(nearest) < 2.0**-11
        at = np.unravel_index(int(np.argmax(np.abs(case.want))), case.want.shape)
        if work.operator == "separable":  # what is rounded in between is summed up
            nearest[at] += np.float16(2 * case.bound[at])
        else:
            above = np.nextafter(nearest[at], np.float16(np.inf))
            nearest[at] = np.nextafter(above, np.float16(np.inf))
        with pytest.raises(VerificationError, match=r"1 of .* elements are wrong"):
            case.error(nearest)

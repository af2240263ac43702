"""Convolutions of every kind: kernels against the reference, files against onnxruntime."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convolutions import LAYERS, conv, workloads
from kernels import check_kernel, compiled, use_threads
from onnx_cases import compiled_says, onnxruntime_says, same
from onnx_nets import Net
from tvm_mobilenet.schedules.knobs import KnobError, Knobs, SeededKnobs
from tvm_mobilenet.schedules.plans import PLANS, plan

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.sizes import workload_of_layer

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


@pytest.mark.parametrize("target", X86)
def test_right_on_one_and_two_threads(target: str) -> None:
    spec = dataclasses.replace(here(target), cores=2)
    works = workloads(spec)
    assert works.keys() == LAYERS.keys()
    kernels: Any = compiled(list(works.values()), spec).jit()
    for number, (name, work) in enumerate(works.items()):
        for threads in (1, 2):
            use_threads(threads)
            check_kernel(work, kernels[work.key], number, name)


@pytest.mark.parametrize("seed", range(2))
def test_right_whatever_the_knobs(seed: int) -> None:
    spec = dataclasses.replace(here("x86-64-v3"), cores=2)
    works = workloads(spec)
    drawn = {work.key: SeededKnobs(seed * 100 + at) for at, work in enumerate(works.values())}
    kernels: Any = compiled(list(works.values()), spec, lambda work: drawn[work.key]).jit()
    use_threads(2)
    for name, work in works.items():
        chosen = drawn[work.key].chosen
        check_kernel(work, kernels[work.key], seed, (name, chosen))
        plan(work, Knobs(chosen), spec, PLANS)  # as a record


def test_with_a_residual_connection() -> None:
    spec = here("x86-64-v3")
    layer = conv((24, 40), (9, 7), (3, 3), padding=(1, 1, 1, 1), activation="relu")
    work = workload_of_layer(layer, spec)
    assert work is not None
    work = dataclasses.replace(work, residual=True)
    check_kernel(work, compiled([work], spec).jit()[work.key])


def test_a_knob_of_no_option_is_refused() -> None:
    spec = PRESETS["x86-64-v3"]
    with pytest.raises(KnobError, match="border"):
        plan(workloads(spec)["3 x 3"], Knobs({"border": "painted"}), spec, PLANS)


def _transpose(net: Net, value: str, shape: tuple[int, ...], **attrs: Any) -> str:
    """A transposed convolution of weights (I, O / groups, KH, KW), and a bias."""
    random = np.random.default_rng(len(net.nodes))
    weight = net.const(random.standard_normal(shape).astype(np.float32) / 4)
    bias = net.const(random.standard_normal(shape[1] * attrs.get("group", 1)).astype(np.float32))
    return net.op("ConvTranspose", value, weight, bias, **attrs)


def _every_kind(net: Net) -> str:
    value = net.conv("image", 24, 3, pads=[1] * 4)
    value = net.act(net.norm(net.conv(value, 32, 3, dilations=[2, 2], pads=[2] * 4)), "relu")
    value = net.conv(value, 32, 3, groups=4, pads=[1] * 4, bias=True)
    added = net.conv(value, 32, 3, pads=[1] * 4)
    value = net.act(net.add(added, value), "relu")
    net.channels[value] = 32
    return net.depthwise(value, 3, dilations=[2, 2], pads=[2] * 4)


@pytest.mark.parametrize(
    "attrs",
    [
        {"strides": [2, 2]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 3], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "output_shape": [23, 22]},
        {"strides": [2, 1], "pads": [1, 0, 0, 2], "group": 2},
    ],
    ids=["plain", "padded", "same", "of a size", "grouped"],
)
def test_files_are_right(attrs: dict[str, Any], tmp_path: Path) -> None:
    net = Net((2, 5, 11, 11))
    value = _every_kind(net)
    out = _transpose(net, value, (32, 12 // attrs.get("group", 1), 3, 3), **attrs)
    net.channels[out] = 12
    path = net.save(tmp_path / "net.onnx", net.conv(net.act(out, "relu"), 7, 3))
    x = np.random.default_rng(1).standard_normal((2, 5, 11, 11)).astype(np.float32)
    planned = plan_network(tm.import_onnx(path).model, PRESETS["x86-64-v3"])
    assert [call.work.operator for call in planned.calls] == [
        "conv", *("conv_blocked",) * 3, "depthwise", "conv_transpose", "conv_blocked",
    ]  # fmt: skip
    assert len(planned.steps) == len(planned.calls)
    same(compiled_says(path, x), onnxruntime_says(path, x))

"""Operators that are not ours on a GPU: TVM's rules bind every one of them, and it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from opencl import run_on_opencl
from tvm import relax
from tvm_mobilenet.schedules.tensorir.gpu.fallback import bind_to_threads

from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.emit.relax.legalize_rest import legalize_rest
from tvm_mobilenet.emit.relax.schedule_kernels import schedule_kernels
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.network.planning import unplanned

SHAPE = (2, 6, 9, 13)

OPERATORS: dict[str, Callable[[Any], Any]] = {
    "leaky_relu": lambda x: relax.op.nn.leakyrelu(relax.op.exp(x), 0.1),
    "transpose": lambda x: relax.op.permute_dims(x, (0, 2, 3, 1)),
    "blocks": lambda x: relax.op.permute_dims(relax.op.reshape(x, (2, 3, 2, 117)), (0, 1, 3, 2)),
    "average_pool": lambda x: relax.op.nn.avg_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1)),
    "max_pool": lambda x: relax.op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1)),
    "mean": lambda x: relax.op.mean(x, [1]),
    "sum_of_all": lambda x: relax.op.sum(relax.op.multiply(x, x)),
    "softmax_over_channels": lambda x: relax.op.nn.softmax(x, 1),
    "concatenation": lambda x: relax.op.concat([x, relax.op.sigmoid(x)], 1),
    "resize": lambda x: relax.op.image.resize2d(x, (18, 26), method="linear"),
    "half_of_it": lambda x: relax.op.astype(x, "float16"),
}


def module(operator: Callable[[Any], Any]) -> Any:
    """A network of one operator."""
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(builder.emit(operator(x)))
        builder.emit_func_output(out)
    return builder.get()


def kernels(name: str) -> list[Any]:
    legal = legalize_rest(module(OPERATORS[name]), tvm.target.Target("llvm"))
    return [f for f in legal.functions.values() if not isinstance(f, relax.Function)]


@pytest.mark.parametrize("name", [n for n in OPERATORS if n != "half_of_it"])
@pytest.mark.parametrize("device", ["opencl", "opencl-adreno"])
def test_right_on_a_device(name: str, device: str) -> None:
    target = parse(device)
    for func in kernels(name):
        rng = np.random.default_rng(0)
        inputs = [
            rng.standard_normal([int(n) for n in p.ty.shape]).astype(np.float32)
            for p in func.params[:-1]
        ]
        shape = [int(n) for n in func.params[-1].ty.shape]
        want = tvm.runtime.tensor(np.zeros(shape, np.float32))
        own = func.with_attr("global_symbol", "main")
        tvm.compile(own, tvm.target.Target("llvm"))(*map(tvm.runtime.tensor, inputs), want)
        got = run_on_opencl(bind_to_threads(func, target), target, inputs)
        np.testing.assert_allclose(got, want.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("language", ["sm_90", "metal"])
def test_other_languages_have_their_source(language: str) -> None:
    target = parse(language)
    functions = {
        f"{name}_{number}": bind_to_threads(func, target)
        for name in OPERATORS
        for number, func in enumerate(kernels(name))
    }
    assert set(device_code(functions, target).kernels) == set(functions)


def test_the_report_names_them() -> None:
    target = parse("opencl")
    legal = legalize_rest(module(OPERATORS["max_pool"]), tvm.target.Target(target.tvm_dict()))
    _, found = schedule_kernels(legal, unplanned(mobilenet_v1(), target))
    assert [(kernel.schedule, kernel.source) for kernel in found.values()] == [("tvm", "fallback")]

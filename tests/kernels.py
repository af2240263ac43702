"""Kernels on their own: made from a workload, fed, run, and compared with the reference."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Softmax
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case

Array = NDArray[Any]
DENSE_VECTORS = 8


def blocked_channels(channels: int, lanes: int) -> int:
    """The block that a graph chooses: the lanes, or the next power of two below them."""
    return min(lanes, 1 << (channels - 1).bit_length())


def workload(
    operator: Operator,
    channels: tuple[int, int],
    size: tuple[int, int],
    lanes: int,
    *,
    batch: int = 1,
    kernel: int = 1,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    activation: Activation = "none",
    residual: bool = False,
) -> Workload:
    """A workload from its sizes, blocked for a target of so many lanes."""
    top, left, bottom, right = padding
    height, width = size
    out = (
        (height + top + bottom - kernel) // stride + 1,
        (width + left + right - kernel) // stride + 1,
    )
    in_block, out_block = (blocked_channels(c, lanes) for c in channels)
    if operator in ("conv", "conv_nhwc"):
        in_block = 1
    elif operator == "pool":
        out, out_block = (1, 1), in_block
    elif operator == "dense":
        out_block = min(DENSE_VECTORS, -(-channels[1] // lanes)) * lanes
    return Workload(
        operator, batch, *channels, size, out, in_block, out_block, (kernel, kernel),
        (stride, stride), padding, activation, residual=residual,
    )  # fmt: skip


def fused_pair(
    first: Workload,
    out_channels: int,
    lanes: int,
    activation: Activation = "relu6",
    *,
    residual: bool = False,
) -> Workload:
    """A depthwise workload, and a pointwise one behind it, as one; ReLU6 between them."""
    return dataclasses.replace(
        first, operator="separable", out_channels=out_channels,
        out_block=blocked_channels(out_channels, lanes), mid_activation="relu6",
        activation=activation, residual=residual,
    )  # fmt: skip


def of_model(model: Any, lanes: int) -> dict[str, Workload]:
    """The workloads of a model by their keys."""
    found = {}
    for layer in model.layers:
        operator: Operator
        options: dict[str, Any] = {}
        if isinstance(layer, Conv2d):
            operator = "conv" if layer.kind == "full" else layer.kind
            options = {"kernel": layer.kernel[0], "stride": layer.strides[0]}
            options |= {"padding": layer.padding, "activation": layer.activation}
            out_channels = layer.out_channels
        elif isinstance(layer, GlobalAvgPool):
            operator, out_channels = "pool", layer.in_shape[1]
        elif isinstance(layer, Dense):
            operator, out_channels = "dense", layer.out_features
        else:
            assert isinstance(layer, Softmax)
            operator, out_channels = "softmax", layer.in_shape[1]
        batch, channels, *size = layer.in_shape
        height, width = size or (1, 1)
        work = workload(
            operator, (channels, out_channels), (height, width), lanes, batch=batch, **options
        )
        found[work.key] = work
    return found


def fused_of_model(model: Any, lanes: int) -> dict[str, Workload]:
    """The workloads of a model's separable blocks and of its end, each as one kernel."""
    found = {}
    layers = list(model.layers)
    for first, second in itertools.pairwise(layers):
        if isinstance(first, Conv2d) and first.kind == "depthwise" and first.kernel == (3, 3):
            assert isinstance(second, Conv2d)
            pair = (first.in_shape[1], second.out_channels)
            depthwise = workload(
                "depthwise", pair[:1] * 2, first.in_shape[2:], lanes, batch=first.in_shape[0],
                kernel=3, stride=first.strides[0], padding=first.padding,
            )  # fmt: skip
            work = fused_pair(depthwise, pair[1], lanes, second.activation)
            found[work.key] = work
    last, _, classifier = layers[-4:-1]
    n, channels, *size = last.in_shape
    work = dataclasses.replace(
        workload("pointwise", (channels, last.out_channels), tuple(size), lanes, batch=n),
        operator="tail",
        activation=last.activation,
        classes=classifier.out_features,
        class_block=min(DENSE_VECTORS, -(-classifier.out_features // lanes)) * lanes,
    )
    return found | {work.key: work}


def output_of(case: KernelCase, run: Callable[..., object]) -> Array:
    """What a kernel writes into an output that is all NaN."""
    import tvm

    # TVM 0.19, which the classic stack runs on, has another name for it.
    tensor = getattr(tvm.runtime, "tensor", None) or tvm.nd.array
    tensors = [tensor(array) for array in case.inputs]
    out = tensor(np.full(case.want.shape, np.nan, np.float32))
    run(*tensors, out)
    return np.asarray(out.numpy())


def check_kernel(
    work: Workload, run: Callable[..., object], seed: int = 0, note: object = ""
) -> None:
    """Assert that a kernel is right, in lanes of no channel too."""
    case = kernel_case(work, seed)
    try:
        case.error(output_of(case, run))
    except VerificationError as error:
        raise AssertionError(f"{work.key} {note}: {error}") from error


def compiled(
    works: Sequence[Workload],
    target: TargetSpec,
    knobs_for: Callable[[Workload], Knobs] = lambda _: Knobs(),
) -> Any:
    """Compile the kernels of some workloads together.

    Returns
    -------
    tvm.runtime.Executable
        ``.jit()[work.key]`` is a kernel, ``.mod.inspect_source("asm")`` all of them.
    """
    import tvm
    from tvm_mobilenet.schedules.tensorir.rules import schedule

    from tvm_mobilenet.compute.primfunc import prim_func

    functions = {}
    for work in works:
        done = schedule(prim_func(work), target, knobs_for(work))
        assert done is not None
        functions[work.key] = done.func.with_attr("global_symbol", work.key)
    return tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target.tvm_dict()))


def use_threads(count: int) -> None:
    """Let kernels use `count` threads."""
    from tvm_mobilenet.runtime.threads import use_threads as use
    from tvm_mobilenet.runtime.tvm_library import load_runtime

    use(load_runtime(), count)

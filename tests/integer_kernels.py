"""Kernels in integers on their own: written for a target, run, and compared with NumPy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.written import written

from tvm_mobilenet.machine import TargetSpec, host, host_cpu_features, parse
from tvm_mobilenet.models.quantized.arithmetic import fused_multiply_add
from tvm_mobilenet.operators import packing
from tvm_mobilenet.operators.packing import rows_in_steps, taps_in_steps
from tvm_mobilenet.operators.workload import Workload

Array = NDArray[Any]

NATIVE = "native"


@functools.cache
def target_of(name: str, cores: int = 1) -> TargetSpec:
    """A target that this machine runs; a description is cut to some cores."""
    target = host() if name == NATIVE else parse(name)
    return dataclasses.replace(target, cores=cores)


def skip_unless_here(name: str) -> None:
    """Skip a test of a target that this machine cannot run."""
    if name != NATIVE and not set(parse(name).needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")


def compiled(work: Workload, target: TargetSpec, knobs: dict[str, int | str] | None = None) -> Any:
    """The kernel of a workload as a module of one function, "main"."""
    func = written(work, Knobs(knobs), target).with_attr("global_symbol", "main")
    return tvm.compile(tvm.IRModule({"main": func}), target=tvm.target.Target(target.tvm_dict()))


def ran(
    work: Workload,
    target: TargetSpec,
    inputs: Sequence[Array],
    out: tuple[tuple[int, ...], str],
    knobs: dict[str, int | str] | None = None,
) -> Array:
    """What a kernel makes of its inputs."""
    module = compiled(work, target, knobs)
    result = tvm.runtime.tensor(np.full(out[0], 77, out[1]))
    module(*(tvm.runtime.tensor(np.ascontiguousarray(x)) for x in inputs), result)
    return result.numpy()


def blocked(x: Array, block: int = 16, fill: int = 99) -> Array:
    """(N, C, H, W) in blocks; channels beyond the end hold what nobody may use."""
    return packing.blocked(x, block, fill)


def plain(x: Array, channels: int, size: tuple[int, int]) -> Array:
    """The reverse of :func:`blocked`."""
    n, blocks, _, block = x.shape
    flat = x.transpose(0, 1, 3, 2).reshape(n, blocks * block, *size)
    return flat[:, :channels]


def per_channel(x: Array) -> Array:
    """(C,) as (Cb, 16)."""
    return packing.pack_bias(x, 16)


def rounded(values: Array, limits: tuple[int, int], dtype: str) -> Array:
    """Elements of numbers; not a number is the least."""
    low, high = (np.float32(end) for end in limits)
    return np.rint(np.fmin(np.fmax(values, low), high)).astype(dtype)


def requantized(sums: Array, scale: Array, shift: Array) -> Array:
    """Numbers of sums (N, C, H, W)."""
    along = (-1, 1, 1)
    return np.asarray(fused_multiply_add(sums, scale.reshape(along), shift.reshape(along)))


def filtered(x: Array, weight: Array, work: Workload) -> Array:
    """Sums of a depthwise layer, borders filled with the zero point."""
    top, left, bottom, right = work.padding
    borders = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(x.astype(np.int64), borders, constant_values=work.zero_point)
    (oh, ow), (sh, sw) = work.out_size, work.strides
    total = np.zeros((*x.shape[:2], oh, ow), np.int64)
    for r in range(work.kernel[0]):
        for q in range(work.kernel[1]):
            taps = weight[:, 0, r, q].astype(np.int64)[:, None, None]
            total += padded[:, :, r : r + oh * sh : sh, q : q + ow * sw : sw][:, :, :oh, :ow] * taps
    return total


def windowed(  # noqa: PLR0917  sizes
    operator: str,
    channels: tuple[int, int],
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int, int, int],
    **fields: Any,
) -> Workload:
    """A workload with windows."""
    top, left, bottom, right = padding
    out = (
        (size[0] + top + bottom - kernel[0]) // stride + 1,
        (size[1] + left + right - kernel[1]) // stride + 1,
    )
    fields = {"dtype": "uint8", "limits": (0, 255), "batch": 1} | fields
    return Workload(
        operator=operator,
        in_channels=channels[0],
        out_channels=channels[1],
        in_size=size,
        out_size=out,
        in_block=16,
        out_block=16,
        kernel=kernel,
        strides=(stride, stride),
        padding=padding,
        **fields,
    )


def flat(
    operator: str, channels: int, size: tuple[int, int], *, block: int = 16, **fields: Any
) -> Workload:
    """A workload that goes over a map."""
    own = {"dtype": "uint8", "limits": (0, 255), "batch": 1, "out_size": size}
    if operator in ("quantize", "dequantize"):
        own["in_plain"] = 2 if size == (1, 1) else 4
    fields = own | fields
    return Workload(
        operator=operator,
        in_channels=channels,
        out_channels=channels,
        in_size=size,
        in_block=block,
        out_block=block,
        **fields,
    )


def weights_for(rng: np.random.Generator, shape: tuple[int, ...], passes: int) -> Array:
    """Weights of eight bits, or of nine where they are multiplied in two passes."""
    low, high = (-127, 127) if passes == 1 else (-255, 254)
    kind = np.int8 if passes == 1 else np.int16
    weight = rng.integers(low, high, shape, endpoint=True).astype(kind)
    weight[0], weight[-1] = high, low
    return weight


class Depthwise:
    """Numbers for a depthwise layer whose elements are spread over their range."""

    def __init__(self, work: Workload, rng: np.random.Generator, passes: int | None = None) -> None:
        count, taps = work.in_channels, work.kernel[0] * work.kernel[1]
        shape = (count, 1, *work.kernel)
        self.work, self.passes = work, passes or work.passes
        self.weight = weights_for(rng, shape, self.passes)
        self.scale = (rng.uniform(0.5, 1, count) / (60 * taps**0.5)).astype(np.float32)
        self.shift = np.round(rng.uniform(0, 200, count) * 2**10).astype(np.float32) / 2**10

    def parameters(self) -> list[Array]:
        packed = taps_in_steps(self.weight, 4, self.passes)
        return [packed, per_channel(self.scale), per_channel(self.shift)]

    def numbers(self, x: Array) -> Array:
        return requantized(filtered(x, self.weight, self.work), self.scale, self.shift)


class Pointwise:
    """Numbers for a pointwise layer."""

    def __init__(self, work: Workload, rng: np.random.Generator) -> None:
        shape = (work.out_channels, work.in_channels, 1, 1)
        self.work = work
        self.weight = weights_for(rng, shape, work.passes)
        spread = 100 * work.in_channels**0.5
        self.scale = (rng.uniform(0.5, 1, shape[0]) / spread).astype(np.float32)
        self.shift = np.round(rng.uniform(0, 200, shape[0]) * 2**10).astype(np.float32) / 2**10

    def parameters(self) -> list[Array]:
        packed = rows_in_steps(self.weight, self.work)
        return [packed, per_channel(self.scale), per_channel(self.shift)]

    def numbers(self, x: Array) -> Array:
        sums = np.einsum("oi,nihw->nohw", self.weight[:, :, 0, 0].astype(np.int64), x)
        return requantized(sums, self.scale, self.shift)

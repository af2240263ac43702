"""The two float32 numbers by which integers become elements: a kernel's scale and shift.

A value y = scale * (q - zero_point) of one type is, as an element of another, ``q * s + b`` with
one ratio s of scales and one shift b, in which all zero points and the bias have gone. Whatever
makes q, a sum of products among them, it is an integer of 32 bits, and what a kernel does to it
is ``saturate(round(fused_multiply_add(float32(q), s, b)))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.maps import Pool2d
from tvm_mobilenet.models.quantized.arithmetic import centered
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import Add, GlobalAvgPool, Scale
from tvm_mobilenet.models.tensors import TensorType

Float32 = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]

LARGEST_SUM = 2**31 - 1
"""What a sum of 32 bits holds."""

_SMALLEST = float(np.finfo(np.float32).tiny)
"""Float32 below it is subnormal, which 32-bit NEON takes for 0."""

_SHIFTS_PER_ONE = 2.0**44
"""Shifts are multiples of 2**-44. Where scales are 2**-21 and more, products are such multiples
too, and a sum below 2**9 has 53 bits: a machine without a fused multiply-add computes it in
float64, exactly, and all beyond is clipped (docs/adr/0028)."""


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """What one fused multiply-add makes of an integer.

    Attributes
    ----------
    scale, shift : ndarray
        float32, one number, or one for each output channel: (O,).
    """

    scale: Float32
    shift: Float32


def of_sums(network: QuantizedModel, layer: Weighted, weights: Weights) -> Requantization:
    """Return what follows the sums of a convolution or a dense layer.

    Its sums are of elements as they are stored, borders of a convolution filled with the zero
    point; the shift takes the zero point back. What its activation reads is the result.

    Parameters
    ----------
    weights : mapping of str to ndarray
        By full name: the weight as its record says, the bias as the numbers that it stands for.

    Raises
    ------
    QuantizationError
        If some sum could exceed 32 bits, whatever the input, or a number float32.
    """
    record, source = network.records[layer.name], network.type_of(layer.inputs[0])
    assert record.weight is not None  # QuantizedModel holds every layer with weights to it
    weight = centered(weights[f"{layer.name}.weight"], record.weight)
    weight = weight.reshape(layer.out_shape[1], -1)
    largest = int(np.abs(weight).sum(axis=1).max()) * max(map(abs, source.limits))
    if largest > LARGEST_SUM:
        raise QuantizationError(
            f"a sum of {layer.name!r} can be {largest}, and 32 bits hold {LARGEST_SUM}",
            "leave its record out: it computes in float32",
        )
    unit, zero = _unit(record.before or record.output)
    scale = source.scale[0] * np.asarray(record.weight.scale) / unit
    # By the rounded scale, so that what the multiply-add adds for the zero point is taken back.
    surplus = weight.sum(axis=1) * float(source.zero_point or 0) * scale.astype(np.float32)
    bias = weights[f"{layer.name}.bias"].astype(np.float64)
    return _rounded(layer.name, scale, bias / unit + zero - surplus, largest)


def of_mean(network: QuantizedModel, layer: GlobalAvgPool) -> Requantization:
    """Return what follows the sum over a map's pixels."""
    source, pixels = network.type_of(layer.inputs[0]), math.prod(layer.in_shape[2:])
    unit, zero = _unit(network.type_of(layer.name))
    scale = source.scale[0] / (pixels * unit)
    shift = zero - float(source.zero_point or 0) * source.scale[0] / unit
    return _rounded(layer.name, scale, shift, pixels * max(map(abs, source.limits)))


def of_means(network: QuantizedModel, layer: Pool2d) -> Requantization:
    """Return what follows the sums of windows, of elements less their zero point.

    Returns
    -------
    Requantization
        A scale for each window, (OH, OW): some see less of the map than others.
    """
    rows, columns = ([len(pixels) for pixels in layer.seen(axis)] for axis in (0, 1))
    source, counts = network.type_of(layer.inputs[0]), np.outer(rows, columns)
    unit, zero = _unit(network.type_of(layer.name))
    return _rounded(layer.name, source.scale[0] / (counts * unit), zero, 2**8 * int(counts.max()))


def of_product(network: QuantizedModel, layer: Scale) -> Requantization:
    """Return what follows the product of two elements, each less its zero point."""
    first, second = (network.type_of(name) for name in layer.inputs)
    unit, zero = _unit(network.type_of(layer.name))
    return _rounded(layer.name, first.scale[0] * second.scale[0] / unit, zero, 2**16)


def of_addends(network: QuantizedModel, layer: Add) -> list[Requantization]:
    """Return what follows either addend, the second's without a shift.

    The first's result is what the second's multiply-add is added to. An addend of float32 is
    taken as it is.
    """
    sources = [network.type_of(name) for name in layer.inputs]
    unit, zero = _unit(network.type_of(layer.name))
    scales = [(s.scale[0] if s.quantized else 1.0) / unit for s in sources]
    shift = zero - sum(
        (s.zero_point or 0) * scale for s, scale in zip(sources, scales, strict=True)
    )
    shifts = (shift, 0.0)
    return [_rounded(layer.name, s, b, 2**8) for s, b in zip(scales, shifts, strict=True)]


def of_numbers(network: QuantizedModel, name: str) -> Requantization:
    """Return what makes elements of float32 numbers, which are of any size, and of shares of 1."""
    unit, zero = _unit(network.type_of(name))
    return _rounded(name, 1 / unit, zero, 1)


def _unit(of: TensorType) -> tuple[float, int]:
    """Return what one more means, and which number means 0: float32 is in units of 1."""
    return (of.scale[0], of.zero_point or 0) if of.quantized else (1.0, 0)


def _rounded(name: str, scale: ArrayLike, shift: ArrayLike, largest: int) -> Requantization:
    """Round to float32; refuse what makes of an integer up to `largest` none of 32 bits."""
    scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
    reach = float(np.max(largest * scale + np.abs(shift)))
    if not (reach < LARGEST_SUM and scale.min() >= _SMALLEST and scale.max() < 1 / _SMALLEST):
        raise QuantizationError(
            f"the scales of {name!r} and of what it reads are too far apart: their ratios are "
            f"{scale.min():.3g} to {scale.max():.3g}, their shifts up to {np.abs(shift).max():.3g}",
            "give types whose ranges fit the layer's numbers",
        )
    shift = np.rint(shift * _SHIFTS_PER_ONE) / _SHIFTS_PER_ONE
    return Requantization(scale.astype(np.float32), shift.astype(np.float32))

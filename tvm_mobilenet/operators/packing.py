"""Maps, weights and biases in the order in which kernels read them.

A map is ``(N, ceil(C / c), pixels, c)``: channels in blocks of c, pixels flattened so
that a register tile may cross rows. Weights are ``(ceil(O / c), depth, c)``: one output
block's weights lie as the reduction reads them. Zeros fill up the last block. What one
instruction adds up (four int8, two bfloat16 of an output channel) lies side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tvm_mobilenet.common.bfloat16 import narrowed
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import STEP_BLOCK, Workload

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    import numpy as np
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"


@dataclass(frozen=True, slots=True)
class Affine:
    """The parameters of one layer, batch norm folded into them.

    Attributes
    ----------
    weight : ndarray
        OIHW, a depthwise layer's (C, 1, KH, KW), a dense layer's (O, I); float32.
    bias : ndarray
        (O,), float32.
    slope : ndarray, optional
        (O,), float32: what a PReLU behind it multiplies numbers below 0 by.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: NDArray[np.float32] | None = None


def pack(work: Workload, layers: Sequence[Affine]) -> list[Array]:
    """Return a kernel's parameters as the operator's definition in ``compute/`` lists them.

    Parameters
    ----------
    layers : sequence of Affine
        Those of its layers that have parameters, first to last: none of a pool, a scale
        or a softmax, two of a separable block and of a convolution with its classifier,
        else one.

    Returns
    -------
    list of ndarray
        A weight and a bias for each layer. Biases are float32, weights of the
        workload's dtype; but a classifier behind a pool, which reads no map, keeps float32.
    """
    return OPERATORS[work.operator].pack(work, layers)


def panels(work: Workload, layer: Affine, block: int, depth: int = 0) -> list[Array]:
    """Return a layer's weight and bias, as :func:`pack_weight` and :func:`pack_bias` pack them.

    For kernels that are written weights lie as :func:`rows_in_steps` packs them.
    """
    if work.written:
        return [rows_in_steps(as_stored(layer.weight, work), work), pack_bias(layer.bias, block)]
    weight = pack_weight(layer.weight, block, depth).astype(work.dtype, copy=False)
    return [weight, _biases(layer, block)]


def _biases(layer: Affine, block: int) -> Array:
    """Return packed biases, and behind them packed slopes if the layer has such."""
    import numpy as np

    packed = pack_bias(layer.bias, block)
    return (
        packed if layer.slope is None else np.concatenate([packed, pack_bias(layer.slope, block)])
    )


def filters(work: Workload, layer: Affine) -> list[Array]:
    """Return a depthwise layer's weight and bias; if written as :func:`taps_in_steps`."""
    if work.written:
        weight = taps_in_steps(as_stored(layer.weight, work), work.tap_step)
        return [weight, pack_bias(layer.bias, work.in_block)]
    return panels(work, layer, work.in_block)


def as_stored(numbers: Array, work: Workload) -> Array:
    """Return float32 numbers as a map or weight keeps them: bfloat16 by its bits."""
    if work.dtype == "bfloat16":
        return narrowed(numbers)
    return numbers.astype(work.dtype, copy=False)


def rows_in_steps(weight: Array, work: Workload) -> Array:
    """Pack (O, I, ...) into (ceil(O / 16), taps * passes * depth / step, 16, step).

    Taps are outside, and within each its passes.
    """
    taps, step = math.prod(weight.shape[2:]), work.step
    blocks, block, depth = work.out_blocks, work.out_block, work.depth
    rows = filled(weight.reshape(*weight.shape[:2], taps), (blocks * block, depth, taps))
    rows = rows.transpose(0, 2, 1).reshape(blocks, block, taps, depth // step, step)
    passed = _in_passes(rows.transpose(0, 2, 3, 1, 4), work.passes, 2)
    return passed.reshape(blocks, -1, block, step)


def taps_in_steps(weight: Array, step: int, passes: int = 1) -> Array:
    """Pack (C, 1, KH, KW) into (ceil(C / 16), passes * KH, ceil(KW / step), 16, step)."""
    channels, _, rows, columns = weight.shape
    blocks, steps = -(-channels // STEP_BLOCK), -(-columns // step)
    taps = filled(weight[:, 0], (blocks * STEP_BLOCK, rows, steps * step))
    taps = taps.reshape(blocks, STEP_BLOCK, rows, steps, step)
    return _in_passes(taps.transpose(0, 2, 3, 1, 4), passes, 1)


def _in_passes(weight: Array, passes: int, axis: int) -> Array:
    """Return weights of nine bits as two of int8, one behind the other along an axis."""
    import numpy as np

    if passes == 1:
        return weight.copy()
    return np.concatenate([weight // 2, weight - weight // 2], axis).astype(np.int8)


def blocked(x: Array, block: int, idle: float = 0.0) -> Array:
    """Pack (N, C, ...) into (N, ceil(C / block), pixels, block), `idle` in lanes of no channel."""
    n, channels = x.shape[:2]
    blocks = -(-channels // block)
    shape = (n, blocks * block, math.prod(x.shape[2:]))
    flat = filled(x.reshape(n, channels, -1), shape, idle)
    return _contiguous(flat.reshape(n, blocks, block, -1).transpose(0, 1, 3, 2))


def pack_weight(weight: Array, block: int, depth: int = 0) -> Array:
    """Pack (O, ...) into (ceil(O / block), depth, block).

    Parameters
    ----------
    block : int
        Output channels in a block.
    depth : int
        Length of the kernel's reduction, where zeros fill it up: at least an output
        channel's elements, which is what 0 stands for.
    """
    flat = weight.reshape(len(weight), -1)
    blocks, depth = -(-len(flat) // block), depth or flat.shape[1]
    rows = filled(flat, (blocks * block, depth)).reshape(blocks, block, depth)
    return _contiguous(rows.transpose(0, 2, 1))


def pack_bias(bias: Array, block: int) -> Array:
    """Pack (O,) into (ceil(O / block), block)."""
    blocks = -(-len(bias) // block)
    return filled(bias, (blocks * block,)).reshape(blocks, block)


def pack_classifier(weight: Array, block: int, class_block: int) -> Array:
    """Pack a classifier's weights so that a block of channels is one run of memory.

    Parameters
    ----------
    weight : ndarray
        (classes, channels).
    block, class_block : int
        Channels in a block, classes in a block.

    Returns
    -------
    ndarray
        (ceil(channels / block), ceil(classes / class_block), block, class_block).
    """
    class_blocks, blocks = -(-len(weight) // class_block), -(-weight.shape[1] // block)
    rows = filled(weight, (class_blocks * class_block, blocks * block))
    rows = rows.reshape(class_blocks, class_block, blocks, block)
    return _contiguous(rows.transpose(2, 0, 3, 1))


def filled(array: Array, shape: Sequence[int], idle: float = 0.0) -> Array:
    """Return an array with `idle` at the end of each axis."""
    import numpy as np

    widths = [(0, want - have) for have, want in zip(array.shape, shape, strict=True)]
    return np.pad(array, widths, constant_values=idle)


def _contiguous(array: Array) -> Array:
    import numpy as np

    return np.ascontiguousarray(array)

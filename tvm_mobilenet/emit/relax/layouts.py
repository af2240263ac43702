"""The blocked layouts, written as Relax expressions that convert to and from them.

A map is ``[N, ceil(C / c), H * W, c]``: channels in blocks of c, the last block
zero-padded, pixels flattened so that a register tile may cross rows. Weights are packed
before, by :mod:`tvm_mobilenet.operators.packing`.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te, tirx


def _pad(value: Any, shape: tuple[int, ...], padded: tuple[int, ...]) -> Any:
    """Pad with zeros at the end of each axis."""
    if shape == padded:
        return value
    widths = [w for have, want in zip(shape, padded, strict=True) for w in (0, want - have)]
    return relax.op.nn.pad(value, widths)


def stored(builder: Any, value: Any, dtype: str) -> Any:
    """Return a value of float32 as it is stored."""
    if dtype == "float32":
        return value
    if dtype == "bfloat16":
        return builder.call_te(_narrowed, value, primfunc_name_hint="to_bfloat16")
    return relax.op.astype(value, dtype)


def as_float(builder: Any, value: Any, dtype: str) -> Any:
    """Return a stored value as float32."""
    if dtype == "float32":
        return value
    if dtype == "bfloat16":
        return builder.call_te(_widened, builder.emit(value), primfunc_name_hint="of_bfloat16")
    return relax.op.astype(value, "float32")


def _narrowed(numbers: te.Tensor) -> te.Tensor:
    """Round to the nearest bfloat16, ties to even, as :mod:`tvm_mobilenet.common.bfloat16` does."""

    def element(*at: Any) -> Any:
        bits = tirx.reinterpret("uint32", numbers[at])
        upper = tirx.shift_right(bits, _dword(16))
        last = tirx.bitwise_and(upper, _dword(1))
        nearest = tirx.shift_right(bits + (_dword(0x7FFF) + last), _dword(16))
        quiet = tirx.bitwise_or(upper, _dword(0x40))
        return tirx.Select(tirx.isnan(numbers[at]), quiet, nearest).astype("uint16")

    return te.compute(numbers.shape, element, name="narrowed")


def _widened(bits: te.Tensor) -> te.Tensor:
    def element(*at: Any) -> Any:
        moved = tirx.shift_left(bits[at].astype("uint32"), _dword(16))
        return tirx.reinterpret("float32", moved)

    return te.compute(bits.shape, element, name="widened")


def _dword(value: int) -> Any:
    return tirx.const(value, "uint32")


def to_blocked(
    builder: Any, value: Any, shape: tuple[int, ...], block: int, dtype: str = "float32"
) -> Any:
    """Convert NCHW (or NC, a map of one pixel) to blocks.

    Parameters
    ----------
    builder : BlockBuilder
        In a dataflow block, for what is no operator of Relax.
    value : relax.Expr
        Its shape is `shape`.
    shape : tuple of int
        (N, C, H, W) or (N, C).
    block : int
        Channels in a block.
    dtype : {"float32", "float16", "bfloat16", "int8", "uint8"}
        What the result is stored as.

    Returns
    -------
    relax.Expr
        (N, ceil(C / block), H * W, block).
    """
    value = stored(builder, value, dtype)
    n, channels, *rest = shape
    pixels, blocks = math.prod(rest), -(-channels // block)
    value = relax.op.reshape(value, (n, channels, pixels))
    value = _pad(value, (n, channels, pixels), (n, blocks * block, pixels))
    value = relax.op.reshape(value, (n, blocks, block, pixels))
    return relax.op.permute_dims(value, (0, 1, 3, 2))


def from_blocked(
    builder: Any, value: Any, shape: tuple[int, ...], block: int, dtype: str = "float32"
) -> Any:
    """Convert blocks back to NCHW or NC, float32; the inverse of :func:`to_blocked`."""
    n, channels, *rest = shape
    pixels, blocks = math.prod(rest), -(-channels // block)
    value = relax.op.permute_dims(value, (0, 1, 3, 2))
    value = relax.op.reshape(value, (n, blocks * block, pixels))
    if blocks * block != channels:
        value = relax.op.strided_slice(value, axes=[1], begin=[0], end=[channels])
    value = relax.op.reshape(value, shape)
    return as_float(builder, value, dtype)

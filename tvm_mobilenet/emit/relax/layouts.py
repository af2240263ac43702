"""The blocked layouts, written as Relax expressions that convert to and from them.

A map is ``[N, ceil(C / c), H * W, c]``: channels in blocks of c, the last block
zero-padded, pixels flattened so that a register tile may cross rows. Weights are packed
before, by :mod:`tvm_mobilenet.operators.packing`.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax


def _pad(value: Any, shape: tuple[int, ...], padded: tuple[int, ...]) -> Any:
    """Pad with zeros at the end of each axis."""
    if shape == padded:
        return value
    widths = [w for have, want in zip(shape, padded, strict=True) for w in (0, want - have)]
    return relax.op.nn.pad(value, widths)


def stored(value: Any, dtype: str) -> Any:
    """Return a value as it is stored; nothing to do for float32."""
    return value if dtype == "float32" else relax.op.astype(value, dtype)


def to_blocked(value: Any, shape: tuple[int, ...], block: int, dtype: str = "float32") -> Any:
    """Convert NCHW (or NC, a map of one pixel) to blocks.

    Parameters
    ----------
    value : relax.Expr
        Its shape is `shape`.
    shape : tuple of int
        (N, C, H, W) or (N, C).
    block : int
        Channels in a block.
    dtype : {"float32", "float16"}
        What the result is stored as.

    Returns
    -------
    relax.Expr
        (N, ceil(C / block), H * W, block).
    """
    value = stored(value, dtype)
    n, channels, *rest = shape
    pixels, blocks = math.prod(rest), -(-channels // block)
    value = relax.op.reshape(value, (n, channels, pixels))
    value = _pad(value, (n, channels, pixels), (n, blocks * block, pixels))
    value = relax.op.reshape(value, (n, blocks, block, pixels))
    return relax.op.permute_dims(value, (0, 1, 3, 2))


def from_blocked(value: Any, shape: tuple[int, ...], block: int, dtype: str = "float32") -> Any:
    """Convert blocks back to NCHW or NC, float32; the inverse of :func:`to_blocked`."""
    n, channels, *rest = shape
    pixels, blocks = math.prod(rest), -(-channels // block)
    value = relax.op.permute_dims(value, (0, 1, 3, 2))
    value = relax.op.reshape(value, (n, blocks * block, pixels))
    if blocks * block != channels:
        value = relax.op.strided_slice(value, axes=[1], begin=[0], end=[channels])
    value = relax.op.reshape(value, shape)
    return value if dtype == "float32" else relax.op.astype(value, "float32")

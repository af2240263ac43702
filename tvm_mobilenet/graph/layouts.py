"""The blocked layouts, written as Relax expressions that convert to and from them.

A map is ``[N, ceil(C / c), H * W, c]``: channels in blocks of c, the last block
zero-padded, pixels flattened so that a register tile may cross rows. Weights are
``[ceil(O / c), depth, c]``: one output block's weights lie in the order in which
the reduction reads them.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from tvm_mobilenet.target import Dtype


def shape_of(expr: Any) -> tuple[int, ...]:
    """Return the shape of a tensor expression."""
    return tuple(int(size) for size in expr.ty.shape)


def _pad(value: Any, shape: tuple[int, ...], padded: tuple[int, ...]) -> Any:
    """Pad with zeros at the end of each axis."""
    if shape == padded:
        return value
    widths = [w for have, want in zip(shape, padded, strict=True) for w in (0, want - have)]
    return relax.op.nn.pad(value, widths)


def stored(value: Any, dtype: Dtype) -> Any:
    """Return a value as it is stored; nothing to do for float32."""
    return value if dtype == "float32" else relax.op.astype(value, dtype)


def to_blocked(value: Any, shape: tuple[int, ...], block: int, dtype: Dtype = "float32") -> Any:
    """Convert NCHW (or NC, a map of one pixel) to blocks.

    Parameters
    ----------
    value : relax.Expr
        Of `shape`.
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


def from_blocked(value: Any, shape: tuple[int, ...], block: int, dtype: Dtype = "float32") -> Any:
    """Convert blocks back to NCHW or NC, float32; the inverse of :func:`to_blocked`."""
    n, channels, *rest = shape
    pixels, blocks = math.prod(rest), -(-channels // block)
    value = relax.op.permute_dims(value, (0, 1, 3, 2))
    value = relax.op.reshape(value, (n, blocks * block, pixels))
    if blocks * block != channels:
        value = relax.op.strided_slice(value, axes=[1], begin=[0], end=[channels])
    value = relax.op.reshape(value, shape)
    return value if dtype == "float32" else relax.op.astype(value, "float32")


def pack_weight(  # noqa: PLR0917  a weight, and the sizes of its packed form
    value: Any, out_channels: int, steps: int, depth: int, block: int, dtype: Dtype = "float32"
) -> Any:
    """Pack weights for a kernel.

    Parameters
    ----------
    value : relax.Expr
        (O, ...) with `steps` elements behind each output channel.
    out_channels, steps : int
    depth : int
        Length of the kernel's reduction, at least `steps`; zeros fill it up.
    block : int
        Output channels in a block.
    dtype : {"float32", "float16"}
        What the result is stored as.

    Returns
    -------
    relax.Expr
        (ceil(O / block), depth, block).
    """
    blocks = -(-out_channels // block)
    value = relax.op.reshape(value, (out_channels, steps))
    value = _pad(value, (out_channels, steps), (blocks * block, depth))
    value = relax.op.reshape(value, (blocks, block, depth))
    return stored(relax.op.permute_dims(value, (0, 2, 1)), dtype)


def pack_bias(value: Any, out_channels: int, block: int) -> Any:
    """Pack a bias of O elements to (ceil(O / block), block)."""
    blocks = -(-out_channels // block)
    value = relax.op.reshape(value, (out_channels,))
    value = _pad(value, (out_channels,), (blocks * block,))
    return relax.op.reshape(value, (blocks, block))


def pack_classifier(value: Any, shape: tuple[int, int], block: int, class_block: int) -> Any:
    """Pack a classifier's weights so that a block of channels is one run of memory.

    Parameters
    ----------
    value : relax.Expr
        Of `shape`.
    shape : tuple of int
        (channels, classes).
    block, class_block : int
        Channels in a block, classes in a block.

    Returns
    -------
    relax.Expr
        (ceil(channels / block), ceil(classes / class_block), block, class_block).
    """
    blocks, class_blocks = -(-shape[0] // block), -(-shape[1] // class_block)
    value = _pad(value, shape, (blocks * block, class_blocks * class_block))
    value = relax.op.reshape(value, (blocks, block, class_blocks, class_block))
    return relax.op.permute_dims(value, (0, 2, 1, 3))

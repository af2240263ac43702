"""Weights in the order in which kernels read them; the same as Relax's phase 4 and 5 make."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def pack_weight(weight: NDArray[Any], depth: int, block: int) -> Float32:
    """Pack weights (O, ...) to (ceil(O / block), depth, block), zeros filling them up.

    Parameters
    ----------
    weight : ndarray
        OIHW, (O, 1, KH, KW) or (O, I).
    depth : int
        Length of the kernel's reduction.
    block : int
        Output channels in a block.
    """
    flat = weight.reshape(len(weight), -1)
    blocks = -(-len(flat) // block)
    padded = np.zeros((blocks * block, depth), np.float32)
    padded[: len(flat), : flat.shape[1]] = flat
    return np.ascontiguousarray(padded.reshape(blocks, block, depth).transpose(0, 2, 1))


def pack_bias(bias: NDArray[Any], block: int) -> Float32:
    """Pack a bias (O,) to (ceil(O / block), block)."""
    padded = np.zeros(-(-bias.size // block) * block, np.float32)
    padded[: bias.size] = bias
    return padded.reshape(-1, block)

"""Branches of a training network that are one convolution: MobileOne as timm publishes it.

A block sums convolutions of one kernel (``conv_kxk.N``), one of a single tap (``conv_scale``)
and its input (``identity``), each behind a batch norm of its own. All are linear, so that their
sum is a convolution with a bias, ``reparam_conv`` (arXiv 2206.04040, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import WeightsError

Arrays = dict[str, NDArray[Any]]

_FIRST = ".conv_kxk.0.conv.weight"
_BRANCHES = (".conv_kxk.", ".conv_scale.", ".identity.")


def without_branches(arrays: Mapping[str, NDArray[Any]], epsilon: float, where: str) -> Arrays:
    """Return a file's arrays, every block's branches summed where it has some.

    Parameters
    ----------
    epsilon : float
        What every branch's batch norm adds to its variance; a state dict does not say.
    where : str
        Name of the source in messages.

    Raises
    ------
    WeightsError
        A branch lacks a part, or has the shape of another block's.
    """
    found = {name: array for name, array in arrays.items() if not _of_branch(name)}
    for name, first in arrays.items():
        if not name.endswith(_FIRST):
            continue
        block = name.removesuffix(_FIRST)
        try:
            weight, bias = _summed(arrays, block, np.shape(first), epsilon)
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{where}: the branches of {block!r} do not make one convolution: {error}",
                "give a whole state dict, or one that was reparameterised",
            ) from error
        found[f"{block}.reparam_conv.weight"] = weight
        found[f"{block}.reparam_conv.bias"] = bias
    return found


def _of_branch(name: str) -> bool:
    return any(branch in name for branch in _BRANCHES)


def _summed(
    arrays: Mapping[str, NDArray[Any]], block: str, shape: tuple[int, ...], epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight and bias of a block, summed in float64 and rounded once."""
    weight, bias = np.zeros(shape), np.zeros(shape[0])
    branches = [
        name.removesuffix(".conv.weight")
        for name in arrays
        if name.startswith(f"{block}.conv_") and name.endswith(".conv.weight")
    ]
    for branch in branches:
        scale, offset = _batch_norm(arrays, f"{branch}.bn", epsilon)
        taps = arrays[f"{branch}.conv.weight"].astype(np.float64)
        weight += _centred(taps, shape) * scale[:, None, None, None]
        bias += offset
    if f"{block}.identity.weight" in arrays:
        scale, offset = _batch_norm(arrays, f"{block}.identity", epsilon)
        outputs = np.arange(shape[0])
        weight[outputs, outputs % shape[1], shape[2] // 2, shape[3] // 2] += scale
        bias += offset
    return weight.astype(np.float32), bias.astype(np.float32)


def _centred(taps: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a kernel of one tap in the middle of zeros; one of the shape as it is."""
    if taps.shape == shape or taps.shape != (*shape[:2], 1, 1):
        return taps
    rows, columns = shape[2] // 2, shape[3] // 2
    return np.pad(taps, [(0, 0), (0, 0), (rows, rows), (columns, columns)])


def _batch_norm(
    arrays: Mapping[str, NDArray[Any]], name: str, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a batch norm multiplies by and what it adds."""
    gamma, beta, mean, variance = (
        arrays[f"{name}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale

"""The images that a network is calibrated with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import InputError, QuantizationError

FEWEST = 4
"""Images below which ranges say more of the images than of the network."""


def sampled(sources: Sequence[Any], most: int, seed: int) -> list[Any]:
    """Return at most so many of some images, in their order, the same ones for a seed.

    Raises
    ------
    QuantizationError
        There are too few.
    """
    if len(sources) < FEWEST:
        raise QuantizationError(
            f"{len(sources)} images are too few to calibrate with",
            f"give at least {FEWEST}; 32 to 128 that look like those of the task are good",
        )
    if most < FEWEST:
        raise QuantizationError(
            f"{most} samples are too few to calibrate with", f"ask for at least {FEWEST}"
        )
    if len(sources) <= most:
        return list(sources)
    chosen = random.Random(seed).sample(range(len(sources)), most)
    return [sources[at] for at in sorted(chosen)]


def batches(
    images: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: str = "float32"
) -> list[NDArray[Any]]:
    """Return inputs of a network's shape, NCHW; images go round until the last batch is full.

    Raises
    ------
    InputError
        One is no image of that shape, (C, H, W) or (1, C, H, W).
    QuantizationError
        Pixels are asked for, which are uint8, and an image is something else.
    """
    each = [_one(image, shape[1:], dtype) for image in images]
    count = -(-len(each) // shape[0])
    full = [each[at % len(each)] for at in range(count * shape[0])]
    return [np.concatenate(full[at : at + shape[0]]) for at in range(0, len(full), shape[0])]


def _one(image: NDArray[Any], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    try:
        given = np.asarray(image)
        if dtype not in ("float32", given.dtype):
            raise QuantizationError(
                f"pixels are to be calibrated with, and an image is {given.dtype}",
                f"give {dtype} arrays of 0 to 255",
            )
        found = np.asarray(given, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"an image is not an array of numbers: {error}") from error
    if found.shape not in {shape, (1, *shape)}:
        raise InputError(f"an image has shape {found.shape}", f"give shape {shape}")
    return found.reshape(1, *shape)


def check_looks(images: Sequence[NDArray[Any]]) -> None:
    """Refuse images that say nothing: each of one colour."""
    if all(not np.ptp(image, axis=(-2, -1)).any() for image in images):
        raise QuantizationError(
            "every image is of one colour, as the network would see it",
            "give photographs such as it will see, and look at --preprocess",
        )

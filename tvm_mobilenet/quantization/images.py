"""The images that a network is calibrated with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import QuantizationError

FEWEST = 4
"""Images below which ranges say more of the images than of the network."""

Load = Callable[[Any], "NDArray[Any]"]


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
    if len(sources) <= most:
        return list(sources)
    chosen = random.Random(seed).sample(range(len(sources)), most)
    return [sources[at] for at in sorted(chosen)]


def batches(
    images: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: str = "float32"
) -> list[NDArray[Any]]:
    """Return inputs of a network's shape, NCHW; images go round until the last batch is full."""
    each = [np.asarray(image, dtype).reshape(1, *shape[1:]) for image in images]
    count = -(-len(each) // shape[0])
    full = [each[at % len(each)] for at in range(count * shape[0])]
    return [np.concatenate(full[at : at + shape[0]]) for at in range(0, len(full), shape[0])]


def check_looks(images: Sequence[NDArray[Any]], recipe: Mapping[str, Any]) -> None:
    """Refuse images that say nothing: all of one colour, or all the same.

    Parameters
    ----------
    recipe : mapping
        What they went through, which the error names.
    """
    if all(not np.ptp(image, axis=(-2, -1)).any() for image in images):
        raise QuantizationError(
            f"every image is of one colour after preprocessing (crop {recipe.get('crop')})",
            "give photographs such as the network will see",
        )

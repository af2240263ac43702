"""A network that normalises its images becomes one that takes their pixels.

``(pixel / scale - mean) / std`` in front of a convolution is linear, so that it goes into the
convolution's weights and bias. Only where its padding stood for 0 there now stand pixels of the
colour ``scale * mean``, which is none of 256 in general.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.pixels import EDGE, MOST, Pixels
from tvm_mobilenet.models.spec import INPUT, Conv2d, Model

Weights = Mapping[str, NDArray[Any]]

PIXELS = f"{INPUT}.pixels"
"""Name of the layer that frames an image."""

NORMALIZED = ("scale", "mean", "std")
"""What of a recipe goes into the first convolution."""

COLOURS = 3
"""Channels of an image."""


def of_pixels(
    model: Model, weights: Weights, recipe: Mapping[str, Any]
) -> tuple[Model, dict[str, NDArray[Any]]]:
    """Return a network that computes of pixels what `model` does of what a recipe makes of them.

    Parameters
    ----------
    recipe : mapping
        See :mod:`tvm_mobilenet.runtime.recipe`; of it :data:`NORMALIZED` count.

    Returns
    -------
    Model
        Its input is uint8. Its first convolution has a bias and no padding, and reads
        :data:`PIXELS`, which is :class:`Pixels`.
    dict of str to ndarray
        Its parameters.

    Raises
    ------
    QuantizationError
        It does not begin with one convolution of three channels, or its padding stands for no
        colour.
    """
    first = _first_convolution(model)
    mean, std = (np.asarray(recipe[key], np.float64) for key in ("mean", "std"))
    colour = float(recipe["scale"]) * mean
    if not (np.all(colour >= 0) and np.all(colour <= MOST)):
        raise QuantizationError(
            f"padding stands for pixels of {', '.join(f'{c:g}' for c in colour)}, and pixels are "
            "from 0 to 255",
            "give a preprocessing whose mean is a colour, or leave the input in float32",
        )
    shape = model.input_shape
    pixels = Pixels(PIXELS, (INPUT,), shape, first.padding, (*colour.tolist(), EDGE))
    conv = dataclasses.replace(
        first,
        inputs=(PIXELS,),
        in_shape=pixels.out_shape,
        padding=(0, 0, 0, 0),
        bias=True,
        batch_norm=None,
    )
    weight, bias = without_batch_norm(first, weights)
    weight /= (float(recipe["scale"]) * std)[:, None, None]
    bias -= np.einsum("ocyx,c->o", weight, colour)
    found = {name: np.asarray(weights[name]) for name in model.parameters}
    for name in first.parameters:
        del found[name]
    last = np.zeros_like(weight[:, :1])
    found[f"{first.name}.weight"] = np.concatenate([weight, last], axis=1).astype(np.float32)
    found[f"{first.name}.bias"] = bias.astype(np.float32)
    layers = [pixels, *(conv if layer is first else layer for layer in model.layers)]
    return dataclasses.replace(model, layers=tuple(layers), input_dtype="uint8"), found


def _first_convolution(model: Model) -> Conv2d:
    first, *others = (layer for layer in model.layers if INPUT in layer.inputs)
    full = isinstance(first, Conv2d) and (first.groups, first.in_channels) == (1, COLOURS)
    if isinstance(first, Conv2d) and full and not others:
        return first
    raise QuantizationError(
        f"{model.title} does not begin with one convolution of {COLOURS} channels, so that there "
        "is none for mean and deviation to go into",
        "leave the input in float32",
    )

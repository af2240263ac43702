"""From a model and images to a network in integers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.common.lists import check_one_of
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.quantization.images import batches, check_looks, sampled
from tvm_mobilenet.quantization.pixels import of_pixels
from tvm_mobilenet.quantization.post_training import QuantizationReport, post_training
from tvm_mobilenet.quantization.ranges import METHODS, Method
from tvm_mobilenet.runtime.images import find_images
from tvm_mobilenet.runtime.preprocess import load_image
from tvm_mobilenet.runtime.recipe import bytes_of, preprocess_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.compilation.options import ModelLike, WeightsLike

SAMPLES = 64
"""Images that are calibrated with at most."""


def quantize(
    model: ModelLike,
    images: str | os.PathLike[str] | Sequence[NDArray[Any]],
    *,
    weights: WeightsLike | None = None,
    seed: int = 0,
    preprocess: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    method: Method = "mse",
    keep: Collection[str] = (),
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    samples: int = SAMPLES,
    pixels: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Network, QuantizationReport]:
    """Quantise a model after training, by what it computes for some images.

    Weights get a scale for each output channel, values one each; biases are corrected by what
    quantising moves the mean of their sums by, in one pass over the network.

    Parameters
    ----------
    model : Model, Imported, Network or path-like
        As for :func:`tvm_mobilenet.compile`.
    images : path-like, or sequence of ndarray
        A folder of images; or inputs as the network takes them, (C, H, W) float32; with
        `pixels` uint8.
    weights, preprocess
        As for :func:`tvm_mobilenet.compile`.
    seed : int
        Decides random weights, and which images are taken where there are more than `samples`.
    method : {"mse", "minmax", "percentile"}
        How ranges are chosen: by least squared error, extremes, or without one number in 10,000
        at either end.
    keep : collection of str
        Layers that compute in float32.
    min_sqnr : float, optional
        Least signal-to-quantisation-noise ratio of the logits, dB: layers that lose most stay in
        float32 until it is reached.
    min_agreement : float, optional
        The same for the share of images whose first class stays, 0 to 1.
    samples : int
        Images at most.
    pixels : bool
        Whether the network shall take pixels as they are, uint8 from 0 to 255: the
        preprocessing's mean and deviation go into its first convolution.
    told : callable, optional
        Told in a few words what is being done.

    Returns
    -------
    Network
        For :func:`tvm_mobilenet.compile`.
    QuantizationReport
        What it cost, layer by layer.

    Raises
    ------
    QuantizationError
        Too few images, none that says anything, a value that is not finite, a layer to keep that
        is not there, a budget that cannot be met, or pixels for a network that does not begin
        with a convolution of three colours.
    ImageError, PreprocessError
        An image cannot be read.
    UnknownModelError, InvalidModelError, OnnxError, WeightsError
        As of :func:`tvm_mobilenet.compile`.
    """
    check_one_of(method, METHODS, "method", QuantizationError)
    network = network_from(model, weights, seed)
    made = network.model
    if made.input_dtype != "float32" or len(made.input_shape) != 4:
        raise QuantizationError(
            f"the input of {made.title} is {made.input_dtype} of shape {made.input_shape}",
            "quantise a network that takes float32 images, NCHW",
        )
    recipe = preprocess_for(made.image_size, preprocess, network.preprocess)
    if pixels:
        found, weights = of_pixels(made, network.weights, recipe)
        recipe = bytes_of(recipe)
        network = dataclasses.replace(network, model=found, weights=weights, preprocess=recipe)
    read = _read(images, recipe, samples, seed, told)
    if pixels:
        _check_bytes(read)
    return post_training(
        network,
        batches(read, made.input_shape, network.model.input_dtype),
        method=method,
        keep=keep,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        told=told,
    )


def _read(
    images: str | os.PathLike[str] | Sequence[NDArray[Any]],
    recipe: Mapping[str, Any],
    samples: int,
    seed: int,
    told: Callable[[str], None],
) -> list[NDArray[Any]]:
    """Return images as the network takes them, each decoded once."""
    if not isinstance(images, str | os.PathLike):
        return sampled(images, samples, seed)
    if not os.path.isdir(images):
        raise QuantizationError(f"{os.fspath(images)!r} is no folder", "give a folder of images")
    told("reading images")
    chosen = sampled(find_images([os.fspath(images)]), samples, seed)
    found = [load_image(source.content, recipe) for source in chosen]
    check_looks(found, recipe)
    return found


def _check_bytes(images: Sequence[NDArray[Any]]) -> None:
    if kinds := sorted({str(np.asarray(x).dtype) for x in images} - {"uint8"}):
        raise QuantizationError(
            f"pixels are to be calibrated with, and images are {', '.join(kinds)}",
            "give uint8 arrays of 0 to 255",
        )

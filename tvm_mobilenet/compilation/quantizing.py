"""From a model and images to a network in integers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from tvm_mobilenet.common.lists import check_one_of
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.network import KEPT_AS, KeptAs, Network, network_from
from tvm_mobilenet.models.quantized.pixels import NORMALIZED, of_pixels
from tvm_mobilenet.quantization.budget import Budget
from tvm_mobilenet.quantization.images import batches, check_looks, sampled
from tvm_mobilenet.quantization.post_training import CHOICES, Choice, post_training
from tvm_mobilenet.quantization.progress import Progress, silent, told
from tvm_mobilenet.quantization.report import QuantizationReport
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
    method: Choice = "auto",
    keep: Collection[str] = (),
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    keep_as: KeptAs = "auto",
    samples: int = SAMPLES,
    pixels: bool = False,
    progress: Progress = silent,
) -> tuple[Network, QuantizationReport]:
    """Quantise a model after training, by what it computes for some images.

    Weights get a scale for each output channel, values one each; biases are corrected by what
    quantising moves the mean of their sums by.

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
    method : {"auto", "mse", "average", "minmax", "percentile"}
        How ranges are chosen: by least squared error, the mean of the images' extremes, the
        extremes of all, or without one number in 10,000 at either end. ``"auto"`` tries the first
        two and takes what leaves more decibels to the logits.
    keep : collection of str
        Layers that compute in floating-point.
    min_sqnr : float, optional
        Least signal-to-quantisation-noise ratio of the logits, dB: layers that hurt most stay in
        floating-point, as few as reach it of those tried.
    min_agreement : float, optional
        The same for the share of images whose first class stays, 0 to 1; then all images are
        judged, else 16 of them.
    keep_as : {"auto", "bfloat16", "float32"}
        What those layers are stored as. ``"auto"`` is bfloat16 where the target that the network
        is compiled for multiplies it, else float32; what it costs is measured in bfloat16, and
        in float32 if only that keeps within the budget.
    samples : int
        Images at most.
    pixels : bool
        Whether the network shall take pixels as they are, uint8 from 0 to 255: the
        preprocessing's mean and deviation go into its first convolution.
    progress : callable, optional
        Told of steps done, of steps in all, and in a few words what is being done.

    Returns
    -------
    Network
        For :func:`tvm_mobilenet.compile`.
    QuantizationReport
        What it cost, layer by layer.

    Raises
    ------
    InputError
        An array is no image of the network's shape.
    QuantizationError
        Too few images, none that says anything, a value that is not finite, a layer to keep that
        is not there, a budget that cannot be met, or pixels for a network that does not begin
        with a convolution of three colours.
    ImageError, PreprocessError
        An image cannot be read.
    UnknownModelError, InvalidModelError, OnnxError, WeightsError
        As of :func:`tvm_mobilenet.compile`.
    """
    check_one_of(method, CHOICES, "method", QuantizationError)
    check_one_of(keep_as, KEPT_AS, "keep_as", QuantizationError)
    budget = Budget(min_sqnr, min_agreement)
    network = network_from(model, weights, seed)
    made = network.model
    if made.input_dtype != "float32" or len(made.input_shape) != 4:
        raise QuantizationError(
            f"the input of {made.title} is {made.input_dtype} of shape {made.input_shape}",
            "quantise a network that takes float32 images, NCHW",
        )
    recipe = preprocess_for(made.image_size, preprocess, network.preprocess)
    if pixels:
        found, arrays = of_pixels(made, network.weights, recipe)
        normalized = {key: recipe[key] for key in NORMALIZED}
        recipe = bytes_of(recipe)
        network = dataclasses.replace(
            network, model=found, weights=arrays, preprocess=recipe, pixels=normalized
        )
    if isinstance(images, str | os.PathLike):
        read = _read(images, recipe, (samples, seed), progress)
    else:
        read = sampled(images, samples, seed)
    inputs = batches(read, made.input_shape, network.model.input_dtype)
    check_looks(inputs)
    # Products of a layer's size lose more to the handing out of work than threads gain.
    with threadpool_limits(1, "blas"):
        return post_training(
            network,
            inputs,
            method=method,
            keep=keep,
            budget=budget,
            keep_as=keep_as,
            progress=progress,
        )


def _read(
    folder: str | os.PathLike[str],
    recipe: Mapping[str, Any],
    sample: tuple[int, int],
    progress: Progress,
) -> list[NDArray[Any]]:
    """Return images as the network takes them, each decoded once."""
    if not os.path.isdir(folder):
        raise QuantizationError(f"{os.fspath(folder)!r} is no folder", "give a folder of images")
    chosen = sampled(find_images([os.fspath(folder)]), *sample)
    return [load_image(source.content, recipe) for source in told(chosen, progress, "reading")]

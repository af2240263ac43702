"""Seeded weights under which a network behaves like a trained one.

Plain random weights let deep networks die, saturate, or map every image to the
same output, and then a comparison against the reference shows nothing. Here
the mean and variance of every channel are followed through the network while
its weights are drawn, and batch norm gets the statistics that a training run
would have measured. After every layer some channels are cut at 0, a few at 6,
and the deviation between pixels stays of the order of one.

The spread is deliberate: batch norm with beta / gamma = 0 would amplify a
rounding error by sqrt(pi / (pi - 1)) = 1.21 per ReLU layer, 170 times over 27
layers; with a ratio of 1 it is about 1.06 per layer.
"""

from __future__ import annotations

from functools import singledispatch
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.layers import LpNormalization, Weighted
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)

if TYPE_CHECKING:
    from numpy.random import Generator

Float64 = NDArray[np.float64]
Drawn = dict[str, Float64]

LOGIT_DEVIATION = 2.5
"""Deviation of the classifier's outputs: the best of 1000 classes then gets about a tenth.

Between images the outputs differ by a tenth of that, which is not enough to change the
best class. Centred outputs would differ more, but so would float32 rounding."""

_QUANTILES = 64

_FOLDED_EPSILON = 1e-5
"""Added to the variance by the batch norm that a trained layer would have inside its bias."""

_VARIES = 1e-12
"""Variance above which a map is no vector, such as squeeze-and-excite reads; rounding is less."""


class Moments(NamedTuple):
    """Expected mean and variance of every channel, both (C,)."""

    mean: Float64
    variance: Float64


def initialize(model: Model, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Draw weights for a model.

    Convolutions are He-normal (He et al., 2015, arXiv 1502.01852); batch-norm
    statistics follow from them, for an input whose channels have mean 0 and
    variance 1/3, as pixels scaled to [-1, 1] have.

    Parameters
    ----------
    model : Model
        The model; its resolution, batch and padding do not change the weights.
    seed : int
        The same seed gives the same weights on every machine.

    Returns
    -------
    dict of str to ndarray
        Arrays of float32, one for each of ``model.parameters``, in their order.

    Raises
    ------
    InvalidModelError
        If a layer is of a kind that is not known here.
    """
    rng = np.random.default_rng(seed)
    channels = model.input_shape[1]
    moments = {INPUT: Moments(np.zeros(channels), np.full(channels, 1 / 3))}
    drawn: Drawn = {}
    for layer in model.layers:
        moments[layer.name] = _draw(layer, rng, drawn, *(moments[name] for name in layer.inputs))
    return {name: drawn[name].astype(np.float32) for name in model.parameters}


@singledispatch
def _draw(layer: Layer, _rng: Generator, _drawn: Drawn, *_inputs: Moments) -> Moments:
    """Add the parameters of one layer to those drawn; return the moments behind it."""
    raise InvalidModelError(f"cannot initialise {type(layer).__name__} {layer.name!r}")


@_draw.register(Conv2d)
def _conv2d(layer: Conv2d, rng: Generator, drawn: Drawn, before: Moments) -> Moments:
    shape, channels = layer.weight_shape, layer.out_channels
    varies = bool(before.variance.max() > _VARIES)
    deviation = np.sqrt(2.0 / int(np.prod(shape[1:])))
    if layer.activation == "sigmoid" and not varies:
        # A gate that is shut for good leaves a map that the next batch norm blows up.
        deviation = _rounded(np.asarray(1 / _length(before)))
    weight = rng.normal(0.0, deviation, shape)
    drawn[f"{layer.name}.weight"] = weight

    # Taps of a channel summed, then input channels of the group: (G, O/G, C/G).
    groups = (layer.groups, channels // layer.groups, shape[1])
    mean = _through(weight.sum(axis=(2, 3)).reshape(groups), before.mean)
    variance = _through((weight**2).sum(axis=(2, 3)).reshape(groups), before.variance)
    found = Moments(mean, variance)
    if layer.bias and layer.batch_norm is None and varies:
        return _activated(layer.activation, _folded_batch_norm(layer, rng, drawn, found))
    return _finished(layer, rng, drawn, found)


@_draw.register(Dense)
def _dense(layer: Dense, rng: Generator, drawn: Drawn, before: Moments) -> Moments:
    deviation = LOGIT_DEVIATION / _length(before)
    weight = rng.normal(
        0.0, _rounded(np.asarray(deviation)), (layer.out_features, before.mean.size)
    )
    drawn[f"{layer.name}.weight"] = weight
    found = Moments(weight @ before.mean, weight**2 @ before.variance)
    return _finished(layer, rng, drawn, found)


def _finished(layer: Weighted, rng: Generator, drawn: Drawn, sums: Moments) -> Moments:
    """Draw what follows the sums of a layer's products; return the moments behind it."""
    if layer.bias:
        bias = rng.normal(0.0, 0.1, sums.mean.size)
        drawn[f"{layer.name}.bias"] = bias
        sums = Moments(sums.mean + bias, sums.variance)
    if layer.batch_norm is not None:
        norm = _batch_norm(rng, sums)
        for part, values in norm._asdict().items():
            drawn[f"{layer.name}.bn.{part}"] = values
        sums = norm.behind(layer.batch_norm)
    return _activated(layer.activation, sums)


class _BatchNorm(NamedTuple):
    """Its parameters, (C,) each."""

    gamma: Float64
    beta: Float64
    mean: Float64
    variance: Float64

    def behind(self, epsilon: float) -> Moments:
        return Moments(self.beta, self.gamma**2 * self.variance / (self.variance + epsilon))


def _batch_norm(rng: Generator, sums: Moments) -> _BatchNorm:
    # Sums differ in their last bits between machines; rounded they do not.
    mean, variance = _rounded(sums.mean), _rounded(sums.variance)
    gamma = rng.uniform(1.5, 2.5, mean.size)
    return _BatchNorm(gamma, rng.normal(2.0, 0.5, mean.size), mean, variance)


def _folded_batch_norm(layer: Conv2d, rng: Generator, drawn: Drawn, sums: Moments) -> Moments:
    """Scale a drawn weight and draw a bias as if training had left a batch norm to be folded."""
    norm = _batch_norm(rng, sums)
    scale = norm.gamma / np.sqrt(norm.variance + _FOLDED_EPSILON)
    drawn[f"{layer.name}.weight"] *= scale[:, None, None, None]
    drawn[f"{layer.name}.bias"] = norm.beta - norm.mean * scale
    return norm.behind(_FOLDED_EPSILON)


@_draw.register(Activate)
def _activate(layer: Activate, _rng: Generator, _drawn: Drawn, before: Moments) -> Moments:
    return _activated(layer.activation, before)


@_draw.register(Add)
def _add(_layer: Add, _rng: Generator, _drawn: Drawn, one: Moments, other: Moments) -> Moments:
    return Moments(one.mean + other.mean, one.variance + other.variance)


@_draw.register(Scale)
def _scale(
    _layer: Scale, _rng: Generator, _drawn: Drawn, before: Moments, factors: Moments
) -> Moments:
    # From pixel to pixel a factor does not vary.
    return _scaled(before, factors.mean)


@_draw.register(GlobalAvgPool)
def _pool(layer: GlobalAvgPool, _rng: Generator, _drawn: Drawn, before: Moments) -> Moments:
    return Moments(before.mean, np.zeros_like(before.variance)) if layer.keep_map else before


@_draw.register(Softmax)
def _softmax(_layer: Softmax, _rng: Generator, _drawn: Drawn, before: Moments) -> Moments:
    return before


@_draw.register(LpNormalization)
def _rows(_layer: LpNormalization, _rng: Generator, _drawn: Drawn, before: Moments) -> Moments:
    return _scaled(before, 1 / _length(before))


def _scaled(before: Moments, factor: Float64 | float) -> Moments:
    return Moments(before.mean * factor, before.variance * factor**2)


def _length(before: Moments) -> float:
    """Return the root of the expected square of a row's length, never 0."""
    return float(np.sqrt(max(float(np.sum(before.mean**2 + before.variance)), 1e-12)))


def _through(weight: Float64, values: Float64) -> Float64:
    """Multiply (G, O/G, C/G) by (C,), group by group, to (O,)."""
    per_group: Float64 = np.einsum("goc,gc->go", weight, values.reshape(weight.shape[0], -1))
    return per_group.ravel()


def _activated(activation: Activation, before: Moments) -> Moments:
    """Return the moments behind the activation of normally distributed channels."""
    if activation == "none":
        return before
    steps = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    normal = np.array([NormalDist().inv_cdf(float(step)) for step in steps])
    deviation = np.sqrt(before.variance)
    samples = before.mean[:, None] + deviation[:, None] * normal
    after = activate(samples, activation)
    return Moments(after.mean(axis=1), after.var(axis=1))


def _rounded(values: Float64) -> Float64:
    """Round to the 11 significant bits of half precision."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2048) / 2048, exponent)

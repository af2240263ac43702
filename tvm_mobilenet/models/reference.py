"""The reference: runs a model in NumPy, in float64, exactly as its layers are defined.

Independent of TVM and of every transformation of the compiler: weights stay in
OIHW, batch norm stays behind its convolution, nothing is fused or blocked.
The error of a sum of K products is below K * 2**-53 relative to the sum of
their magnitudes, so against float32 (2**-24) the result counts as exact.

It runs at every compile: MobileNet V1 1.0/224 takes well under half a second on
two cores (:mod:`tvm_mobilenet.models.convolution`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.errors import InputError, InvalidModelError, VerificationError, WeightsError
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.axes import Turned
from tvm_mobilenet.models.convolution import convolve
from tvm_mobilenet.models.elements import Elementwise, Slopes
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization, Weighted
from tvm_mobilenet.models.moves import Moves
from tvm_mobilenet.models.over_pixels import GlobalMax, InstanceNorm
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.resized import Resized
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Operator,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.spread import spread
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.models.views import Copy
from tvm_mobilenet.models.weights import validate
from tvm_mobilenet.models.windows import Window

Float64 = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]


@overload
def run(
    model: Model,
    weights: Weights,
    x: ArrayLike,
    keep_layers: Literal[False] = False,
) -> Float64: ...


@overload
def run(
    model: Model, weights: Weights, x: ArrayLike, keep_layers: Literal[True]
) -> dict[str, Float64]: ...


def run(
    model: Model,
    weights: Weights,
    x: ArrayLike,
    keep_layers: bool = False,
) -> Float64 | dict[str, Float64]:
    """Run a whole model.

    Parameters
    ----------
    model : Model
        The network.
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.
    x : array_like
        Input, NCHW, of the shape that the model states.
    keep_layers : bool
        Whether to return the output of every layer instead of the last one's.

    Returns
    -------
    ndarray or dict of str to ndarray
        First output in float64 (NC for classifiers), or layer name to output.

    Raises
    ------
    InputError
        If `x` is not numeric or has another shape.
    WeightsError
        If the weights do not fit the model.
    """
    validate(model, weights)
    values = {INPUT: _input(x, model.input_shape)}
    last_use = {name: layer.name for layer in model.layers for name in layer.inputs}
    for layer in model.layers:
        values[layer.name] = run_layer(layer, weights, *(values[name] for name in layer.inputs))
        if not keep_layers:
            for name in set(layer.inputs):
                if last_use[name] == layer.name and name not in model.outputs:
                    del values[name]
    if keep_layers:
        del values[INPUT]
        return values
    return values[model.outputs[0]]


def run_layer(layer: Layer, weights: Weights, *inputs: ArrayLike) -> Float64:
    """Run one layer, epilogue included.

    Parameters
    ----------
    layer : Layer
        A layer of any kind.
    weights : mapping of str to ndarray
        At least the parameters of the layer, by their full names.
    *inputs : array_like
        One array for each producer, NCHW or NC, with the layer's ``in_shapes``.

    Returns
    -------
    ndarray
        The output in float64, with the layer's ``out_shape``.

    Raises
    ------
    InputError
        If there are more or fewer inputs than producers, or of another shape.
    WeightsError
        If a parameter of the layer is missing or has another shape.
    InvalidModelError
        If the reference does not know this kind of layer.
    """
    if len(inputs) != len(layer.inputs):
        raise InputError(
            f"layer {layer.name!r} takes {len(layer.inputs)} inputs, not {len(inputs)}"
        )
    arrays = [_input(x, shape) for x, shape in zip(inputs, layer.in_shapes, strict=True)]
    return _computed(layer, weights, *arrays)


def relative_error(got: ArrayLike, want: ArrayLike) -> float:
    """Return ``||got - want|| / ||want||`` over all elements (2-norm).

    Returns
    -------
    float
        0 for equal arrays; infinite where `want` is all zero and `got` is not. NaN and
        infinities are right where both arrays have the same; elsewhere the error is infinite
        or NaN, which no tolerance accepts.

    Raises
    ------
    VerificationError
        If the shapes differ.
    """
    return _relative(*_difference(got, want))


def max_abs_error(got: ArrayLike, want: ArrayLike) -> float:
    """Return the largest ``|got - want|``; NaN where only one of them has a NaN.

    Raises
    ------
    VerificationError
        If the shapes differ.
    """
    return errors(got, want)[0]


def errors(got: ArrayLike, want: ArrayLike) -> tuple[float, float]:
    """Return :func:`max_abs_error` and :func:`relative_error` at once."""
    difference, expected = _difference(got, want)
    return float(np.abs(difference).max(initial=0.0)), _relative(difference, expected)


def _relative(difference: Float64, expected: Float64) -> float:
    distance, length = np.linalg.norm(difference), np.linalg.norm(expected)
    if length == 0:
        return float(distance) if distance == 0 or np.isnan(distance) else float("inf")
    return float(distance / length)


def _difference(got: ArrayLike, want: ArrayLike) -> tuple[Float64, Float64]:
    actual, expected = (np.asarray(array, dtype=np.float64) for array in (got, want))
    if actual.shape != expected.shape:
        raise VerificationError(f"an output has shape {actual.shape}, expected {expected.shape}")
    with np.errstate(invalid="ignore"):
        difference = actual - expected
    special = ~np.isfinite(expected)
    if special.any():
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        difference = np.where(special, np.where(same, 0.0, np.nan), difference)
        expected = np.where(special, 0.0, expected)
    return difference.ravel(), expected.ravel()


def _input(x: ArrayLike, shape: tuple[int, ...]) -> Float64:
    try:
        array = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the input is not an array of numbers: {error}") from error
    if array.shape != shape:
        raise InputError(f"the input has shape {array.shape}", f"give shape {shape}")
    return array


def _parameter(layer: Layer, weights: Weights, name: str) -> Float64:
    full_name = f"{layer.name}.{name}"
    array = weights.get(full_name)
    if array is None or array.shape != layer.parameters[full_name]:
        found = "missing" if array is None else f"of shape {array.shape}"
        raise WeightsError(f"{full_name} is {found}", f"give shape {layer.parameters[full_name]}")
    return array.astype(np.float64)


@singledispatch
def _computed(layer: Layer, _weights: Weights, *_inputs: Float64) -> Float64:
    raise InvalidModelError(f"the reference cannot run {type(layer).__name__} {layer.name!r}")


@_computed.register(Conv2d)
def _conv2d(layer: Conv2d, weights: Weights, x: Float64) -> Float64:
    y = convolve(layer, _parameter(layer, weights, "weight"), x)
    return _finished(layer, weights, y, (-1, 1, 1))


@_computed.register(ConvTranspose2d)
def _conv_transpose(layer: ConvTranspose2d, weights: Weights, x: Float64) -> Float64:
    y = spread(layer, _parameter(layer, weights, "weight"), x)
    return _finished(layer, weights, y, (-1, 1, 1))


def _finished(
    layer: Weighted | ConvTranspose2d, weights: Weights, y: Float64, per_channel: tuple[int, ...]
) -> Float64:
    """Add the bias, apply batch norm and activation, in place."""
    if layer.bias:
        y += _parameter(layer, weights, "bias").reshape(per_channel)
    if layer.batch_norm is not None:
        gamma, beta, mean, variance = (
            _parameter(layer, weights, f"bn.{part}")
            for part in ("gamma", "beta", "mean", "variance")
        )
        scale = gamma / np.sqrt(variance + layer.batch_norm)
        y *= scale.reshape(per_channel)
        y += (beta - mean * scale).reshape(per_channel)
    return activate(y, layer.activation, out=y)


@_computed.register(Pixels)
def _pixels(layer: Pixels, _weights: Weights, x: Float64) -> Float64:
    return layer.framed(x)


@_computed.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, _weights: Weights, x: Float64) -> Float64:
    return np.asarray(x.mean(axis=(2, 3), keepdims=layer.keep_map))


@_computed.register(Dense)
def _dense(layer: Dense, weights: Weights, x: Float64) -> Float64:
    product = x @ _parameter(layer, weights, "weight").T
    return _finished(layer, weights, product, (-1,))


@_computed.register(Operator)
def _operator(layer: Operator, weights: Weights, *inputs: Float64) -> Float64:
    return np.asarray(layer.run(weights, *inputs), np.float64)


@_computed.register(Turned)
def _turned(layer: Turned, _weights: Weights, x: Float64) -> Float64:
    return layer.run(x)


@_computed.register(Resized)
def _resized(layer: Resized, _weights: Weights, x: Float64) -> Float64:
    return layer.run(x)


@_computed.register(GlobalMax)
def _global_max(layer: GlobalMax, _weights: Weights, x: Float64) -> Float64:
    return layer.run(x)


@_computed.register(InstanceNorm)
def _instance_norm(layer: InstanceNorm, weights: Weights, x: Float64) -> Float64:
    return layer.run(x, *(_parameter(layer, weights, name) for name in ("weight", "bias")))


@_computed.register(Product)
@_computed.register(Copy)
def _of_views(layer: Product | Copy, _weights: Weights, *inputs: Float64) -> Float64:
    return layer.run(*inputs)


@_computed.register(Moves)
def _moves(layer: Moves, _weights: Weights, *inputs: Float64) -> Float64:
    return layer.run(*inputs)


@_computed.register(Elementwise)
def _elementwise(layer: Elementwise, _weights: Weights, *inputs: Float64) -> Float64:
    return layer.run(*inputs)


@_computed.register(Slopes)
def _slopes(layer: Slopes, weights: Weights, x: Float64) -> Float64:
    return np.where(x < 0, x * _parameter(layer, weights, "slope")[:, None, None], x)


@_computed.register(Window)
def _window(layer: Window, _weights: Weights, x: Float64) -> Float64:
    return layer.run(x)


@_computed.register(Activate)
def _activate(layer: Activate, _weights: Weights, x: Float64) -> Float64:
    return activate(x, layer.activation)


@_computed.register(Add)
def _add(_layer: Add, _weights: Weights, x: Float64, other: Float64) -> Float64:
    return x + other


@_computed.register(Scale)
def _scale(_layer: Scale, _weights: Weights, x: Float64, factors: Float64) -> Float64:
    return x * factors


@_computed.register(Softmax)
def _softmax(_layer: Softmax, _weights: Weights, x: Float64) -> Float64:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@_computed.register(LayerNorm)
def _layer_norm(layer: LayerNorm, weights: Weights, x: Float64) -> Float64:
    with np.errstate(invalid="ignore"):  # of two infinities
        away = x - x.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.mean(away**2, axis=1, keepdims=True) + layer.epsilon)
        scaled = away / spread * _parameter(layer, weights, "weight")
    return np.asarray(scaled + _parameter(layer, weights, "bias"))


@_computed.register(LpNormalization)
def _lp_normalization(layer: LpNormalization, _weights: Weights, x: Float64) -> Float64:
    """Divide rows by their norms, those of zeros by 1; infinities leave 0 and NaN."""
    norms = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), layer.least)
    with np.errstate(invalid="ignore"):
        return np.asarray(x / np.where(norms == 0, 1.0, norms))

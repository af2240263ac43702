"""The reference: runs a model in NumPy, in float64, exactly as its layers are defined.

Independent of TVM and of every transformation of the compiler: weights stay in
OIHW, batch norm stays behind its convolution, nothing is fused or blocked.
The error of a sum of K products is below K * 2**-53 relative to the sum of
their magnitudes, so against float32 (2**-24) the result counts as exact.

It runs at every compile, so convolutions have three paths: pointwise layers
are one matrix product, depthwise layers shifted multiply-adds, and all others
a product with unfolded windows (im2col). MobileNet V1 1.0/224 takes well under
half a second on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.errors import InputError, InvalidModelError, VerificationError, WeightsError
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.layers import LpNormalization
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
from tvm_mobilenet.models.weights import validate

Float64 = NDArray[np.float64]

_CACHED_ELEMENTS = 32 * 1024
"""Elements of the three arrays of one depthwise step that together stay within
a 1 MB second-level cache (8 bytes each)."""


@overload
def run(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    x: ArrayLike,
    keep_layers: Literal[False] = False,
) -> Float64: ...


@overload
def run(
    model: Model, weights: Mapping[str, NDArray[Any]], x: ArrayLike, keep_layers: Literal[True]
) -> dict[str, Float64]: ...


def run(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
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


def run_layer(  # noqa: PLR0911  one for each kind
    layer: Layer, weights: Mapping[str, NDArray[Any]], *inputs: ArrayLike
) -> Float64:
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
    x, *others = (
        _input(value, shape) for value, shape in zip(inputs, layer.in_shapes, strict=True)
    )
    if isinstance(layer, Conv2d):
        return _conv2d(layer, weights, x)
    if isinstance(layer, GlobalAvgPool):
        return np.asarray(x.mean(axis=(2, 3), keepdims=layer.keep_map))
    if isinstance(layer, Dense):
        product = x @ _parameter(layer, weights, "weight").T
        y = product + _parameter(layer, weights, "bias") if layer.bias else product
        return activate(y, layer.activation)
    if isinstance(layer, Operator):
        return np.asarray(layer.run(weights, x, *others), np.float64)
    if isinstance(layer, Activate):
        return activate(x, layer.activation)
    if isinstance(layer, Add):
        return x + others[0]
    if isinstance(layer, Scale):
        return x * others[0]
    if isinstance(layer, Softmax):
        exponentials = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
    if isinstance(layer, LpNormalization):
        return _normalized(x)
    raise InvalidModelError(f"the reference cannot run {type(layer).__name__} {layer.name!r}")


def _normalized(x: Float64) -> Float64:
    """Divide rows by their norms, those of zeros by 1; infinities leave 0 and NaN."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(x / np.where(norms == 0, 1.0, norms))


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
    difference, expected = _difference(got, want)
    distance, length = np.linalg.norm(difference), np.linalg.norm(expected)
    if length == 0:
        return float(distance) if distance == 0 or np.isnan(distance) else float("inf")
    return float(distance / length)


def max_abs_error(got: ArrayLike, want: ArrayLike) -> float:
    """Return the largest ``|got - want|``; NaN where only one of them has a NaN.

    Raises
    ------
    VerificationError
        If the shapes differ.
    """
    difference, _ = _difference(got, want)
    return float(np.abs(difference).max(initial=0.0))


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


def _parameter(layer: Layer, weights: Mapping[str, NDArray[Any]], name: str) -> Float64:
    full_name = f"{layer.name}.{name}"
    array = weights.get(full_name)
    if array is None or array.shape != layer.parameters[full_name]:
        found = "missing" if array is None else f"of shape {array.shape}"
        raise WeightsError(f"{full_name} is {found}", f"give shape {layer.parameters[full_name]}")
    return array.astype(np.float64)


def _conv2d(layer: Conv2d, weights: Mapping[str, NDArray[Any]], x: Float64) -> Float64:
    """Convolve (N, C, H, W) into (N, O, OH, OW) and apply the epilogue."""
    weight = _parameter(layer, weights, "weight")
    if layer.kind == "pointwise":
        batch, channels, height, width = x.shape
        product = weight.reshape(-1, channels) @ x.reshape(batch, channels, height * width)
        y = product.reshape(layer.out_shape)
    elif layer.kind == "depthwise":
        y = _depthwise(layer, weight, _pad(layer, x))
    else:
        y = _unfolded(layer, weight, _pad(layer, x))

    if layer.bias:
        y += _per_channel(_parameter(layer, weights, "bias"))
    if layer.batch_norm is not None:
        gamma, beta, mean, variance = (
            _parameter(layer, weights, f"bn.{part}")
            for part in ("gamma", "beta", "mean", "variance")
        )
        scale = gamma / np.sqrt(variance + layer.batch_norm)
        y *= _per_channel(scale)
        y += _per_channel(beta - mean * scale)
    return activate(y, layer.activation, out=y)


def _per_channel(vector: Float64) -> Float64:
    return vector[:, None, None]


def _pad(layer: Conv2d, x: Float64) -> Float64:
    top, left, bottom, right = layer.padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _depthwise(layer: Conv2d, weight: Float64, padded: Float64) -> Float64:
    """Add up the shifted maps (N, C, OH, OW), one for each tap of (C, 1, KH, KW)."""
    batch, channels, rows, columns = layer.out_shape
    (down, right), (kernel_rows, kernel_columns) = layer.strides, layer.kernel
    y = np.zeros(layer.out_shape)
    step = min(channels, max(1, _CACHED_ELEMENTS // (rows * columns)))
    product = np.empty((step, rows, columns))
    for image in range(batch):
        for first in range(0, channels, step):
            some = slice(first, min(first + step, channels))
            total, maps, taps = y[image, some], padded[image, some], weight[some, 0]
            scratch = product[: total.shape[0]]
            for i in range(kernel_rows):
                for j in range(kernel_columns):
                    shifted = maps[:, i : i + down * rows : down, j : j + right * columns : right][
                        :, :rows, :columns
                    ]
                    np.multiply(shifted, _per_channel(taps[:, i, j]), out=scratch)
                    total += scratch
    return y


def _unfolded(layer: Conv2d, weight: Float64, padded: Float64) -> Float64:
    """Multiply unfolded windows by the weights, group by group."""
    batch, out_channels, rows, columns = layer.out_shape
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(2, 3))
    down, right = layer.strides
    windows = windows[:, :, ::down, ::right]
    # (N, C, OH, OW, KH, KW) to (N, G, C/G * KH * KW, OH * OW): the order of OIHW.
    unfolded = windows.transpose(0, 1, 4, 5, 2, 3).reshape(batch, layer.groups, -1, rows * columns)
    per_group = weight.reshape(layer.groups, out_channels // layer.groups, -1)
    return np.asarray(np.matmul(per_group, unfolded)).reshape(layer.out_shape)

"""Is a compiled module right? Each kernel alone, and the whole end to end.

A kernel alone is fed to the reference with the activation that the compiled
network itself had at that point, so its error is its own and nothing that came
before can hide or excuse it. The tolerance is that of float32 summation:

- Usual: an inner product of K terms in any order has a relative error that grows
  as sqrt(K) u, u = 2**-24, with high probability (Higham and Mary, "A new approach
  to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019).
- Where that is exceeded because large terms cancel, the guaranteed bound decides,
  element by element: |error| <= gamma_K sum |w||x|, gamma_K = K u / (1 - K u)
  (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).
- One level of Strassen-Winograd has no bound by element, only by the largest factors:
  |error| <= (18 (k**2 + 6 k) - 12 k) u max|w| max|x|, k = K / 2 (ibidem, section 23.2.2:
  n = 2 n0 = K in the bound for Winograd's form). That is 4.5 times the conventional
  K**2 u max|w| max|x|, and so is its usual tolerance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet import reference
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.activations import STEEPEST
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
from tvm_mobilenet.runtime.instrument import OTHER, Trace

END_TO_END_TOLERANCE = 1e-5
"""Norm-wise relative error of the output against the float64 reference."""

_INHERENT = 8.0
"""Times the error of the other reference in float32 that ours may be: sums in another order,
batch norm folded into weights."""

_UNIT_ROUNDOFF = 2.0**-24
# sqrt(K) u holds with probability 1 - 2 exp(-c**2 / 2) for this factor c: 0.9993.
_CONFIDENCE = 4.0
# Roundings of one element beside its sum: batch norm folded into a weight (scale, quotient,
# product), the bias folded and added, one for each padded or split accumulator.
_EPILOGUE = 8
# Roundings of a hard sigmoid, whose value is up to 1 however small its argument.
_GATE = 4 * _UNIT_ROUNDOFF

_STRASSEN = "strassen"
"""Operator whose error is bounded otherwise."""

_STRASSEN_GROWTH = 4.5

Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]
Expect = Callable[..., Mapping[str, Float64]]


class Runnable(Protocol):
    """A compiled network, loaded here or on a board."""

    def __call__(self, x: Any) -> Any:
        """Return the output, or a tuple of several."""

    def trace(self, x: Any) -> list[Trace]:
        """Return the output of every kernel."""


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One kernel of the compiled network.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes, the last of which the errors are of.
    kernel : str
        Its name in the artifact.
    max_abs, relative : float
        Compiled against reference activation, errors of all kernels so far
        included; `relative` is norm-wise.
    alone : float
        Norm-wise relative error of this kernel on the input that it had.
    tolerance : float
        What `alone` may be.
    passed : bool
        Whether it is.
    """

    layers: tuple[str, ...]
    kernel: str
    max_abs: float
    relative: float
    alone: float
    tolerance: float
    passed: bool


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes
    ----------
    title : str
        The model.
    rows : tuple of VerifyRow
        By kernel, in the order of execution.
    max_abs, relative : float
        Errors of the network's output, the worst of several.
    tolerance : float
        What `relative` may be.
    """

    title: str
    rows: tuple[VerifyRow, ...]
    max_abs: float
    relative: float
    tolerance: float = END_TO_END_TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every kernel and the output are within tolerance."""
        # NaN compares false, so a NaN anywhere fails.
        return self.relative <= self.tolerance and all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, float]:
        """Return the end-to-end figures for the manifest."""
        return {
            "max_abs": self.max_abs,
            "relative": self.relative,
            "tolerance": self.tolerance,
        }

    def check(self) -> None:
        """Raise VerificationError naming the first wrong layer and by how much."""
        for row in self.rows:
            if not row.passed:
                raise VerificationError(
                    f"{self.title}: layer {' + '.join(row.layers)} ({row.kernel}) is wrong: "
                    f"relative error {row.alone:.2e} on its own input, "
                    f"tolerance {row.tolerance:.2e}; max abs error so far {row.max_abs:.2e}",
                    "do not use this artifact; please report the model and the target",
                )
        if not self.passed:
            off = [row for row in self.rows if not row.relative <= 10 * self.tolerance]
            first = f"; the first to differ is {' + '.join(off[0].layers)}" if off else ""
            raise VerificationError(
                f"{self.title}: the output has relative error {self.relative:.2e}, "
                f"tolerance {self.tolerance:.2e}, though each layer alone is right{first}",
                "do not use this artifact; check the order and the connections of its layers",
            )


def verify(
    module: Runnable,
    model: Model,
    weights: Weights,
    x: NDArray[np.float32] | None = None,
    *,
    expect: Expect | None = None,
) -> VerifyReport:
    """Compare a compiled module with the reference, kernel by kernel and as a whole.

    Parameters
    ----------
    module : Runnable
        Loaded artifact of `model`.
    model : Model
        What it should compute.
    weights : mapping of str to ndarray
        What it should compute it with.
    x : ndarray, optional
        Input (N, 3, H, W) float32; :func:`sample_input` without.
    expect : callable, optional
        Another reference for the whole network: from the input to what layers compute,
        all outputs among them; with ``double=False`` in float32. What it says counts; that
        each kernel does what its layers say is still judged by ours.

    Returns
    -------
    VerifyReport
        Call its ``check`` to have a failure raised.

    Raises
    ------
    VerificationError
        The artifact computes other layers or other shapes than the model.
    InputError, WeightsError, ArtifactError
        From the parts.
    """
    x = sample_input(model.input_shape) if x is None else x
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    traces = [trace for trace in module.trace(x) if trace.call["layers"]]
    told = [trace for trace in traces if trace.call.get("output", {}).get("layout") != OTHER]
    expected = dict(reference.run(model, weights, x, keep_layers=True))
    if expect is not None:
        expected |= expect(x)

    _check_layers(model, [name for trace in traces for name in trace.call["layers"]])
    activations: dict[str, NDArray[Any]] = {INPUT: x}
    rows = []
    for trace in told:
        layers = tuple(model.layer(name) for name in trace.call["layers"])
        want = expected[layers[-1].name]
        if trace.output.shape != want.shape:
            raise VerificationError(
                f"{layers[-1].name} has shape {trace.output.shape} in the artifact, "
                f"and {want.shape} in {model.title}",
                "verify it against the model that it was compiled from",
            )
        for layer in layers:
            _look_up(layer, model, weights, activations, {layer.name for layer in layers})
        rows.append(_row(trace, layers, weights, activations, want))
        activations[layers[-1].name] = trace.output

    found = dict(zip(model.outputs, outputs, strict=True))
    errors = {name: reference.relative_error(got, expected[name]) for name, got in found.items()}
    tolerances = {
        name: _end_to_end_tolerance(model.layer(name), error, activations, expected)
        for name, error in errors.items()
    }
    if expect is not None and any(errors[name] > tolerances[name] for name in found):
        # Networks that others made may magnify rounding as ours do not.
        rounded = expect(x, double=False)
        for name in found:
            inherent = reference.relative_error(rounded[name], expected[name])
            tolerances[name] = max(tolerances[name], _INHERENT * inherent)
    worst = max(errors, key=lambda name: _above(errors[name], tolerances[name]))
    return VerifyReport(
        model.title,
        tuple(rows),
        max(reference.max_abs_error(got, expected[name]) for name, got in found.items()),
        errors[worst],
        tolerances[worst],
    )


def _above(error: float, tolerance: float) -> float:
    """Return how far an error is above what it may be; NaN is farthest."""
    return math.inf if math.isnan(error) else error / tolerance


def _check_layers(model: Model, names: list[str]) -> None:
    """Raise unless kernels compute every layer once.

    Except for operators of TVM's: some are views, some several outputs of one kernel.
    """
    rest = [layer for layer in model.layers if layer.name not in names]
    known = all(isinstance(layer, Operator) for layer in rest)
    if not known or sorted(names) != sorted(
        layer.name for layer in model.layers if layer not in rest
    ):
        raise VerificationError(
            f"the artifact computes the layers {names}, which are not those of {model.title}",
            "verify it against the model that it was compiled from",
        )


def _look_up(
    layer: Layer,
    model: Model,
    weights: Weights,
    activations: dict[str, NDArray[Any]],
    inside: set[str],
) -> None:
    """Add what a layer reads, where it is not known that a kernel computes it."""
    for name in layer.inputs:
        if name not in activations and name not in inside:
            view = model.layer(name)
            _look_up(view, model, weights, activations, inside)
            inputs = [activations[source] for source in view.inputs]
            activations[name] = reference.run_layer(view, weights, *inputs)


def sample_input(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Make an input with the statistics of a normalised photograph.

    Parameters
    ----------
    shape : tuple of int
        (N, C, H, W).
    seed : int
        Of the generator.

    Returns
    -------
    ndarray
        float32; amplitude falls as 1/frequency, as in natural images (Field,
        JOSA A 4, 1987); mean 0, deviation 1 per image and channel, within the
        range ±2.7 that ImageNet's normalisation leaves.
    """
    height, width = shape[-2:]
    noise = np.random.default_rng(seed).standard_normal(shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = math.inf
    field = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    field /= field.std(axis=(2, 3), keepdims=True)
    return np.ascontiguousarray(field.clip(-2.7, 2.7), dtype=np.float32)


def _end_to_end_tolerance(
    last: Layer,
    relative: float,
    activations: Mapping[str, NDArray[Any]],
    expected: Mapping[str, Float64],
) -> float:
    """Return what the output's relative error may be.

    Softmax magnifies relative errors by up to max |logit| (Blanchard, Higham and
    Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
    Numer. Anal. 41, 2021, section 2). A confident network may thus exceed the
    tolerance behind it without fault; then its logits have to be within it.
    """
    if relative <= END_TO_END_TOLERANCE or not isinstance(last, Softmax):
        return END_TO_END_TOLERANCE
    name = last.inputs[0]
    if name not in activations or name not in expected:
        return END_TO_END_TOLERANCE
    logits = expected[name]
    if reference.relative_error(activations[name], logits) <= END_TO_END_TOLERANCE:
        return END_TO_END_TOLERANCE * max(1.0, float(np.abs(logits).max()))
    return END_TO_END_TOLERANCE


def _row(
    trace: Trace,
    layers: tuple[Layer, ...],
    weights: Weights,
    activations: Mapping[str, NDArray[Any]],
    expected: Float64,
) -> VerifyRow:
    got = trace.output
    values: dict[str, NDArray[Any]] = dict(activations)
    tolerance = 0.0
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = reference.run_layer(layer, weights, *inputs)
        tolerance = _tolerance(layer, tolerance, inputs)
    in_halves = trace.call["operator"] == _STRASSEN
    if in_halves:
        tolerance *= _STRASSEN_GROWTH
    want = np.asarray(values[layers[-1].name], np.float64)
    alone = reference.relative_error(got, want)
    passed = alone <= tolerance
    if not passed and math.isfinite(alone):
        bound = (strassen_bound if in_halves else guaranteed_bound)(layers, weights, values)
        if bound is not None and bool(np.all(np.abs(got - want) <= bound)):
            tolerance = float(np.linalg.norm(bound) / np.linalg.norm(want))
            passed = True
    return VerifyRow(
        tuple(layer.name for layer in layers),
        trace.call["kernel"],
        reference.max_abs_error(got, expected),
        reference.relative_error(got, expected),
        alone,
        tolerance,
        passed,
    )


def _terms(layer: Layer) -> int:
    """Terms of the sum behind one output element."""
    if isinstance(layer, Conv2d | Dense | Operator):
        return max(1, layer.macs // math.prod(layer.out_shape))
    if isinstance(layer, GlobalAvgPool):
        return math.prod(layer.in_shape[2:])
    if isinstance(layer, Softmax):
        return layer.in_shape[-1]
    return 1


def _tolerance(layer: Layer, before: float, inputs: Iterable[NDArray[Any]]) -> float:
    """Relative tolerance behind `layer` whose input had tolerance `before`."""
    own = _CONFIDENCE * math.sqrt(_terms(layer) + _EPILOGUE) * _UNIT_ROUNDOFF
    if isinstance(layer, Operator):
        own = END_TO_END_TOLERANCE  # its arithmetic is not known here
    if isinstance(layer, Softmax):
        # exp turns an absolute error of its argument into a relative one of its value.
        largest = max(float(np.abs(x).max(initial=0.0)) for x in inputs)
        return own + largest * (before * _CONFIDENCE + 2 * _UNIT_ROUNDOFF)
    return own + before


def guaranteed_bound(
    layers: tuple[Layer, ...], weights: Weights, values: Mapping[str, NDArray[Any]]
) -> Float64 | None:
    """Bound the error of every element of the last of `layers`, or None if none is known.

    The reference itself computes sum |w||x|, given magnitudes for numbers.
    """
    errors: dict[str, Float64] = {}
    for layer in layers:
        source = layer.inputs[0]
        x = np.abs(np.asarray(values[source], np.float64))
        error = errors.get(source, np.zeros(x.shape))
        terms = (_terms(layer) + _EPILOGUE) * _UNIT_ROUNDOFF
        gamma = terms / (1 - terms)
        if isinstance(layer, Softmax):
            relative = 2 * error.max() + gamma + 2 * x.max() * _UNIT_ROUNDOFF
            errors[layer.name] = np.abs(values[layer.name]) * math.expm1(relative)
            continue
        extra = 0.0
        if isinstance(layer, Activate):
            slope = STEEPEST[layer.activation]
            gate = _GATE if layer.activation == "hardsigmoid" else 0.0
            errors[layer.name] = slope * ((1 + gamma) * error + gamma * x) + gate
            continue
        if isinstance(layer, Add | Scale):
            other = layer.inputs[1]
            y = np.abs(np.asarray(values[other], np.float64))
            carried = errors.get(other, np.zeros(y.shape))
            if isinstance(layer, Add):
                errors[layer.name] = gamma * (x + y) + (1 + gamma) * (error + carried)
            else:
                both = x * carried + y * error + error * carried
                errors[layer.name] = gamma * x * y + (1 + gamma) * both
            continue
        if isinstance(layer, Conv2d | Dense):
            magnitudes, offsets = _magnitudes(layer, weights)
            slope = STEEPEST[layer.activation]
            extra = _GATE if layer.activation == "hardsigmoid" else 0.0
            linear = dataclasses.replace(layer, activation="none")
            total = reference.run_layer(linear, {**magnitudes, **offsets}, x)
            none = {name: np.zeros_like(offset) for name, offset in offsets.items()}
            carried = reference.run_layer(linear, {**magnitudes, **none}, error)
        elif isinstance(layer, GlobalAvgPool):
            slope = 1.0
            total, carried = (reference.run_layer(layer, {}, part) for part in (x, error))
        else:
            return None
        errors[layer.name] = slope * (gamma * total + (1 + gamma) * carried) + extra
    return errors[layers[-1].name]


def strassen_bound(
    layers: tuple[Layer, ...], weights: Weights, values: Mapping[str, NDArray[Any]]
) -> Float64:
    """Bound the error of a layer computed by one level of Strassen-Winograd.

    Given the largest weight and the largest input everywhere, the reference computes
    K max|w| max|x| and the bias.
    """
    (layer,) = layers
    assert isinstance(layer, Conv2d)
    x = np.asarray(values[layer.inputs[0]], np.float64)
    magnitudes, offsets = _magnitudes(layer, weights)
    name = f"{layer.name}.weight"
    factors = {**magnitudes, name: np.full_like(magnitudes[name], magnitudes[name].max())}
    linear = dataclasses.replace(layer, activation="none")
    total = reference.run_layer(linear, {**factors, **offsets}, np.full_like(x, np.abs(x).max()))
    half = _terms(layer) / 2
    terms = (18 * (half**2 + 6 * half) - 12 * half) / (2 * half) + _EPILOGUE
    slope = STEEPEST[layer.activation]
    return np.full(
        values[layer.name].shape, slope * terms * _UNIT_ROUNDOFF * float(total.max()), np.float64
    )


def _magnitudes(
    layer: Layer, weights: Weights
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return |weights| of a layer: factors, and terms that are added."""
    factors: dict[str, NDArray[Any]] = {}
    terms: dict[str, NDArray[Any]] = {}
    for name in layer.parameters:
        value = np.abs(np.asarray(weights[name], np.float64))
        if name.endswith(".mean"):
            terms[name] = -value  # batch norm subtracts it
        elif name.endswith((".bias", ".beta")):
            terms[name] = value
        else:
            factors[name] = value
    return factors, terms

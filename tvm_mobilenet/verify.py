"""Is a compiled module right? Each kernel alone, and the whole end to end.

A kernel alone is fed to the reference with the activation that the compiled
network itself had at that point, so its error is its own and nothing that came
before can hide or excuse it. The tolerances are those of
:mod:`tvm_mobilenet.rounding`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet import reference
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.spec import (
    INPUT,
    Layer,
    Model,
    Operator,
    Softmax,
)
from tvm_mobilenet.rounding import (
    END_TO_END,
    STRASSEN_GROWTH,
    guaranteed_bound,
    strassen_bound,
    tolerance_behind,
)
from tvm_mobilenet.runtime.instrument import OTHER, Trace
from tvm_mobilenet.verify_report import VerifyReport, VerifyRow

_log = logging.getLogger(__name__)

_INHERENT = 8.0
"""Times the error of the other reference in float32 that ours may be: sums in another order,
batch norm folded into weights."""

_STRASSEN = "strassen"
"""Operator whose error is bounded otherwise."""

Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]
Expect = Callable[..., Mapping[str, Float64]]


class Runnable(Protocol):
    """A compiled network, loaded here or on a board."""

    def __call__(self, x: Any) -> Any:
        """Return the output, or a tuple of several."""

    def trace(self, x: Any) -> list[Trace]:
        """Return the output of every kernel."""


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
    stored = stored_as(traces[0].call) if traces else "float32"
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
        rows.append(_row(trace, layers, weights, activations, want, stored=stored))
        activations[layers[-1].name] = trace.output
        _log.info("%s: relative error %.1e alone", " + ".join(trace.call["layers"]), rows[-1].alone)

    found = dict(zip(model.outputs, outputs, strict=True))
    errors = {name: reference.relative_error(got, expected[name]) for name, got in found.items()}
    tolerances = {
        name: _end_to_end_tolerance(model.layer(name), error, activations, expected, stored)
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


def stored_as(call: Mapping[str, Any]) -> str:
    """Return what a kernel's maps and weights are stored as, from its record in a manifest."""
    return str(call.get("stored", "float32"))


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
    stored: str,
) -> float:
    """Return what the output's relative error may be.

    Softmax magnifies relative errors by up to max |logit| (Blanchard, Higham and
    Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
    Numer. Anal. 41, 2021, section 2). A confident network may thus exceed the
    tolerance behind it without fault; then its logits have to be within it.
    """
    allowed = END_TO_END[stored]
    if relative <= allowed or not isinstance(last, Softmax):
        return allowed
    name = last.inputs[0]
    if name not in activations or name not in expected:
        return allowed
    logits = expected[name]
    if reference.relative_error(activations[name], logits) <= allowed:
        return allowed * max(1.0, float(np.abs(logits).max()))
    return allowed


def _row(
    trace: Trace,
    layers: tuple[Layer, ...],
    weights: Weights,
    activations: Mapping[str, NDArray[Any]],
    expected: Float64,
    *,
    stored: str,
) -> VerifyRow:
    got = trace.output
    values: dict[str, NDArray[Any]] = dict(activations)
    tolerance = 0.0
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = reference.run_layer(layer, weights, *inputs)
        tolerance = tolerance_behind(layer, tolerance, inputs, stored)
    in_halves = trace.call["operator"] == _STRASSEN
    if in_halves:
        tolerance *= STRASSEN_GROWTH
    want = np.asarray(values[layers[-1].name], np.float64)
    alone = reference.relative_error(got, want)
    passed = alone <= tolerance
    if not passed and math.isfinite(alone):
        if in_halves:
            bound: Float64 | None = strassen_bound(layers, weights, values)
        else:
            bound = guaranteed_bound(layers, weights, values, stored)
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

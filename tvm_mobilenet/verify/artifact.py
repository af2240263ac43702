"""Verifies a compiled module: each kernel alone, and the network end to end.

For a kernel alone the reference gets the activation that the compiled network had
at that point. The error is thus the kernel's own, and no kernel before it can hide
or excuse it. The tolerances are those of :mod:`tvm_mobilenet.verify.rounding`.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.spec import Model, Operator
from tvm_mobilenet.runtime.instrument import OTHER, Trace
from tvm_mobilenet.verify.case import Case, Expect, Weights
from tvm_mobilenet.verify.report import VerifyReport

_log = logging.getLogger(__name__)


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
        The loaded artifact.
    model : Model
        The model that it was compiled from.
    weights : mapping of str to ndarray
        The weights that it was compiled with, by their full names.
    x : ndarray, optional
        Input, of the model's shape and type; by default :func:`sample_input`.
    expect : callable, optional
        The file's own reference, :meth:`tvm_mobilenet.models.importer.Imported.evaluate`, for
        an imported model. Every layer is compared with it, besides every kernel with its layers.

    Returns
    -------
    VerifyReport
        Its ``check`` raises an error if anything is wrong.

    Raises
    ------
    VerificationError
        The artifact computes other layers or other shapes than the model.
    InputError, WeightsError, ArtifactError
        The input or the weights do not fit, or the artifact cannot run.
    """
    x = sample_input(model.input_shape, dtype=model.input_dtype) if x is None else x
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    traces = [trace for trace in module.trace(x) if trace.call["layers"]]
    check_layers(model, [name for trace in traces for name in trace.call["layers"]])
    # What is not finite is compared like any number, and says so itself.
    with np.errstate(all="ignore"):
        case = Case(model, weights, x, expect)
        verdicts = [case.kernel(trace) for trace in traces if told(trace)]
        case.expect_whole()
        rows = tuple(
            case.row(trace, verdict)
            for trace, verdict in zip(filter(told, traces), verdicts, strict=True)
        )
        for row in rows:
            _log.info("%s: relative error %.1e alone", " + ".join(row.layers), row.alone)
        misread = case.misread()
        sound = not misread and all(row.passed for row in rows)
        found = dict(zip(model.outputs, outputs, strict=True))
        return VerifyReport(model.title, rows, *case.whole(found, sound=sound), misread)


def told(trace: Trace) -> bool:
    """Return whether a kernel's output has a layout that can be compared."""
    return bool(trace.call.get("output", {}).get("layout") != OTHER)


def check_layers(model: Model, names: list[str]) -> None:
    """Raise unless kernels compute every layer once.

    Operators that TVM compiles are exempt: some are views, some several outputs of one kernel.
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


def sample_input(shape: tuple[int, ...], seed: int = 0, *, dtype: str = "float32") -> NDArray[Any]:
    """Make an input with the statistics of a photograph.

    Parameters
    ----------
    shape : tuple of int
        (N, C, H, W), or any other.
    dtype : str
        NumPy's name of the network's input type.

    Returns
    -------
    ndarray
        Amplitude falls as 1/frequency along the last two axes, as in natural images (Field,
        JOSA A 4, 1987). Floating-point inputs have mean 0 and deviation 1 in each image and
        channel, within the range ±2.7 that ImageNet's normalisation gives; integers are these
        scaled to 0 to 255. A map of one pixel has no frequencies, so its channels are noise.
    """
    noise = np.random.default_rng(seed).standard_normal(shape)
    height, width = (1, 1, *shape)[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = math.inf
    planes = noise.reshape(-1, height, width)
    field = np.fft.irfft2(np.fft.rfft2(planes) / frequency, s=(height, width))
    deviation = field.std(axis=(1, 2), keepdims=True)
    flat = deviation == 0
    field = np.where(flat, planes, field / np.where(flat, 1.0, deviation)).clip(-2.7, 2.7)
    if np.issubdtype(np.dtype(dtype), np.integer):
        field = np.rint((field / 5.4 + 0.5) * min(255, np.iinfo(dtype).max))
    return np.ascontiguousarray(field.reshape(shape), dtype=dtype)

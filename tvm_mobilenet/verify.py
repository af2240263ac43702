"""Is a compiled module right? Each kernel alone, and the whole end to end.

A kernel alone is fed to the reference with the activation that the compiled
network itself had at that point, so its error is its own and nothing that came
before can hide or excuse it. The tolerances are those of
:mod:`tvm_mobilenet.rounding`.
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
from tvm_mobilenet.verify_case import Case, Expect, Weights
from tvm_mobilenet.verify_report import VerifyReport

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
        Loaded artifact of `model`.
    model : Model
        What it should compute.
    weights : mapping of str to ndarray
        What it should compute it with.
    x : ndarray, optional
        Input (N, 3, H, W), of the model's type; :func:`sample_input` without.
    expect : callable, optional
        What the file that the model is from computes, by a reference that knows nothing of
        our layers: :meth:`tvm_mobilenet.models.importer.Imported.evaluate`. Every layer is
        held against it; that each kernel does what its layers say is judged besides.

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
    x = sample_input(model.input_shape, dtype=model.input_dtype) if x is None else x
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    traces = [trace for trace in module.trace(x) if trace.call["layers"]]
    _check_layers(model, [name for trace in traces for name in trace.call["layers"]])
    # What is not finite is compared like any number, and says so itself.
    with np.errstate(all="ignore"):
        case = Case(model, weights, x, expect)
        verdicts = [case.kernel(trace) for trace in traces if _told(trace)]
        case.expect_whole()
        rows = tuple(
            case.row(trace, verdict)
            for trace, verdict in zip(filter(_told, traces), verdicts, strict=True)
        )
        for row in rows:
            _log.info("%s: relative error %.1e alone", " + ".join(row.layers), row.alone)
        misread = case.misread()
        sound = not misread and all(row.passed for row in rows)
        found = dict(zip(model.outputs, outputs, strict=True))
        return VerifyReport(model.title, rows, *case.whole(found, sound=sound), misread)


def _told(trace: Trace) -> bool:
    """Whether what a kernel left behind can be compared."""
    return bool(trace.call.get("output", {}).get("layout") != OTHER)


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


def sample_input(shape: tuple[int, ...], seed: int = 0, *, dtype: str = "float32") -> NDArray[Any]:
    """Make an input with the statistics of a photograph.

    Parameters
    ----------
    shape : tuple of int
        (N, C, H, W), or any other.
    seed : int
        Of the generator.
    dtype : str
        What the network takes.

    Returns
    -------
    ndarray
        Amplitude falls as 1/frequency along the last two axes, as in natural images (Field,
        JOSA A 4, 1987). Floating point: mean 0, deviation 1 per image and channel, within the
        range ±2.7 that ImageNet's normalisation leaves. Integers: that stretched to 0 to 255.
        A map of one pixel has no frequencies: its channels are noise.
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

"""Verifies a network that computes in integers: bit for bit, kernel by kernel and as a whole.

What a kernel in integers computes of what it read must equal the integer reference exactly; so
must the elements of the whole network, as far as no float32 comes before them. Float islands and
the softmax are judged as in any network, by what rounding allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import rounded
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.quantized import reference as integers
from tvm_mobilenet.models.quantized.model import Dequantize, QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Layer
from tvm_mobilenet.runtime.instrument import Trace
from tvm_mobilenet.verify.artifact import Runnable, check_layers, sample_input, told
from tvm_mobilenet.verify.judging import judge, stored_as
from tvm_mobilenet.verify.report import VerifyReport, VerifyRow
from tvm_mobilenet.verify.rounding import END_TO_END

Weights = Mapping[str, NDArray[Any]]
Values = dict[str, NDArray[Any]]

_EXACT = "integers"
"""Who judges what must be equal."""


def verify_integers(
    module: Runnable, network: QuantizedModel, weights: Weights, x: NDArray[Any] | None = None
) -> VerifyReport:
    """Compare a compiled module with the integer reference.

    Parameters
    ----------
    network : QuantizedModel
        With maps stored as the artifact stores them: the plan's.
    weights : mapping of str to ndarray
        As :func:`tvm_mobilenet.models.quantized.reference.run` takes them.
    x : ndarray, optional
        Input, of the model's shape and type; by default
        :func:`tvm_mobilenet.verify.artifact.sample_input`.

    Returns
    -------
    VerifyReport
        Errors of kernels in integers are shares of elements that differ, and none may.

    Raises
    ------
    VerificationError
        The artifact computes other layers or other shapes than the network.
    """
    model = network.model
    x = sample_input(model.input_shape, dtype=model.input_dtype) if x is None else x
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    traces = [trace for trace in module.trace(x) if trace.call["layers"]]
    check_layers(model, [name for trace in traces for name in trace.call["layers"]])
    whole = integers.run(network, weights, x)
    case = _Case(network, weights, whole, {INPUT: x})
    rows = tuple(case.row(trace) for trace in traces if told(trace))
    errors = [
        (reference.max_abs_error(got, whole[name]), reference.relative_error(got, whole[name]))
        for name, got in zip(model.outputs, outputs, strict=True)
    ]
    largest, relative = (max(each) for each in zip(*errors, strict=True))
    types = {stored_as(trace.call) for trace in traces}
    tolerance = END_TO_END["bfloat16" if "bfloat16" in types else "float32"]
    return VerifyReport(model.title, rows, largest, relative, tolerance, _islands(network))


class _Case:
    """What the artifact has computed so far."""

    def __init__(
        self, network: QuantizedModel, weights: Weights, whole: Values, values: Values
    ) -> None:
        self._network, self._weights = network, weights
        self._whole, self._values = whole, values

    def row(self, trace: Trace) -> VerifyRow:
        """Judge a kernel on what it read, and keep what it computed."""
        names = tuple(trace.call["layers"])
        layers = tuple(map(self._network.model.layer, names))
        last, got = layers[-1], trace.output
        if got.shape != last.out_shape:
            raise VerificationError(
                f"{last.name} has shape {got.shape} in the artifact, and {last.out_shape} in "
                f"{self._network.model.title}",
                "verify it against the model that it was compiled from",
            )
        alone, tolerance, passed, by = self._judged(layers, trace)
        self._values[last.name] = got
        want = self._whole[last.name]
        off = (reference.max_abs_error(got, want), reference.relative_error(got, want))
        return VerifyRow(names, trace.call["kernel"], *off, alone, tolerance, passed, by)

    def _judged(self, layers: tuple[Layer, ...], trace: Trace) -> tuple[float, float, bool, str]:
        records, got = self._network.records, trace.output
        if not any(layer.name in records or isinstance(layer, Dequantize) for layer in layers):
            by_type = stored_as(trace.call)
            verdict = judge(layers, self._weights, self._values, got, stored=by_type)
            return verdict.alone, verdict.tolerance, verdict.passed, verdict.judge
        values = dict(self._values)
        for layer in layers:
            read = (values[name] for name in layer.inputs)
            values[layer.name] = integers.run_layer(self._network, self._weights, layer, *read)
        want = values[layers[-1].name]
        if "dtype" in trace.call["output"]:
            want = rounded(want)
        differing = float(np.mean(want != got)) if want.dtype == got.dtype else math.nan
        return differing, 0.0, differing == 0, _EXACT


def _islands(network: QuantizedModel) -> str:
    """Say why the whole is not judged, where float32 comes before integers."""
    behind: set[str] = set()
    for layer in network.model.layers:
        floats = layer.name not in network.records and not isinstance(layer, Dequantize)
        if behind.intersection(layer.inputs) or floats:
            behind.add(layer.name)
            if not floats:
                return f"{layer.name!r} computes in integers behind layers of float32"
    return ""

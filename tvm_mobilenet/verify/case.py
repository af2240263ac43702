"""The state of one verification: activations so far, verdicts, and the expected outputs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import UnjudgedError, VerificationError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.evaluator import Evaluation, Judge, Rounding
from tvm_mobilenet.models.spec import INPUT, Layer, Model, Operator, Softmax
from tvm_mobilenet.runtime.instrument import Trace
from tvm_mobilenet.verify.judging import Verdict, compute, judge, stored_as
from tvm_mobilenet.verify.reading import Reading, read_against
from tvm_mobilenet.verify.report import VerifyRow
from tvm_mobilenet.verify.rounding import END_TO_END, MOVES, ROUNDED_ONCE, WIDEST

_INHERENT = 8.0
"""How many times the error of the file's own reference, rounded as the artifact rounds, ours may
be: our sums have another order, and batch norm is folded into weights."""

_COPIED = 1e-6
"""Largest relative difference between an output and what its kernel wrote in another call."""

_JUMPS = frozenset({
    "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax",
    "Less", "LessOrEqual", "Mod", "Round", "Sign", "TopK",
})  # fmt: skip
"""Operators whose result may jump where their input changes by a rounding."""

Weights = Mapping[str, NDArray[Any]]
Expect = Callable[..., Evaluation]


def _jumps(layer: Layer) -> bool:
    if not isinstance(layer, Operator):
        return False
    truncated = layer.operator == "Cast" and not layer.dtypes[-1].startswith("float")
    return truncated or layer.operator in _JUMPS


@dataclass
class Case:
    """What is known while an artifact is verified.

    `activations` are the artifact's own, by layer; `judged` names what kernels end in. `given`
    are those of them from which the file's reference continues, because it cannot compute them or
    they may differ by a jump.
    """

    model: Model
    weights: Weights
    x: NDArray[np.float32]
    expect: Expect | None
    stored: str = "float32"
    activations: dict[str, NDArray[Any]] = field(default_factory=dict)
    given: dict[str, NDArray[Any]] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    unjudged: set[str] = field(default_factory=set)
    reading: Reading = field(init=False)

    def __post_init__(self) -> None:
        self.activations[INPUT] = self.x

    def _layers(self, trace: Trace) -> tuple[Layer, ...]:
        return tuple(self.model.layer(name) for name in trace.call["layers"])

    def kernel(self, trace: Trace) -> Verdict:
        """Judge a kernel alone, and keep its output."""
        layers = self._layers(trace)
        last = layers[-1]
        if trace.output.shape != last.out_shape:
            raise VerificationError(
                f"{last.name} has shape {trace.output.shape} in the artifact, "
                f"and {last.out_shape} in {self.model.title}",
                "verify it against the model that it was compiled from",
            )
        self.stored = stored_as(trace.call)
        self._look_up(layers)
        verdict = judge(
            layers,
            self.weights,
            self.activations,
            trace.output,
            stored=self.stored,
            half_products=int(trace.call.get("half_products", 0)),
        )
        self.activations[last.name] = trace.output
        self.judged.append(last.name)
        if not verdict.judge:
            self.unjudged.add(last.name)
        jumps = verdict.passed and any(map(_jumps, layers))
        if jumps or verdict.judge in ("", "onnxruntime"):
            self.given[last.name] = trace.output
        return verdict

    def _look_up(self, layers: tuple[Layer, ...]) -> None:
        """Add the inputs of layers that no kernel is known to compute."""
        inside = {layer.name for layer in layers}
        for name in (name for layer in layers for name in layer.inputs):
            if name not in self.activations and name not in inside:
                self._find(name)

    def _find(self, name: str) -> None:
        """Add the output of a layer that is a view, or inside of a kernel."""
        view = self.model.layer(name)
        self._look_up((view,))
        # What nobody can compute stays unknown, and what reads it is not judged.
        with contextlib.suppress(UnjudgedError):
            self.activations[name] = compute(view, self.weights, self.activations)

    def expect_whole(self) -> None:
        """Compute the expected outputs of the whole network from its input."""
        if self.expect is None:
            values = reference.run(self.model, self.weights, self.x, keep_layers=True)
            errors = {n: reference.errors(self.activations[n], values[n]) for n in self.judged}
            self.reading = Reading(values, errors=errors)
            return
        self.reading = self._read("onnx")
        if self.misread():
            other = self._read("onnxruntime")
            if not any(self._misread(other)):
                self.reading = other

    def _read(self, by: Judge) -> Reading:
        expect, given = self.expect, self.given
        assert expect is not None
        softmax = (layer.inputs[0] for layer in self.model.layers if isinstance(layer, Softmax))
        return read_against(
            self.model,
            self.weights,
            self.x,
            lambda each: expect(self.x, given=given, by=by, each=each),
            keep={*self.model.outputs, *softmax},
            got={name: self.activations[name] for name in self.judged},
        )

    def _misread(self, reading: Reading) -> Iterator[tuple[str, Verdict]]:
        for name, verdict in reading.verdicts.items():
            if not verdict.passed and name not in self.given:
                yield name, verdict

    def misread(self) -> tuple[VerifyRow, ...]:
        """Return the layers that are not what the file says."""
        return tuple(
            VerifyRow((name,), "", math.nan, v.alone, v.alone, v.tolerance, v.passed, v.judge)
            for name, v in self._misread(self.reading)
        )

    def row(self, trace: Trace, verdict: Verdict) -> VerifyRow:
        """Return a kernel's row of the report."""
        names = tuple(trace.call["layers"])
        return VerifyRow(
            names,
            trace.call["kernel"],
            *self.reading.errors.get(names[-1], (math.nan, math.nan)),
            verdict.alone,
            verdict.tolerance,
            verdict.passed,
            verdict.judge,
        )

    def whole(
        self, found: Mapping[str, NDArray[Any]], *, sound: bool
    ) -> tuple[float, float, float, str]:
        """Judge the outputs: largest and relative error, tolerance, why they are not judged.

        A network may magnify rounding. If every layer is what the file says, every kernel is right
        on its own inputs and every output is what its kernel wrote, only rounding is left. It is
        accepted if the file's reference loses about as much, and not judged beyond WIDEST.
        """
        expected = self.reading.values
        known = [name for name in found if name in expected]
        blind = self.unjudged.issuperset(found) and self._copied(found)
        if not known or blind:  # what is left is what the artifact says of itself
            return 0.0, 0.0, self._allowed(), "nobody here can compute its outputs"
        errors = {name: reference.relative_error(found[name], expected[name]) for name in known}
        tolerances = {name: self._tolerance(name, errors[name]) for name in known}
        worst = max(known, key=lambda name: _above(errors[name], tolerances[name]))
        largest = max(reference.max_abs_error(found[name], expected[name]) for name in known)
        error, tolerance, why = errors[worst], tolerances[worst], ""
        if error > tolerance and self.expect is not None and sound and self._copied(found):
            over = [name for name in known if errors[name] > tolerances[name]]
            lost = self._lost(over)
            if error <= _INHERENT * lost:
                tolerance = max(tolerance, min(_INHERENT * lost, WIDEST[self._precision()]))
            if tolerance < error <= _INHERENT * lost:
                why = f"this network makes {lost:.0e} of rounding alone"
        return largest, error, tolerance, why

    def _lost(self, names: list[str]) -> float:
        """Return the error of the file's reference when it rounds as the artifact does."""
        assert self.expect is not None
        how: dict[str, Any] = {"given": self.given, "rounding": self._precision()}
        rounded = self.expect(self.x, each=lambda _name, _value: None, **how).values
        expected = self.reading.values
        return max(
            (reference.relative_error(rounded[n], expected[n]) for n in names if n in rounded),
            default=0.0,
        )

    def _copied(self, found: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether every output is what its kernel wrote."""
        for name in found:
            if name not in self.activations:
                self._find(name)
        return all(
            name in self.activations
            and reference.relative_error(got, self.activations[name]) <= _COPIED
            for name, got in found.items()
        )

    def _precision(self) -> Rounding:
        """Return the coarsest type in which numbers are stored."""
        if self.stored == "bfloat16":
            return "bfloat16"
        halves = any(layer.operator not in MOVES for layer in self._halves())
        return "float16" if halves or self.stored == "float16" else "float32"

    def _halves(self) -> list[Operator]:
        operators = (layer for layer in self.model.layers if isinstance(layer, Operator))
        return [layer for layer in operators if layer.halves]

    def _allowed(self) -> float:
        allowed = END_TO_END[self._precision()]
        return max(allowed, ROUNDED_ONCE) if self._halves() else allowed

    def _tolerance(self, name: str, relative: float) -> float:
        """Return the tolerance of an output's relative error.

        Softmax magnifies relative errors by up to max |logit| (Blanchard, Higham and
        Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
        Numer. Anal. 41, 2021, section 2). Behind it, the error of a confident network may
        thus exceed the tolerance without a fault; its logits then have to be within it.
        """
        allowed, last = self._allowed(), self.model.layer(name)
        if relative <= allowed or not isinstance(last, Softmax):
            return allowed
        source = last.inputs[0]
        logits = self.reading.values.get(source)
        if source not in self.activations or logits is None:
            return allowed
        if reference.relative_error(self.activations[source], logits) <= allowed:
            largest = float(np.abs(logits).max(initial=0.0, where=np.isfinite(logits)))
            return allowed * max(1.0, largest)
        return allowed


def _above(error: float, tolerance: float) -> float:
    """Return an error divided by its tolerance; NaN counts as infinite."""
    return math.inf if math.isnan(error) else error / tolerance

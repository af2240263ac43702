"""Compares a model with the file that it was read from, layer by layer, while that is evaluated.

A layer is judged as soon as the file's tensor is known, and what no later layer reads is given up:
the maps of a whole network in float64 are gigabytes where images are large.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.evaluator import ONNX
from tvm_mobilenet.models.spec import INPUT, Layer, Model, Operator
from tvm_mobilenet.verify.judging import (
    NOT_JUDGED,
    REFERENCE,
    Values,
    Verdict,
    Weights,
    by_any,
    compare,
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """A model compared with the file that it was read from.

    Attributes
    ----------
    values : dict of str to ndarray
        Expected outputs in float64 of the layers that were to be kept, from the file where that
        has the tensor.
    verdicts : dict of str to Verdict
        By layer, whether it computes what the file does.
    errors : dict of str to tuple of float
        By layer that an artifact's output is at hand of, its largest and its relative error.
    """

    values: dict[str, Array] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)


def read_against(
    model: Model,
    weights: Weights,
    x: Array,
    evaluate: Callable[[Callable[[str, Array | None], None]], object],
    *,
    keep: Collection[str],
    got: Values | None = None,
) -> Reading:
    """Compare every layer of a model with what the file computes.

    Each layer reads what the *file* computes before it, so that its difference is its own
    and is not magnified: only the rounding of constants to float32 is allowed for.

    Parameters
    ----------
    x : ndarray
        Input of the network.
    evaluate : callable
        Computes the file, and tells what it is given of every layer and its output, as
        :meth:`tvm_mobilenet.models.importer.Imported.evaluate` does.
    keep : collection of str
        Layers whose values are returned.
    got : mapping of str to ndarray, optional
        Outputs of layers in the artifact, to compare with.
    """
    reader = _Reader(model, weights, x, keep, got or {})
    evaluate(reader.take)
    return reader.reading


@dataclass(frozen=True, slots=True)
class _Chain:
    """Layers since those that the file has a tensor for, and what they read and compute."""

    layers: tuple[Layer, ...] = ()
    values: Mapping[str, Array] = field(default_factory=dict)


class _Reader:
    """What is still to be read by layers that are not judged yet."""

    def __init__(
        self, model: Model, weights: Weights, x: Array, keep: Collection[str], got: Values
    ) -> None:
        self.reading = Reading()
        self._left, self._weights, self._keep, self._got = list(model.layers), weights, keep, got
        self._left.reverse()
        self._last = {name: layer.name for layer in model.layers for name in layer.inputs}
        self._values: dict[str, Array] = {INPUT: x}
        self._behind: dict[str, _Chain] = {}
        self._told: dict[str, Array | None] = {}

    def take(self, name: str, value: Array | None) -> None:
        """Note what the file has of a layer, and judge those that waited for it."""
        self._told[name] = value
        while self._left and self._left[-1].name in self._told:
            layer = self._left.pop()
            verdict = self._judge(layer, self._told.pop(layer.name))
            if verdict is not None:
                self.reading.verdicts[layer.name] = verdict
            self._settle(layer)

    def _judge(self, layer: Layer, said: Array | None) -> Verdict | None:
        chains = [self._behind[name] for name in layer.inputs if name in self._behind]
        layers = (*dict.fromkeys(one for chain in chains for one in chain.layers), layer)
        read = {name: self._values[name] for name in layer.inputs if name in self._values}
        inside = {name: value for chain in chains for name, value in chain.values.items()} | read
        if said is not None:
            self._values[layer.name] = said
        try:
            inside[layer.name] = want = by_any(layer, self._weights, read)
        except UnjudgedError:
            return NOT_JUDGED
        if said is None:
            self._values[layer.name] = want
            self._behind[layer.name] = _Chain(layers, inside)
            return None
        told = compare(layers, self._weights, inside, said, exact_sums=True)
        foreign = any(isinstance(one, Operator) for one in layers)
        return Verdict(*told, ONNX if foreign else REFERENCE)

    def _settle(self, layer: Layer) -> None:
        """Compare a layer's output with the artifact's, and give up what nobody reads any more."""
        want = self._values.get(layer.name)
        if want is not None and layer.name in self._got:
            self.reading.errors[layer.name] = reference.errors(self._got[layer.name], want)
        if want is not None and layer.name in self._keep:
            self.reading.values[layer.name] = want
        for name in {*layer.inputs, layer.name}:
            if self._last.get(name, layer.name) == layer.name:
                self._values.pop(name, None)
                self._behind.pop(name, None)

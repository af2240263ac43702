"""A float network becomes one in integers, and what that cost is told.

Where the user states what it may cost, the layers that hurt most stay in float32, as many as it
takes.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.common.tables import Column, Table, Tabular
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.quantization.calibration import Quantized, quantize
from tvm_mobilenet.quantization.observation import observe
from tvm_mobilenet.quantization.pixels import PIXELS
from tvm_mobilenet.quantization.quality import Quality, quality
from tvm_mobilenet.quantization.ranges import Method

_JUDGED = 16
"""Inputs that the cost is measured on."""

_AT_ONCE = 4
"""Part of the layers, one in so many, that stays in float32 at a time when a budget is missed."""

_LOSSLESS = 60.0
"""Decibels beyond which nothing is lost that elements of 8 bits could hold."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, repr=False)
class QuantizationReport(Tabular):
    """What quantising cost.

    Attributes
    ----------
    title : str
        The network's.
    layers : dict of str to float
        Signal-to-quantisation-noise ratio of each layer's value against float64, dB, all layers
        before it in integers too.
    logits : float
        That of what the network returns, before a softmax, dB.
    agreement : float
        Share of the inputs whose first class is that of the float network.
    images : int
        That were calibrated with.
    kept : tuple of str
        Layers that compute in float32: those to keep, and those without a form in integers.
    """

    title: str
    layers: Mapping[str, float]
    logits: float
    agreement: float
    images: int
    kept: tuple[str, ...]

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        return f"<{type(self).__name__} {self.summary}>"

    @property
    def summary(self) -> str:
        """The cost in a sentence."""
        kept = f", {len(self.kept)} layers in float32" if self.kept else ""
        return (
            f"{self.title} in integers: logits {self.logits:.1f} dB, the same first class for "
            f"{self.agreement:.0%} of the calibration images{kept}"
        )

    def table(self) -> Table:
        """Return a row for each layer, those that lost most first."""
        columns = (
            Column("layer", kind="name"),
            Column("sqnr", "SQNR, dB", ".1f"),
            Column("kept", "in", kind="word"),
        )
        rows = tuple(
            (name, value, "float32" if name in self.kept else "int8")
            for name, value in sorted(self.layers.items(), key=lambda item: item[1])
        )
        return Table("layers", self.title, columns, rows, (self.summary,))

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for machines; None for what is infinite."""
        finite = {k: v if math.isfinite(v) else None for k, v in self.layers.items()}
        return dataclasses.asdict(self) | {"layers": finite, "kept": list(self.kept)}


def post_training(
    network: Network,
    images: Sequence[NDArray[Any]],
    *,
    method: Method = "mse",
    keep: Collection[str] = (),
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    told: Told = lambda _: None,
) -> tuple[Network, QuantizationReport]:
    """Quantise a network by what it computes for some images.

    Parameters
    ----------
    images : sequence of ndarray
        Inputs of the network's shape and type, NCHW.
    method : {"mse", "minmax", "percentile"}
        How ranges are chosen.
    keep : collection of str
        Layers that compute in float32.
    min_sqnr : float, optional
        Least signal-to-quantisation-noise ratio of the logits, dB.
    min_agreement : float, optional
        Least share of the images whose first class stays, 0 to 1.
    told : callable
        Told what is being done.

    Returns
    -------
    Network
        With records of the layers in integers.
    QuantizationReport
        What it cost.

    Raises
    ------
    QuantizationError
        The network is one in integers, there is no layer of a name to keep, an image does not
        fit, a value is not finite, or even all layers in float32 miss the budget.
    """
    model, weights = network.model, network.weights
    if network.records:
        raise QuantizationError(f"{model.title} computes in integers", "compile it as it is")
    _check_names(model, keep)
    told("observing the float network")
    seen = observe(model, weights, images)
    judged = images[:_JUDGED]
    kept = set(keep)
    while True:
        told(f"calibrating, {len(kept)} layers in float32" if kept else "calibrating")
        made = quantize(model, weights, images, method=method, keep=kept, seen=seen)
        told("measuring what it cost")
        cost = quality(model, weights, made, judged)
        if _within(cost, min_sqnr, min_agreement):
            break
        more = _worst(model, made, cost, kept)
        if not more:
            raise QuantizationError(
                "with every layer in float32 that can be, the logits have "
                f"{cost.logits:.1f} dB and {cost.agreement:.0%} agreement",
                "ask for less, or compile the float32 network",
            )
        kept |= more
    floats = tuple(layer.name for layer in model.layers if layer.name not in made.model.records)
    report = QuantizationReport(
        model.title, cost.layers, cost.logits, cost.agreement, len(images), floats
    )
    return dataclasses.replace(
        network, model=made.model.model, weights=made.weights, records=made.model.records
    ), report


def _check_names(model: Model, keep: Collection[str]) -> None:
    names = [layer.name for layer in model.layers]
    for name in keep:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3) or names[:3]
            raise QuantizationError(
                f"{model.title} has no layer {name!r} to keep in float32",
                f"near it are {', '.join(near)}; `explain` lists all",
            )
        if name == PIXELS or PIXELS in model.layer(name).inputs:
            raise QuantizationError(
                f"{name!r} takes pixels, and in float32 there is no kernel that does",
                "let it compute in integers, or leave the input in float32",
            )


def _within(cost: Quality, min_sqnr: float | None, min_agreement: float | None) -> bool:
    enough = min_sqnr is None or cost.logits >= min_sqnr
    return enough and (min_agreement is None or cost.agreement >= min_agreement)


def _worst(model: Model, made: Quantized, cost: Quality, kept: Collection[str]) -> set[str]:
    """Return the layers with weights where most was lost between what they read and write."""
    lost: dict[str, float] = {}
    for layer in model.layers:
        name = layer.name
        integer = name in made.model.records and name not in kept
        if isinstance(layer, Weighted) and integer and PIXELS not in layer.inputs:
            before = min(cost.layers.get(source, _LOSSLESS) for source in layer.inputs)
            lost[name] = min(before, _LOSSLESS) - min(cost.layers[name], _LOSSLESS)
    worst = sorted(lost, key=lambda name: -lost[name])
    return set(worst[: max(1, len(worst) // _AT_ONCE)])

"""A float network becomes one in integers, and what that cost is told.

Where the user states what it may cost, the layers that hurt most stay in float32, as many as it
takes.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized.pixels import PIXELS
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.quantization.budget import Budget, fewest
from tvm_mobilenet.quantization.calibration import Quantized, quantize, types_for
from tvm_mobilenet.quantization.observation import observe
from tvm_mobilenet.quantization.progress import Progress, silent
from tvm_mobilenet.quantization.quality import Quality, quality
from tvm_mobilenet.quantization.ranges import METHODS, Method
from tvm_mobilenet.quantization.report import ASKED, BUDGET, NEVER, QuantizationReport
from tvm_mobilenet.quantization.sensitivity import hurting

_JUDGED = 16
"""Inputs that the cost is measured on, where no share of all is asked for."""

_ORDERED_BY = 4
"""Inputs by which it is said which layers hurt."""

_NONE = Budget()


Choice = Method | Literal["auto"]
"""How ranges are chosen; by what is better for the logits, if nothing is said."""

CHOICES: tuple[str, ...] = ("auto", *METHODS)

_TRIED: tuple[Method, ...] = ("mse", "average")
"""What ``"auto"`` compares: it is the network that decides which is better, and by much."""


class _Attempt(NamedTuple):
    made: Quantized
    cost: Quality


def post_training(
    network: Network,
    images: Sequence[NDArray[Any]],
    *,
    method: Choice = "auto",
    keep: Collection[str] = (),
    budget: Budget = _NONE,
    progress: Progress = silent,
) -> tuple[Network, QuantizationReport]:
    """Quantise a network by what it computes for some images.

    Values of all images that are alive together are held as elements of 8 bits, float32 where a
    layer computes in it: 64 images of V1 1.0/224 take 0.35 GB in all.

    Parameters
    ----------
    images : sequence of ndarray
        Inputs of the network's shape and type, NCHW.
    method : {"auto", "mse", "average", "minmax", "percentile"}
        How ranges are chosen; ``"auto"`` takes least error or average extremes, whichever leaves
        more decibels to the logits.
    keep : collection of str
        Layers that compute in float32.

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
    seen = observe(model, weights, images, progress)
    judged = images if budget.agreement is not None else _spread(images, _JUDGED)

    def attempt(more: Iterable[str], by: Method) -> _Attempt:
        floats = {*keep, *more}
        made = quantize(
            model, weights, images, method=by, keep=floats, seen=seen, progress=progress
        )
        return _Attempt(made, quality(model, weights, made, judged, progress))

    methods = _TRIED if method == "auto" else (method,)
    firsts = {by: attempt((), by) for by in methods}
    chosen = max(methods, key=lambda by: firsts[by].cost.logits)
    made, cost = first = firsts[chosen]
    if not budget.allows(cost):
        spared = hurting(
            model,
            weights,
            made.model.records,
            types_for(seen, chosen),
            _spread(images, _ORDERED_BY),
            progress=progress,
        )
        movable = (name for name in spared if PIXELS not in model.layer(name).inputs)
        order = sorted(movable, key=lambda name: -spared[name])
        again = partial(attempt, by=chosen)
        made, cost = fewest(order, again, lambda tried: budget.allows(tried.cost))
    if not budget.allows(cost):
        raise QuantizationError(
            f"with every layer in float32 the logits have {cost.logits:.1f} dB and "
            f"{cost.agreement:.0%} agreement",
            "ask for less, or compile the float32 network",
        )
    report = QuantizationReport(
        model.title,
        cost.layers,
        cost.logits,
        cost.agreement,
        len(images),
        len(judged),
        chosen,
        _kept(model, first.made, made, keep),
    )
    return dataclasses.replace(
        network, model=made.model.model, weights=made.weights, records=made.model.records
    ), report


def _spread(images: Sequence[NDArray[Any]], most: int) -> list[NDArray[Any]]:
    """Return some of the images, from everywhere: a folder has those of a class together."""
    count = min(most, len(images))
    return [images[at * len(images) // count] for at in range(count)]


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


def _kept(model: Model, first: Quantized, last: Quantized, keep: Collection[str]) -> dict[str, str]:
    """Return the layers in float32, and why they are."""
    floats = (layer.name for layer in model.layers if layer.name not in last.model.records)
    why = dict.fromkeys(first.model.records, BUDGET) | dict.fromkeys(keep, ASKED)
    return {name: why.get(name, NEVER) for name in floats}

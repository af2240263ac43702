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
from tvm_mobilenet.models.network import KeptAs, Network
from tvm_mobilenet.models.quantized.pixels import PIXELS
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.quantization.budget import Budget, fewest
from tvm_mobilenet.quantization.calibration import Quantized, quantize, types_for
from tvm_mobilenet.quantization.observation import observe
from tvm_mobilenet.quantization.progress import Progress, silent
from tvm_mobilenet.quantization.quality import Quality, qualities, quality
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


_Stored = Literal["bfloat16", "float32"]


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
    keep_as: KeptAs = "float32",
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
        Layers that compute in floating-point.
    keep_as : {"auto", "bfloat16", "float32"}
        What they, and those that the budget names, are stored as. ``"auto"`` is measured in
        bfloat16; in float32 where nothing is kept, or where only that meets the budget.

    Returns
    -------
    Network
        With records of the layers in integers, and what the others are kept as.
    QuantizationReport
        What it cost.

    Raises
    ------
    QuantizationError
        The network is one in integers, there is no layer of a name to keep, an image does not
        fit, a value is not finite, or the budget is missed even with all layers kept.
    """
    model, weights = network.model, network.weights
    if network.records:
        raise QuantizationError(f"{model.title} computes in integers", "compile it as it is")
    _check_names(model, keep)
    seen = observe(model, weights, images, progress)
    judged = images if budget.agreement is not None else _spread(images, _JUDGED)

    def made_by(method: Method, more: Iterable[str] = ()) -> Quantized:
        floats = {*keep, *more}
        return quantize(
            model, weights, images, method=method, keep=floats, seen=seen, progress=progress
        )

    def attempt(more: Iterable[str], by: Method, stored: _Stored) -> _Attempt:
        made = made_by(by, more)
        return _Attempt(made, quality(model, weights, made, judged, progress, kept_as=stored))

    tried = _types(keep_as)
    stored = tried[0] if keep else tried[-1]
    methods = _TRIED if method == "auto" else (method,)
    networks = [made_by(by) for by in methods]
    costs = qualities(model, weights, networks, judged, progress, kept_as=stored)
    firsts = dict(zip(methods, map(_Attempt, networks, costs), strict=True))
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
        for stored in tried:
            again = partial(attempt, by=chosen, stored=stored)
            made, cost = fewest(order, again, lambda found: budget.allows(found.cost))
            if budget.allows(cost):
                break
    if not budget.allows(cost):
        raise QuantizationError(
            f"with every layer in {stored} the logits have {cost.logits:.1f} dB and "
            f"{cost.agreement:.0%} agreement",
            "ask for less, or compile the float32 network",
        )
    kept = _kept(model, first.made, made, keep)
    report = QuantizationReport(
        model.title,
        cost.layers,
        cost.logits,
        cost.agreement,
        len(images),
        len(judged),
        chosen,
        kept,
        {name: stored if why in (ASKED, BUDGET) else "float32" for name, why in kept.items()},
    )
    return dataclasses.replace(
        network,
        model=made.model.model,
        weights=made.weights,
        records=made.model.records,
        kept_as=keep_as if stored == "bfloat16" else "float32",
    ), report


def _types(keep_as: KeptAs) -> tuple[_Stored, ...]:
    """Return what kept layers may be stored as, the least bytes first."""
    return ("bfloat16", "float32") if keep_as == "auto" else (keep_as,)


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
                f"{model.title} has no layer {name!r} to keep out of integers",
                f"near it are {', '.join(near)}; `explain` lists all",
            )
        if name == PIXELS or PIXELS in model.layer(name).inputs:
            raise QuantizationError(
                f"{name!r} takes pixels, which only a kernel in integers does",
                "let it compute in integers, or leave the input in float32",
            )


def _kept(model: Model, first: Quantized, last: Quantized, keep: Collection[str]) -> dict[str, str]:
    """Return the layers that are in no integers, and why they are not."""
    floats = (layer.name for layer in model.layers if layer.name not in last.model.records)
    why = dict.fromkeys(first.model.records, BUDGET) | dict.fromkeys(keep, ASKED)
    return {name: why.get(name, NEVER) for name in floats}

"""What an evaluation found: accuracy, agreement, SQNR, speed and confusions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.tables import Column, Table
from tvm_mobilenet.evaluation.labels import Example
from tvm_mobilenet.evaluation.state import Result

_WORST = 10
_TAKEN_FOR = 3


def _share(part: float) -> str:
    return f"{part:.2%}"


def _decibels(value: float) -> str:
    return "exact" if math.isinf(value) else f"{value:.1f} dB"


_NETWORKS = (
    Column("network", kind="name"),
    Column("top1", "top-1", _share),
    Column("top5", "top-5", _share),
    Column("agreement", show=_share),
    Column("sqnr_db", "SQNR", _decibels),
    Column("images_per_second", "images/s", ".1f", priority=1),
)
_CONFUSIONS = (
    Column("class", kind="name"),
    Column("images", priority=1),
    Column("wrong"),
    Column("taken_for", kind="text"),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One network: `top1` and `top5` are shares, None where no class is known.

    ``images_per_second`` is of the network's calls alone, without reading images.
    """

    network: str
    top1: float | None
    top5: float | None
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class that was mistaken: `taken_for` are the classes it went to, most often first."""

    name: str
    images: int
    wrong: int
    taken_for: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """How good an artifact is on images.

    Attributes
    ----------
    artifact : Side
        What was evaluated.
    reference : Side or None
        What it was compared with.
    images : int
        How many count.
    resumed : int
        How many of those an earlier run had computed.
    labels : str
        Where the classes come from, in words.
    returns : str
        What SQNR is of: ``"logits"``, or ``"probabilities"`` of a network that ends in softmax.
    agreement : float or None
        Share of images whose likeliest class is the reference's.
    sqnr_db : float or None
        10 log10 of Σ ref² / Σ (ref - got)², dB; infinite where all numbers are equal; None
        without a reference, or where one network returns logits and the other probabilities.
    confusions : tuple of Confusion
        At most ten, those with most errors first.
    skipped : tuple of str
        What was wrong with each image that could not be read.
    """

    artifact: Side
    reference: Side | None
    images: int
    resumed: int
    labels: str
    returns: str
    agreement: float | None
    sqnr_db: float | None
    confusions: tuple[Confusion, ...]
    skipped: tuple[str, ...]

    def tables(self) -> list[Table]:
        """Return what people read."""
        sides = [side for side in (self.artifact, self.reference) if side is not None]
        compared = [(self.agreement, self.sqnr_db), (None, None)]
        rows = tuple(
            (side.network, side.top1, side.top5, *pair, side.images_per_second)
            for side, pair in zip(sides, compared, strict=False)
        )
        found = [Table("networks", f"{self.images} images", _NETWORKS, rows, self._notes())]
        if self.confusions:
            wrong = tuple(
                (one.name, one.images, one.wrong, _listed(one.taken_for)) for one in self.confusions
            )
            title = "Classes with most errors"
            found.append(Table("confusions", title, _CONFUSIONS, wrong))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ``exact`` stands for a SQNR that is infinite."""
        exact = self.sqnr_db is not None and math.isinf(self.sqnr_db)
        sides = {"artifact": self.artifact, "reference": self.reference}
        return {
            "images": self.images,
            "resumed": self.resumed,
            "labels": self.labels,
            **{
                name: side and {key: getattr(side, key) for key in Side.__slots__}
                for name, side in sides.items()
            },
            "agreement": self.agreement,
            "sqnr_db": None if exact else self.sqnr_db,
            "exact": exact,
            "sqnr_of": self.returns,
            "confusions": [
                {
                    "class": one.name,
                    "images": one.images,
                    "wrong": one.wrong,
                    "taken_for": [{"class": name, "images": n} for name, n in one.taken_for],
                }
                for one in self.confusions
            ],
            "skipped": list(self.skipped),
        }

    def _notes(self) -> tuple[str, ...]:
        notes = [f"Classes: {self.labels}."]
        if self.sqnr_db is not None:
            notes.append(f"SQNR is of the {self.returns} that the networks return.")
        elif self.reference is not None:
            notes.append("No SQNR: one network returns logits and the other one probabilities.")
        if self.resumed:
            notes.append(f"{self.resumed} images were computed by an earlier run.")
        if self.skipped:
            notes.append(f"{len(self.skipped)} images could not be read and do not count.")
        return tuple(notes)


def summarize(
    examples: Sequence[Example],
    results: Mapping[str, Result],
    titles: tuple[str, str | None],
    names: Sequence[str] | None,
    *,
    resumed: int,
    labels: str,
    skipped: Sequence[str],
) -> EvaluationReport:
    """Return the report of the images that have a result."""
    done = [(one.label, results[one.name]) for one in examples if one.name in results]
    first = [result for _, result in done]
    title, other = titles
    reference = agreement = sqnr = None
    if other is not None:
        reference = _side(other, done, "ref")
        agreement = sum(r["got"][0][0] == r["ref"][0][0] for r in first) / len(first)
        if all(r["probabilities"][0] == r["probabilities"][1] for r in first):
            sqnr = _sqnr(sum(r["signal"] for r in first), sum(r["noise"] for r in first))
    return EvaluationReport(
        artifact=_side(title, done, "got"),
        reference=reference,
        images=len(done),
        resumed=resumed,
        labels=labels,
        returns="probabilities" if all(r["probabilities"][0] for r in first) else "logits",
        agreement=agreement,
        sqnr_db=sqnr,
        confusions=_confusions(done, names),
        skipped=tuple(skipped),
    )


def _side(title: str, done: Sequence[tuple[int | None, Result]], key: str) -> Side:
    seconds = sum(result["seconds"][0 if key == "got" else 1] for _, result in done)
    speed = len(done) / seconds
    known = [(label, [at for at, _ in r[key]]) for label, r in done if label is not None]
    if not known:
        return Side(title, None, None, speed)
    top1 = sum(label == top[0] for label, top in known) / len(known)
    return Side(title, top1, sum(label in top for label, top in known) / len(known), speed)


def _sqnr(signal: float, noise: float) -> float | None:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else None


def _confusions(
    done: Sequence[tuple[int | None, Result]], names: Sequence[str] | None
) -> tuple[Confusion, ...]:
    def name(at: int) -> str:
        return names[at] if names else f"class {at}"

    totals = Counter(label for label, _ in done if label is not None)
    wrong: dict[int, Counter[int]] = {}
    for label, result in done:
        got = result["got"][0][0]
        if label is not None and got != label:
            wrong.setdefault(label, Counter())[got] += 1
    worst = sorted(wrong, key=lambda label: (-wrong[label].total(), label))[:_WORST]
    return tuple(
        Confusion(
            name(label),
            totals[label],
            wrong[label].total(),
            tuple((name(at), count) for at, count in wrong[label].most_common(_TAKEN_FOR)),
        )
        for label in worst
    )


def _listed(taken_for: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in taken_for)

"""Where things lie in the drawings of the report page: coordinates, no markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tvm_mobilenet.tuning.tuning_report import TunedKernel, TuningReport

WIDTH, NARROW, HEIGHT = 900.0, 400.0, 340.0
"""Sizes of a drawing, in its own units: letters are 12 high. A phone shows the narrow one."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 20.0, 14.0, 46.0
_STRIP = 26.0
"""Below the curve: trials that failed."""

_TICK = 110.0
"""Room that a number below the curve is left."""

_NAME = 96.0
"""Room for the name of a roof, to the left of where it ends."""

_NEAR_BOUND = 0.7
"""The bound is drawn if it is at least this part of the best time: else nothing else is seen."""

Tick = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with something to say.

    Attributes
    ----------
    text : str
        Shown when pointed at.
    label : tuple of (float, float, str), optional
        Where a name fits beside it, and from which side (an SVG text-anchor).
    """

    x: float
    y: float
    radius: float
    text: str
    label: tuple[float, float, str] | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """The network's time over trials.

    Attributes
    ----------
    best : str
        Path of the best so far.
    tried : str
        Path of dots: the network with each candidate.
    failed : dict of str to str
        Kind → path of strokes below the curve.
    start, bound : float, optional
        Heights of the rule's time and of the bound; None where they are not drawn.
    steps : tuple of Mark
        Trials that made it faster.
    """

    xticks: tuple[Tick, ...]
    yticks: tuple[Tick, ...]
    best: str
    tried: str
    failed: Mapping[str, str]
    start: float
    bound: float | None
    steps: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Roofline:
    """Kernels between what they compute and what they move.

    Attributes
    ----------
    roofs : tuple of (str, str, float, float)
        Path, name, and where the name stands.
    before, after : tuple of Mark
        A kernel each, in the order of its rows.
    operators : tuple of str
        What each kernel is.
    numbers : tuple of int
        Row of each kernel, from 1.
    """

    xticks: tuple[Tick, ...]
    yticks: tuple[Tick, ...]
    roofs: tuple[tuple[str, str, float, float], ...]
    before: tuple[Mark, ...]
    after: tuple[Mark, ...]
    operators: tuple[str, ...]
    numbers: tuple[int, ...]


def curve(report: TuningReport, width: float = WIDTH) -> Curve | None:
    """Lay the tuning curve out; None where no candidate ran.

    The drawing is `width` units wide.
    """
    steps = report.steps
    if not any(step.with_s is not None for step in steps):
        return None
    start, best = steps[0].best_s, steps[-1].best_s
    bound = report.bound_s if _NEAR_BOUND * best <= report.bound_s <= start else 0.0
    low = min(best, bound or best)
    span = max(start - low, 0.02 * start)
    low, high = low - 0.08 * span, max(start, low) + 0.35 * span
    base = HEIGHT - _BOTTOM - _STRIP

    def x(number: float) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * number / max(len(steps), 1)

    def y(seconds: float) -> float:
        return max(_TOP, base - (base - _TOP) * (seconds - low) / (high - low))

    line = [f"M{x(0):.1f} {y(start):.1f}"]
    dots: list[str] = []
    failed: dict[str, list[str]] = {}
    marks: list[Mark] = []
    height = y(start)
    for step in steps:
        at = x(step.number)
        if step.with_s is None:
            failed.setdefault(step.trial.outcome, []).append(f"M{at:.1f} {base + 8:.1f}v10")
            continue
        dots.append(f"M{at:.1f} {y(step.with_s):.1f}h0")
        if step.better:
            if y(step.best_s) != height:
                height = y(step.best_s)
                line.append(f"H{at:.1f}V{height:.1f}")
            text = f"trial {step.number}: {step.best_s * 1e3:.4g} ms, {step.trial.workload}"
            marks.append(Mark(at, height, 3, text))
    line.append(f"H{x(len(steps)):.1f}")
    return Curve(
        tuple(
            (x(value), f"{value:g}")
            for value in ticks(0, len(steps), max(2, round(width / _TICK)))
            if value % 1 == 0
        ),
        tuple((y(value / 1e3), f"{value:g}") for value in ticks(low * 1e3, high * 1e3, 6)),
        "".join(line),
        "".join(dots),
        {kind: "".join(paths) for kind, paths in failed.items()},
        y(start),
        y(bound) if bound else None,
        tuple(marks),
    )


def roofline(report: TuningReport, width: float = WIDTH) -> Roofline | None:
    """Lay the roofline out; None where multiply-adds, bytes or the peak are not known.

    The drawing is `width` units wide.
    """
    drawn = [
        (number, row)
        for number, row in enumerate(report.rows, 1)
        if row.macs and row.bytes and row.best_s and report.peak_gflops
    ]
    if not drawn:
        return None
    speeds = [speed(row, s) for _, row in drawn for s in (row.rule_s, row.best_s) if s]
    ratios = [2 * row.macs / row.bytes for _, row in drawn]
    left, right = min(ratios) / 1.8, max(ratios) * 1.8
    low, high = min(speeds) / 1.6, max(report.peak_gflops, *speeds) * 1.5

    def x(ratio: float) -> float:
        part = math.log(ratio / left) / math.log(right / left)
        return _LEFT + (width - _LEFT - _RIGHT) * part

    def y(gflops: float) -> float:
        part = math.log(gflops / low) / math.log(high / low)
        return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * part

    roofs = _roofs(report, (left, right), low, x, y)
    before: list[Mark] = []
    after: list[Mark] = []
    for number, row in drawn:
        ratio = 2 * row.macs / row.bytes
        radius = max(3.0, 22 * math.sqrt(row.after_s / report.best_s))
        best_s = row.best_s or 0.0
        for seconds, marks, when in (
            (row.rule_s or best_s, before, "rule"),
            (best_s, after, "kept"),
        ):
            gflops = speed(row, seconds)
            text = f"{number}. {row.workload}, {when}: {gflops:.1f} GFLOP/s, {ratio:.1f} per byte"
            marks.append(Mark(x(ratio), y(gflops), radius, text))
    return Roofline(
        tuple((x(v), f"{v:g}") for v in _decades(left, right, most=width / 50)),
        tuple((y(v), f"{v:g}") for v in _decades(low, high)),
        roofs,
        tuple(before),
        _labelled(after),
        tuple(row.operator for _, row in drawn),
        tuple(number for number, _ in drawn),
    )


def _roofs(
    report: TuningReport,
    ratios: tuple[float, float],
    low: float,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> tuple[tuple[str, str, float, float], ...]:
    """Lay out the peak, and the bandwidths that were measured, from the least speed drawn up."""
    peak, (left, right) = report.peak_gflops, ratios
    end = x(right)
    roofs = [(f"M{_LEFT} {y(peak):.1f}H{end}", f"peak {peak:.0f} GFLOP/s", end - 4, y(peak) - 22)]
    for level, rate in (report.roofs.bandwidth if report.roofs else {}).items():
        first, last = max(left, low / rate), min(right, peak / rate)
        if first < last:
            path = f"M{x(first):.1f} {y(rate * first):.1f}L{x(last):.1f} {y(rate * last):.1f}"
            middle = math.sqrt(first * last)
            at = max(x(middle), _NAME)
            roofs.append((path, f"{level} {rate:.0f} GB/s", at, y(rate * middle) - 5))
    return tuple(roofs)


def speed(row: TunedKernel, seconds: float) -> float:
    """Return the GFLOP/s of a kernel that takes so long, two operations per multiply-add."""
    return 2 * row.macs / seconds / 1e9


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers in a range, evenly apart.

    Parameters
    ----------
    low, high : float
        In order, and apart.
    most : int
        How many at most, about.
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _decades(low: float, high: float, most: float = math.inf) -> list[float]:
    """Return 1, 2 and 5 times powers of ten in a range; powers alone where those are too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= f * 10.0**p <= high]
    alone = [value for value in every if math.log10(value) % 1 == 0]
    return every if len(every) <= most or len(alone) < 2 else alone


def _labelled(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Find room for a number beside each mark, where there is any; the first have the choice."""
    names: list[tuple[float, float]] = []
    found = []
    for mark in marks:
        far = mark.radius + 4
        sides = (far, 4, "start"), (-far, 4, "end"), (0, -far, "middle"), (0, far + 10, "middle")
        label = None
        for dx, dy, anchor in sides:
            x, y = mark.x + dx, mark.y + dy
            # The middle of a number of two digits.
            middle = x + {"start": 7, "end": -7, "middle": 0}[anchor], y - 4
            free = all(
                math.dist(middle, (m.x, m.y)) > m.radius + 7 for m in marks if m is not mark
            ) and all(math.dist(middle, name) > 14 for name in names)
            if free:
                names.append(middle)
                label = (x, y, anchor)
                break
        found.append(replace(mark, label=label))
    return tuple(found)

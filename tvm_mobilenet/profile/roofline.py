"""The roofline of a network: every kernel between what it computes and what it moves.

S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual
performance model for multicore architectures", CACM 52(4), 2009.
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.common.tables import threads_text, together
from tvm_mobilenet.errors import OutputError, PlotError
from tvm_mobilenet.profile.points import Point, points
from tvm_mobilenet.profile.room import Disc, fit, free_place

if TYPE_CHECKING:
    from tvm_mobilenet.profile.breakdown import ProfileReport

FORMATS = ("png", "pdf", "svg")
"""By the ending of the file's name."""

# Okabe and Ito's colours, told apart by every kind of sight.
_COLOURS = {
    "pointwise": "#0072B2",
    "depthwise": "#D55E00",
    "separable": "#009E73",
    "conv": "#CC79A7",
    "dense": "#E69F00",
}
_OTHER, _INK, _PALE = "#6b6b6b", "#222222", "#8a8a8a"


def check_drawable(path: str | os.PathLike[str]) -> None:
    """Refuse, before anything is measured, what could not be drawn in the end.

    Raises
    ------
    PlotError
        Matplotlib is not installed, or the file's ending names no format.
    OutputError
        The path cannot be written.
    """
    target = Path(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError("drawing needs matplotlib", "pip install 'tvm-mobilenet[plot]'")
    if target.suffix[1:].lower() not in FORMATS:
        raise PlotError(
            f"{str(target)!r} names no format to draw in",
            f"end it in {', '.join(f'.{name}' for name in FORMATS)}",
        )
    folder = target.absolute().parent
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(target)!r}",
            "choose a file in a folder that exists and that you may write to",
        )


def draw(report: ProfileReport, path: str | os.PathLike[str]) -> Path:
    """Draw the roofline into a file; needs no display.

    Parameters
    ----------
    report : ProfileReport
        Its kernels with multiply-adds are drawn, the others named.
    path : path-like
        Ending in one of :data:`FORMATS`.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    PlotError, OutputError
        As :func:`check_drawable`.
    """
    check_drawable(path)
    target = Path(path)
    from matplotlib import rc_context

    # A layer's name is no formula, whatever dollar signs are in it.
    with rc_context({"text.parse_math": False}):
        figure = figure_of(report)
    with written_aside(target) as aside:
        figure.savefig(aside, format=target.suffix[1:].lower())
    return target


def figure_of(report: ProfileReport) -> Any:
    """Return the roofline as a figure of matplotlib's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = points(report)
    # As high as the list beside the drawing needs.
    figure = Figure(figsize=(12.5, max(7.0, 1.4 + 0.19 * len(drawn))), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.06, 0.1, 0.56, 0.76))
    _frame(axes, report, drawn)
    _roofs(axes, report)
    _dots(axes, drawn)
    _list(figure.add_axes((0.645, 0.04, 0.345, 0.84)), drawn)
    _titles(figure, report)
    return figure


def _frame(axes: Any, report: ProfileReport, drawn: list[Point]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    peak = report.machine.peak_gflops
    xs, ys = [point.intensity for point in drawn], [point.gflops for point in drawn]
    nearest = max(report.machine.bandwidth.values())
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.55 * min([*xs, 0.5 * peak / nearest]), 2.2 * max([*xs, 10.0])),
        # A peak that was measured low has dots above it.
        ylim=(0.5 * min([*ys, 0.1 * peak]), max(1.7 * peak, 1.4 * max(ys, default=0.0))),
        xlabel="operations per byte moved at least (input + weights + output)",
        ylabel="GFLOP/s in the network",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _roofs(axes: Any, report: ProfileReport) -> None:
    machine = report.machine
    left, right = axes.get_xlim()
    bottom = axes.get_ylim()[0]
    peak = machine.peak_gflops
    axes.plot([left, right], [peak, peak], color=_INK, linewidth=1.6, zorder=2)
    axes.annotate(
        f"peak, measured: {peak:.0f} GFLOP/s",
        (left, peak),
        xytext=(6, 5),
        textcoords="offset points",
        fontsize=9,
        color=_INK,
    )
    for level, gbytes in machine.bandwidth.items():
        start, ridge = max(left, bottom / gbytes), peak / gbytes
        axes.plot([start, ridge], [start * gbytes, peak], color=_PALE, linewidth=1.3, zorder=2)
        # Along the line, a fifth of the way up.
        x = start * (ridge / start) ** 0.22
        ends = axes.transData.transform([(start, start * gbytes), (ridge, peak)])
        (x0, y0), (x1, y1) = ends
        axes.annotate(
            f"{level} {gbytes:.0f} GB/s",
            (x, x * gbytes),
            xytext=(-3, 5),
            textcoords="offset points",
            rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
            rotation_mode="anchor",
            fontsize=9,
            color=_PALE,
        )


def _dots(axes: Any, drawn: list[Point]) -> None:
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    scale = axes.figure.dpi / 72
    dots = []
    ordered = sorted(drawn, key=lambda point: -point.share_of_time)
    for point in ordered:
        # The area is the time: a kernel that takes a tenth of it is 250 square points.
        area = max(14.0, 2500 * point.share_of_time)
        place = (point.intensity, point.gflops)
        axes.scatter(
            *place,
            s=area,
            color=_colour(point),
            alpha=0.6,
            linewidth=0.8,
            edgecolor="white",
            zorder=3,
        )
        x, y = axes.transData.transform(place)
        dots.append(Disc(x, y, scale * math.sqrt(area / math.pi)))
    box = axes.get_window_extent()
    roof = axes.transData.transform((1.0, axes.get_lines()[0].get_ydata()[0]))[1]
    below = Bbox.from_extents(box.x0, box.y0, box.x1, roof)
    above = Bbox.from_extents(box.x0, roof + 8 * scale, box.x1, box.y1)
    numbers: list[Disc] = []
    for point, dot in zip(ordered, tuple(dots), strict=True):
        side = below if dot.y <= roof else above
        number = free_place(dot, [*dots, *numbers], 6.5 * scale, side)
        numbers.append(number)
        axes.annotate(
            str(point.number),
            (point.intensity, point.gflops),
            xytext=((number.x - dot.x) / scale, (number.y - dot.y) / scale),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=_colour(point),
            arrowprops={"arrowstyle": "-", "color": _colour(point), "lw": 0.7, "shrinkA": 5},
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=4,
        )


def _list(axes: Any, drawn: list[Point]) -> None:
    """Write down which number is which layer."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(max(len(drawn), 24) + 0.5, -1.0))
    columns = ((0.035, "right"), (0.06, "left"), (0.68, "right"), (0.84, "right"), (1.0, "right"))
    room = (0.57 - 0.06) * axes.get_window_extent().width
    heads = ("", "layers", "GFLOP/s", "of peak", "of time")
    for (x, align), head in zip(columns, heads, strict=True):
        axes.text(x, -0.6, head, ha=align, fontsize=8.5, color=_PALE)
    for line, point in enumerate(drawn):
        cells = (
            str(point.number),
            point.label,
            f"{point.gflops:.0f}",
            f"{point.share_of_peak:.0%}",
            f"{point.share_of_time:.1%}",
        )
        for place, ((x, align), cell) in enumerate(zip(columns, cells, strict=True)):
            style = {"color": _colour(point), "fontweight": "bold"} if place < 1 else {}
            written = axes.text(x, line + 0.5, cell, ha=align, fontsize=8.5, **style)
            if place == 1:
                fit(written, room)


def _titles(figure: Any, report: ProfileReport) -> None:
    totals, machine = report.totals(), report.machine
    threads = threads_text(report.threads)
    width = figure.get_window_extent().width
    speed = 2 * sum(row.macs for row in report.rows) / totals["call"] / 1e3
    title = figure.text(
        0.06,
        1 - 0.385 / figure.get_figheight(),
        f"{report.model} on {report.target}, {threads}",
        fontsize=15,
        fontweight="bold",
        color=_INK,
    )
    fit(title, 0.93 * width)
    notes = "; others used the processors meanwhile" if report.disturbed else ""
    if beyond := report.beyond_peak:
        notes += f"; {len(beyond)} kernels are above it: it was measured low"
    subtitle = figure.text(
        0.06,
        1 - 0.7 / figure.get_figheight(),
        f"one call {totals['call'] / 1e3:.3f} ms: {speed:.0f} GFLOP/s, "
        f"{speed / machine.peak_gflops:.1%} of the measured peak; a dot's area is its share of time"
        + notes,
        fontsize=10,
        color=_OTHER,
    )
    fit(subtitle, 0.93 * width)
    left_out = [together(row.layers) for row in report.rows if not row.macs]
    if left_out:
        text = f"not drawn, no multiply-adds ({len(left_out)}): {', '.join(left_out)}"
        fit(figure.text(0.06, 0.018, text, fontsize=8, color=_PALE), 0.93 * width)


def _colour(point: Point) -> str:
    return _COLOURS.get(point.operator, _OTHER)

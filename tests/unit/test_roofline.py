"""The drawing of a profile: what it shows, and that nothing in it is covered."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from test_profile import SERIAL, report, row

from tvm_mobilenet.errors import OutputError, PlotError
from tvm_mobilenet.profile import ProfileReport, roofline
from tvm_mobilenet.profile.points import points
from tvm_mobilenet.profile.room import Disc, free_place


def many() -> ProfileReport:
    """As MobileNet is: several kernels at nearly the same place, one shared by five layers."""
    rows = [
        row(layers=(f"block{i}.pw",), kernel=f"k{i}", network_us=125.0 + i % 2) for i in range(6)
    ]
    rows += [row(layers=(f"block{i}.pw",), kernel="shared") for i in range(6, 11)]
    return report(*rows, SERIAL)


def test_layers_that_share_a_kernel_are_one_point() -> None:
    drawn = points(many())
    assert [point.number for point in drawn] == [1, 2, 3, 4, 5, 6, 7]
    assert drawn[-1].label == "block6.pw … block10.pw (5)"
    assert drawn[-1].gflops == pytest.approx(320.0)
    assert sum(point.share_of_time for point in drawn) == pytest.approx(
        1 - 125 / many().totals()["network"]
    )


@pytest.mark.parametrize("ending", roofline.FORMATS)
def test_drawing_needs_no_display(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    path = roofline.draw(many(), tmp_path / f"roofline.{ending}")
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert path.read_bytes().startswith(start)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_layer_is_named_in_the_drawing(tmp_path: Path) -> None:
    text = roofline.draw(many(), tmp_path / "roofline.svg").read_text()
    for label in ("block3.pw", "block6.pw … block10.pw (5)", "L3 200 GB/s", "2 threads"):
        assert f"<!-- {label} -->" in text or label in text, label


def test_numbers_cover_neither_dots_nor_numbers() -> None:
    from matplotlib.transforms import Bbox

    inside = Bbox.from_extents(0, 0, 500, 500)
    dots = [Disc(250.0 + i % 3, 480.0 - i, 10.0) for i in range(12)]
    numbers: list[Disc] = []
    for dot in dots:
        numbers.append(free_place(dot, [*dots, *numbers], 6.0, inside))
    for i, number in enumerate(numbers):
        assert inside.contains(number.x, number.y)
        for other in (*dots, *numbers[:i]):
            apart = math.hypot(number.x - other.x, number.y - other.y)
            assert apart >= number.radius + other.radius - 1e-9


LONG = "/features/features.{}/conv/conv.1/conv.1.2/Conv_output_0"


def test_long_names_stay_in_their_column_and_on_the_page() -> None:
    """A network from PyTorch, three layers to a kernel, and a title as long as a path."""
    names = [LONG.format(at) for at in range(120)]
    rows = [row(layers=tuple(names[at : at + 3]), kernel=f"k{at}") for at in range(0, 105, 3)]
    rows += [row(layers=(name,), kernel=name, macs=0) for name in names[105:]]
    made = dataclasses.replace(report(*rows), model="/home/somebody/" + "networks/" * 20)
    figure = roofline.figure_of(made)
    figure.canvas.draw()
    page = figure.bbox
    listed = figure.axes[1].texts
    for text in (*figure.texts, *figure.axes[0].texts, *listed):
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1, text.get_text()
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1, text.get_text()
    lines: dict[float, list[Any]] = {}
    for text in listed:
        lines.setdefault(text.get_position()[1], []).append(text.get_window_extent())
    assert len(lines) == 36
    for boxes in lines.values():
        ordered = sorted(boxes, key=lambda box: box.x0)
        for one, following in itertools.pairwise(ordered):
            assert one.x1 < following.x0
    heights = sorted(boxes[0].y0 for boxes in lines.values())
    assert min(b - a for a, b in itertools.pairwise(heights)) > listed[0].get_fontsize()


def test_dots_above_a_peak_that_was_measured_low_are_drawn_and_told() -> None:
    fast = row(layers=("fast",), kernel="fast", network_us=40.0)
    made = report(row(), fast)
    assert made.beyond_peak == (fast,)
    figure = roofline.figure_of(made)
    figure.canvas.draw()
    axes = figure.axes[0]
    for dots in axes.collections:
        (place,) = axes.transData.transform(dots.get_offsets())
        assert axes.bbox.contains(*place)
    assert any("measured low" in text.get_text() for text in figure.texts)
    assert "1 of 2 kernels are faster than that peak (fast: 250% of it)" in " ".join(
        made.table().notes
    )


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlotError, match=r"\.png, \.pdf, \.svg"):
        roofline.check_drawable(tmp_path / "roofline.txt")
    with pytest.raises(OutputError, match="cannot write"):
        roofline.check_drawable(tmp_path / "nowhere" / "roofline.png")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PlotError, match=r"tvm-mobilenet\[plot\]"):
        roofline.check_drawable(tmp_path / "roofline.png")

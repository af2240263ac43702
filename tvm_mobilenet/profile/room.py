"""Room in a drawing: where a number stands free, how much of a text fits."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tvm_mobilenet.common.tables import cell_width, shortened

_DIRECTIONS = 16


class Disc(NamedTuple):
    """What covers a piece of the drawing, in its pixels."""

    x: float
    y: float
    radius: float


def free_place(dot: Disc, taken: list[Disc], radius: float, inside: Any) -> Disc:
    """Return the place nearest to a dot where its number covers neither dot nor number."""
    for ring in range(60):
        away = dot.radius + radius * (1.1 + 0.25 * ring)
        for step in range(_DIRECTIONS):
            # From below on: above is the roof.
            angle = 2 * math.pi * step / _DIRECTIONS - math.pi / 2
            x, y = dot.x + away * math.cos(angle), dot.y + away * math.sin(angle)
            if inside.contains(x, y) and all(
                math.hypot(x - other.x, y - other.y) >= radius + other.radius for other in taken
            ):
                return Disc(x, y, radius)
    return Disc(dot.x, dot.y, radius)


def fit(written: Any, room: float) -> None:
    """Leave out the middle of a text that is wider than its room, in pixels."""
    text = written.get_text()
    fits, too_many = 1, cell_width(text) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        written.set_text(shortened(text, middle))
        if written.get_window_extent().width <= room:
            fits = middle
        else:
            too_many = middle
    written.set_text(shortened(text, fits))

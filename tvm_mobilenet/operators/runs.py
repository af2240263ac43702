"""Lists of rows, columns and channels, cut where their step changes."""

from __future__ import annotations

from collections.abc import Iterable

MOST_RUNS = 5
"""Runs of columns that are loops of their own; where there are more, a table is read."""


def runs(numbers: Iterable[int]) -> list[tuple[int, int, int]]:
    """Cut a list into (first, step, count), each as long as its step stays the same.

    Numbers below 0, which say that nothing was moved there, are in runs of their own.
    """
    found: list[tuple[int, int, int]] = []
    for number in numbers:
        if found:
            first, step, count = found[-1]
            step = number - first if count == 1 else step
            apart = (first < 0) != (number < 0)
            if not apart and number == first + step * count:
                found[-1] = (first, step, count + 1)
                continue
        found.append((number, 0, 1))
    return found

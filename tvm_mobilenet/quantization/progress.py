"""How far calibration is, for a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int, int, str], object]
"""Told of steps done, steps in all, and what is being done."""


def silent(_done: int, _total: int, _text: str) -> None:
    """Tell nobody."""


def told(steps: Sequence[T], progress: Progress, text: str) -> Iterator[T]:
    """Go through some steps, and tell of each before it is taken."""
    for at, step in enumerate(steps):
        progress(at, len(steps), text)
        yield step

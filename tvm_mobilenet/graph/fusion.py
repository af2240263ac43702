"""Which layers share a kernel: a rule from caches and cores, one sentence for each answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tvm_mobilenet.target import TargetSpec

Fusion = Literal["auto", "all", "none"]
"""Which layers share a kernel: by the rule, all that can, none."""

_FLOAT = 4
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether some layers share a kernel.

    Attributes
    ----------
    fused : bool
    why : str
        One sentence for people.
    """

    fused: bool
    why: str


def choose_separable(
    in_shape: tuple[int, ...], mid_shape: tuple[int, ...], out_channels: int, target: TargetSpec
) -> Choice:
    return Choice(True, "x")


def choose_tail(
    in_shape: tuple[int, ...], mid_shape: tuple[int, ...], classes: int, target: TargetSpec
) -> Choice:
    return Choice(True, "x")

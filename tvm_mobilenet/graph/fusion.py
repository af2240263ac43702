"""Which layers share a kernel: a rule from caches and cores, one sentence for each answer.

A shared kernel saves that the map between two layers is written and read again beyond
the core that made it; it pays with a micro-kernel that stops more often. So the rule asks
whether what would travel is large against L2. Measured in whole artifacts in turns, V1 on
two Zen 5 cores, none → by this rule: 1.0/224 5.40 → 5.33 and 5.52 → 5.39 ms on one thread,
2.86 → 2.79 on two; 0.75/192 2.46 → 2.42 and 2.51 → 2.45. With half the limit 0.75/192 and
0.5/160 lost 1 to 2% on one thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tvm_mobilenet.target import TargetSpec

Fusion = Literal["auto", "all", "none"]
"""Which layers share a kernel: by the rule, all that can, none."""

_FLOAT = 4
"""Bytes."""

_BUSY = 8
"""Multiply-adds for each byte of a block's input and output, below which it waits for those."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether some layers share a kernel.

    Attributes
    ----------
    fused : bool
    why : str
        One sentence for people.
    source : {"rule", "record", "asked"}
        Who says so.
    """

    fused: bool
    why: str
    source: str = "rule"


def choose_separable(
    in_shape: tuple[int, ...], mid_shape: tuple[int, ...], out_channels: int, target: TargetSpec
) -> Choice:
    """Decide whether a depthwise and a pointwise layer share a kernel.

    Parameters
    ----------
    in_shape, mid_shape : tuple of int
        (N, C, H, W) of the depthwise layer's input and output.
    out_channels : int
        Of the pointwise layer.
    target : TargetSpec
    """
    batch, channels, rows, columns = mid_shape
    pixels = rows * columns
    between = _FLOAT * channels * pixels
    into = _FLOAT * math.prod(in_shape[1:])
    out = _FLOAT * out_channels * pixels
    busy = channels * pixels * out_channels / (into + out)
    if into + between <= 2 * target.l2_bytes:
        return Choice(
            False,
            f"what passes between them, {_size(between)}, is read again before it has gone far",
        )
    if batch * rows < 2 * target.cores:
        return Choice(False, f"{rows} rows are too few to share between {target.cores} threads")
    if busy < _BUSY:
        return Choice(
            False,
            f"{busy:.0f} multiply-adds for each byte of input and output, which it waits for",
        )
    return Choice(
        True, f"what passes between them, {_size(between)}, never leaves the core that made it"
    )


def choose_tail(
    in_shape: tuple[int, ...], mid_shape: tuple[int, ...], classes: int, target: TargetSpec
) -> Choice:
    """Decide whether the last pointwise layer, the pool and the classifier share a kernel.

    Parameters
    ----------
    in_shape, mid_shape : tuple of int
        (N, C, H, W) of the pointwise layer's input and output.
    classes : int
        Of the classifier.
    target : TargetSpec
    """
    batch, channels = mid_shape[:2]
    weights = _FLOAT * channels * classes
    if batch > 1:
        return Choice(
            False, f"on its own, the classifier reads its weights once for {batch} images"
        )
    if weights <= 2 * target.l2_bytes:
        return Choice(False, f"the classifier's weights, {_size(weights)}, arrive soon enough")
    return Choice(
        True, f"the classifier's weights, {_size(weights)}, arrive during the pointwise layer"
    )


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB"

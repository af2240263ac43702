"""Which pointwise layers become seven products of halves: a rule, one sentence for each answer.

One level saves an eighth of the multiply-adds and pays with sums of inputs, sums of
outputs, weights of 7/4 the size, and the pixel of zeros that an odd map gets. Costs in
parts of the layer's own arithmetic, from a Zen 5 core's cycles for each
(:mod:`tvm_mobilenet.schedules.cpu.strassen` has the table for MobileNet V1): a quarter
vector's input sums, or its output's, take 8 cycles; half a vector's multiply-add one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.operators.workload import Workload

_SAVED = 1 / 8
_SUMS = 4.0
"""Cost of input sums times output channels, and of output sums times input channels."""

_PANELS = 3.3
"""Cost of the larger weights times pixels: 3 K N bytes more, at 29 bytes a cycle."""

_LEAST = 0.04
"""Gain from which it is done: prediction and measurement are two parts in a hundred apart."""


SEVEN_WIN = "seven products for eight gain more"
"""Why a layer that takes them shares no kernel."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Whether a layer is computed so.

    Attributes
    ----------
    used : bool
    why : str
        One sentence for people.
    share : float
        Of the layer's own arithmetic, what is saved; 0 where it is not used.
    """

    used: bool
    why: str
    share: float = 0.0


def choose_strassen(work: Workload) -> Gain:
    """Decide whether a pointwise layer takes one level of Strassen–Winograd.

    Parameters
    ----------
    work : Workload
        A ``"pointwise"`` workload, in the blocks of its target.
    """
    batch, in_channels, out_channels = work.batch, work.in_channels, work.out_channels
    if work.residual or work.activation not in ("none", "relu", "relu6"):
        return Gain(False, "its epilogue is more than a bias and a clip")
    if in_channels % (2 * work.in_block) or out_channels % (2 * work.out_block):
        return Gain(False, "its channels are no whole blocks in halves")
    pixels = work.out_pixels
    cost = _SUMS / out_channels + _SUMS / in_channels + _PANELS / (batch * pixels)
    cost += (1 - _SAVED) * (pixels % 2) / pixels
    gain = _SAVED - cost
    if gain < _LEAST:
        return Gain(False, f"a gain of {100 * gain:.1f}% is predicted, too little to be sure of")
    return Gain(True, f"a gain of {100 * gain:.1f}% is predicted", gain)

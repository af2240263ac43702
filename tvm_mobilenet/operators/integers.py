"""Operators on elements of 8 bits: what their kernels are, and how their weights lie.

Every map is in blocks of :data:`BLOCK` channels whatever the instruction set, so that one packed
weight serves all: :data:`STEP` inputs of an output channel lie side by side, as ``vpdpbusd`` and
``sdot`` multiply them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.operators.conv import Conv
from tvm_mobilenet.operators.depthwise import Depthwise
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.footprint import blocked_in, blocked_out
from tvm_mobilenet.operators.packing import Array
from tvm_mobilenet.operators.pointwise import Pointwise
from tvm_mobilenet.operators.pool import Pool
from tvm_mobilenet.operators.scale import Scale
from tvm_mobilenet.operators.separable import Separable
from tvm_mobilenet.operators.workload import STEP_BLOCK, Workload

BLOCK = STEP_BLOCK
"""Channels in a block."""

IMAGE_BLOCK = 4
"""Channels in a block of an image, which has no more than that."""

STEP = 4
"""Inputs of an output channel that are multiplied at once."""

_NUMBERS = 8
"""Bytes of a channel's scale and shift."""


class _Integer(Facts):
    """What operators on elements have in common: the planner finds their sizes, no layer alone."""

    __slots__ = ()

    def of_layer(self, layer: Layer, target: object) -> Workload | None:
        return None


class QConv(_Integer, Conv):
    """A full convolution from maps in blocks, those of an image among them."""

    __slots__ = ()

    name = "qconv"
    reads_plain = False

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.passes * math.prod(work.kernel) * work.depth + _NUMBERS)


class QPixels(QConv):
    """A network's first convolution, of an image's pixels as they are: plain uint8.

    Behind the colours of a pixel lies a fourth byte, 0 but in the border.
    """

    __slots__ = ()

    name = "qpixels"
    reads_plain = True


class QPointwise(_Integer, Pointwise):
    """A pointwise convolution, perhaps with a residual connection; a dense layer is one, too."""

    __slots__ = ()

    name = "qpointwise"
    hosts_prefetches = False

    def prefetched_shape(self, work: Workload) -> tuple[int, ...]:
        return (work.out_blocks, work.passes * work.depth // STEP, BLOCK, STEP)

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.passes * work.depth + _NUMBERS)


class QDense(QPointwise):
    """A classifier: its sums leave as float32, (N, O)."""

    __slots__ = ()

    name = "qdense"
    writes_plain = True


class QDepthwise(_Integer, Depthwise):
    """A depthwise convolution."""

    __slots__ = ()

    name = "qdepthwise"

    def weight_elements(self, work: Workload) -> int:
        return blocked_in(work) * (work.passes * _taps(work) + _NUMBERS)


class QSeparable(_Integer, Separable):
    """A separable block; what passes between its layers is stored as maps are."""

    __slots__ = ()

    name = "qseparable"
    patterns = (("qdepthwise", "qpointwise"), ("qdepthwise", "qresidual"))
    hosts_prefetches = False

    def join(self, parts: Sequence[Workload]) -> Workload:
        first, last = parts
        return dataclasses.replace(
            super().join(parts),
            out_dtype=last.out_dtype,
            limits=last.limits,
            mid_limits=first.limits,
            residual_first=last.residual_first,
            passes=last.passes,
            mid_passes=first.passes,
        )

    def weight_elements(self, work: Workload) -> int:
        filters = blocked_in(work) * (work.mid_passes * _taps(work) + _NUMBERS)
        return filters + blocked_out(work) * (work.passes * work.depth + _NUMBERS)


class QPool(_Integer, Pool):
    """The mean of a map."""

    __slots__ = ()

    name = "qpool"
    writes_plain = False


class QScale(_Integer, Scale):
    """A map times a factor for each channel."""

    __slots__ = ()

    name = "qscale"


class _OverElements(_Integer):
    """An operator that goes over elements one by one."""

    __slots__ = ()

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return ()


class Quantize(_OverElements):
    """Plain float32 becomes elements in blocks."""

    __slots__ = ()

    name = "quantize"
    reads_plain = True


class Dequantize(_OverElements):
    """Elements in blocks become plain float32."""

    __slots__ = ()

    name = "dequantize"
    writes_plain = True


class QuantizeBlocks(_OverElements):
    """Numbers in blocks become elements there."""

    __slots__ = ()

    name = "quantize_blocks"


class DequantizeBlocks(_OverElements):
    """Elements in blocks become numbers there."""

    __slots__ = ()

    name = "dequantize_blocks"


class QTable(_OverElements):
    """An activation alone: a table gives the element for each of 256."""

    __slots__ = ()

    name = "qtable"


class QAdd(_OverElements):
    """The sum of two maps."""

    __slots__ = ()

    name = "qadd"


class QConcat(_OverElements):
    """Maps one behind another, along channels."""

    __slots__ = ()

    name = "qconcat"


class QSoftmax(_OverElements):
    """A softmax, by a table of exponentials."""

    __slots__ = ()

    name = "qsoftmax"
    element_work = 8


class _Windows(_OverElements):
    """What goes over windows of a map."""

    __slots__ = ()

    windowed = True

    def macs(self, work: Workload) -> int:
        return work.out_elements * math.prod(work.kernel)


class QLargest(_Windows):
    """The largest element of each window."""

    __slots__ = ()

    name = "qlargest"


class QMean(_Windows):
    """The mean of each window."""

    __slots__ = ()

    name = "qmean"


def without_groups(weight: Array, groups: int) -> Array:
    """Return a weight (O, I / groups, ...) as (O, I, ...), zeros between the groups."""
    import numpy as np

    outputs, inputs = weight.shape[:2]
    each = outputs // groups
    found = np.zeros((outputs, inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        own = slice(group * each, (group + 1) * each)
        found[own, group * inputs : (group + 1) * inputs] = weight[own]
    return found


def _taps(work: Workload) -> int:
    rows, columns = work.kernel
    return rows * -(-columns // STEP) * STEP


INTEGER_OPERATORS: tuple[Facts, ...] = (
    QConv(),
    QPixels(),
    QDepthwise(),
    QPointwise(),
    QSeparable(),
    QPool(),
    QScale(),
    QDense(),
    Quantize(),
    Dequantize(),
    QuantizeBlocks(),
    DequantizeBlocks(),
    QTable(),
    QAdd(),
    QConcat(),
    QSoftmax(),
    QLargest(),
    QMean(),
)
"""All of them."""

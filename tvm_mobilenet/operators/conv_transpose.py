"""Transposed convolution: the gradient of a convolution, which makes a map larger.

An output pixel is reached by every stride-th tap. The pixels of one phase, those with the same
remainder by the strides, are a dense convolution with the taps that reach them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.footprint import blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, panels
from tvm_mobilenet.operators.phases import phase_taps
from tvm_mobilenet.operators.workload import Workload, channel_block


class ConvTranspose(Facts):
    """A transposed convolution of any stride; depthwise where every channel is a group."""

    __slots__ = ()

    name = "conv_transpose"
    activates = True
    takes_slopes = True
    windowed = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if not isinstance(layer, ConvTranspose2d):
            return None
        n, channels, *in_size = layer.in_shape
        return Workload(
            self.name,
            n,
            channels,
            layer.out_channels,
            (in_size[0], in_size[1]),
            layer.size,
            channel_block(channels, target),
            channel_block(layer.out_channels, target),
            layer.kernel,
            layer.strides,
            (*layer.before, 0, 0),
            layer.activation,
            dtype=target.dtype,
            half_products=target.half_products,
            groups=layer.groups,
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels, *work.in_size)
        return (
            ConvTranspose2d(
                "a", (INPUT,), shape, work.out_channels, work.kernel, work.strides,
                (work.padding[0], work.padding[1]), work.out_size, work.groups, True, None,
                work.activation,
            ),
        )  # fmt: skip

    def macs(self, work: Workload) -> int:
        each = math.prod(work.kernel) * work.out_channels // work.groups
        return work.batch * work.in_channels * work.in_pixels * each

    def weight_elements(self, work: Workload) -> int:
        taps = math.prod(work.strides) * math.prod(phase_taps(work))
        return blocked_out(work) * (taps * work.depth + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return panels(work, by_phases(work, layer), work.out_block)


def by_phases(work: Workload, layer: Affine) -> Affine:
    """Return a layer whose weight is (O, phases, taps of a phase, depth), 0 where no tap is."""
    import numpy as np

    (kh, kw), (sh, sw), (rows, columns) = work.kernel, work.strides, phase_taps(work)
    top, left, *_ = work.padding
    outside, inside = layer.weight.shape[:2]
    taps = np.zeros((outside, sh, sw, rows, columns, work.depth), layer.weight.dtype)
    for y, x in itertools.product(range(sh), range(sw)):
        some = layer.weight[:, :, (y + top) % sh : kh : sh, (x + left) % sw : kw : sw]
        taps[:, y, x, : some.shape[2], : some.shape[3], :inside] = some.transpose(0, 2, 3, 1)
    return dataclasses.replace(layer, weight=taps)

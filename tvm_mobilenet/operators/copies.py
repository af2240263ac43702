"""Views that are made tensors: transpositions, windows of tokens, heads side by side."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.views import Copy, View, strided
from tvm_mobilenet.operators.details import Axis
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.workload import Workload, channel_block


class Copies(Facts):
    """From a plain tensor to a plain tensor."""

    __slots__ = ()

    name = "copies"
    loops = "copies"
    reads_plain = True
    writes_plain = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        ends = (not self.reads_plain, not self.writes_plain)
        if not isinstance(layer, Copy) or (layer.from_blocks, layer.into_blocks) != ends:
            return None
        return self.of_view(layer.view, target)

    def of_view(self, view: View, target: TargetSpec) -> Workload | None:
        """Return the workload that makes a view a tensor; None where its loops are not known."""
        if target.gpu is not None or target.dtype != "float32" or view.factor != 1.0:
            return None
        maps = [shape for shape, plain in self._ends(view) if not plain]
        blocks = [channel_block(shape[1], target) for shape in maps if len(shape) == 4]
        divide = [shape[1] % block == 0 for shape, block in zip(maps, blocks, strict=False)]
        if len(blocks) < len(maps) or not all(divide):
            return None
        n, channels, *pixels = (*view.shape, 1, 1)[: max(len(view.shape), 2)]
        if len(view.shape) != 4:
            pixels = [1, math.prod(pixels)]
        size = (pixels[0], pixels[1])
        work = Workload(
            self.name,
            n,
            channels,
            channels,
            size,
            size,
            1 if self.reads_plain else blocks[0],
            1 if self.writes_plain else blocks[-1],
            detail=json.dumps(dataclasses.asdict(view), separators=(",", ":")),
        )
        return None if axes_of(work) is None else work

    def _ends(self, view: View) -> list[tuple[tuple[int, ...], bool]]:
        return [(view.source, self.reads_plain), (view.shape, self.writes_plain)]

    def axes(self, work: Workload) -> tuple[int, tuple[Axis, ...]]:
        """Return where the first element is read, and the loops."""
        found = axes_of(work)
        assert found is not None  # or it would be no workload
        return found

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        view = view_of(work)
        ends = (not self.reads_plain, not self.writes_plain)
        return (Copy("a", (INPUT,), view.source, view, *ends),)


class CopiesOut(Copies):
    """From a map in blocks of channels to a plain tensor."""

    __slots__ = ()

    name = "copies_out"
    reads_plain = False


class CopiesIn(Copies):
    """From a plain tensor to a map in blocks of channels."""

    __slots__ = ()

    name = "copies_in"
    writes_plain = False


COPIES = {facts.name: facts for facts in (Copies(), CopiesOut(), CopiesIn())}


def view_of(work: Workload) -> View:
    """Return the view that a workload makes a tensor."""
    return View.told(json.loads(work.detail))


@lru_cache(maxsize=256)
def axes_of(work: Workload) -> tuple[int, tuple[Axis, ...]] | None:
    """Return where the first element is read, and the loops; None if strides do not say it."""
    view, facts = view_of(work), COPIES[work.operator]
    places, apart = view.numbers(), list(_strides(view.shape))
    if not facts.reads_plain:
        block = work.in_block
        _, channels, *size = view.source
        pixels = math.prod(size)
        image, rest = places // (channels * pixels), places % (channels * pixels)
        c, p = rest // pixels, rest % pixels
        places = ((image * (channels // block) + c // block) * pixels + p) * block + c % block
    if not facts.writes_plain:
        n, channels, *size = view.shape
        block, pixels = work.out_block, math.prod(size)
        places = places.reshape(n, channels // block, block, *size)
        apart = [channels * pixels, pixels * block, 1, size[1] * block, block]
    found = strided(places, view.source)
    if found is None:
        return None
    axes: list[Axis] = []
    for loops, out in zip(found.axes, apart, strict=True):
        behind = 1
        for count, into in reversed(loops):
            axes.append((count, into, out * behind))
            behind *= count
    return found.offset, _merged(axes)


def _merged(axes: list[Axis]) -> tuple[Axis, ...]:
    """Let neighbours that one loop can go over be one; the longest way in the output is first."""
    ordered = sorted((axis for axis in axes if axis[0] > 1), key=lambda axis: -axis[2])
    merged: list[Axis] = []
    for size, into, out in ordered:
        if merged:
            count, before, after = merged[-1]
            if before == into * size and after == out * size:
                merged[-1] = (count * size, into, out)
                continue
        merged.append((size, into, out))
    return tuple(merged) or ((1, 1, 1),)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

"""Maps with more or fewer pixels, linear or cubic; what takes the nearest only moves elements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.resized import Resized, resized_of
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.packing import Affine, Array
from tvm_mobilenet.operators.workload import Workload, channel_block

_MOST_TAPS = 16
"""Rows or columns that one is made of, at most: a step of the loops is written for each."""

_WORDS = ("scales", "mode", "coordinates", "cubic", "exclude_outside", "antialias")


class Resize(Facts):
    """A map, enlarged or made smaller: weighted sums of rows, then of columns.

    The workload's kernel is how many of each, at most.
    """

    __slots__ = ()

    name = "resize"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.gpu is not None or target.dtype != "float32":
            return None
        found = resized_of(layer) if isinstance(layer, Operator) else layer
        if not isinstance(found, Resized) or max(taps_of(found)) > _MOST_TAPS:
            return None
        n, channels, height, width = found.in_shape
        block = channel_block(channels, target)
        detail = {name: getattr(found, name) for name in _WORDS}
        return Workload(
            self.name,
            n,
            channels,
            channels,
            (height, width),
            found.size,
            block,
            block,
            taps_of(found),
            detail=json.dumps(detail, separators=(",", ":")),
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        told = json.loads(work.detail)
        vertical, horizontal = told.pop("scales")
        shape = (work.batch, work.in_channels, *work.in_size)
        return (Resized("a", (INPUT,), shape, work.out_size, (vertical, horizontal), **told),)

    def macs(self, work: Workload) -> int:
        """Return one for each row that a row is made of, and one for each column."""
        rows, columns = work.kernel
        tall = work.batch * work.in_channels * work.out_size[0] * work.in_size[1]
        return tall * rows + work.out_elements * columns

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        """Return the tables: rows and their weights, columns and theirs."""
        import numpy as np

        (layer,) = self.layers(work)
        assert isinstance(layer, Resized)
        return [
            array
            for table in layer.tables()
            for array in (table.at.astype(np.int32), table.weights)
        ]


@lru_cache(maxsize=256)
def taps_of(layer: Resized) -> tuple[int, int]:
    """Return the rows that a row is made of at most, and the columns of a column."""
    rows, columns = layer.tables()
    return rows.at.shape[1], columns.at.shape[1]

"""What the cost model knows of a whole network: how much passes through its caches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_mobilenet.machine import ITEM_BYTES
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.units import Unit
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.prediction.cache_context import CacheContext


@dataclass(frozen=True, slots=True)
class CacheContexts:
    """What the cost model knows of the network before anything is joined.

    Attributes
    ----------
    weights : int
        Bytes of all weights.
    values : tuple of int
        Bytes of the image and of every map of ours, in order.
    places : dict of str to int
        Which of them a layer's value is.
    """

    weights: int
    values: tuple[int, ...]
    places: dict[str, int]

    @classmethod
    def of(cls, model: Model, units: Sequence[Unit]) -> CacheContexts:
        """Read a network."""
        works = [unit.work for unit in units]
        image = ITEM_BYTES["float32"] * math.prod(model.input_shape)
        places = {unit.name: at for at, unit in enumerate(units, 1)}
        return cls(sum(map(weight_bytes, works)), (image, *map(map_bytes, works)), places)

    def at(self, unit: Unit) -> CacheContext:
        """Return what is around a unit: what no kernel of ours makes stands just before it."""
        at = self.places.get(unit.source, self.places[unit.name] - 1)
        return CacheContext(self.weights, self.values, at)

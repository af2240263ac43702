"""Elements of maps in other places: concatenated, sliced, padded, enlarged, shuffled maps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.moves import FILLED, MOVING, Moves, moves_of
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.facts import Facts, other_names
from tvm_mobilenet.operators.packing import Affine, Array
from tvm_mobilenet.operators.runs import MOST_RUNS, runs
from tvm_mobilenet.operators.workload import Workload, channel_block

IDLE = -2
"""Instead of a channel: a lane of no channel, which holds 0."""

_CHAIN = ("Reshape", "Transpose", "Reshape")


class Move(Facts):
    """What moves elements from blocks to blocks."""

    __slots__ = ()

    name = "moves"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if isinstance(layer, Moves):
            return _workload(layer, target)
        return self.of_chain((layer,), target)

    def of_chain(self, layers: Sequence[Layer], target: TargetSpec) -> Workload | None:
        operators = tuple(layer for layer in layers if isinstance(layer, Operator))
        known = len(operators) == len(layers) and {one.operator for one in operators} <= MOVING
        if not known or target.dtype != "float32":
            return None
        moves = moves_of(*operators)
        return None if moves is None or _is_scattered(moves) else _workload(moves, target)

    def chain(self, layer: Layer) -> int:
        """Return 3 where a channel shuffle may begin: views around a transposition."""
        return len(_CHAIN) if isinstance(layer, Operator) and layer.operator == _CHAIN[0] else 0

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (described(work),)

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        """Return the blocks that the inputs behind the first lie in."""
        lanes: int = json.loads(work.detail)["lanes"]
        counts = [shape[1] for shape in described(work).other_shapes]
        return tuple(min(lanes, 1 << (n - 1).bit_length()) for n in counts)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        """Return the tables: channels of each place in a period, rows, columns."""
        import numpy as np

        made = described(work)
        places = math.prod(made.period)
        channels = np.full((places, work.out_blocks * work.out_block), IDLE, np.int32)
        channels[:, : work.out_channels] = np.reshape(made.channels, (places, -1))
        return [channels, np.array(made.rows, np.int32), np.array(made.columns, np.int32)]


def _is_scattered(layer: Moves) -> bool:
    """Whether single columns are filled in, for which there are no loops."""
    cut = runs(layer.columns)
    ragged = len(cut) > MOST_RUNS or any(count % layer.period[1] for *_, count in cut)
    return FILLED in layer.columns and ragged


@lru_cache(maxsize=256)
def described(work: Workload) -> Moves:
    """Return the layer that a workload says."""
    told = json.loads(work.detail)
    shape = (work.batch, work.in_channels, *work.in_size)
    others = tuple((work.batch, count, *work.in_size) for count in told["others"])
    channels, rows, columns = (_numbers(told[name]) for name in ("channels", "rows", "columns"))
    period = (told["period"][0], told["period"][1])
    inputs = (INPUT, *other_names(len(others)))
    return Moves("a", inputs, shape, others, channels, rows, columns, period, told["fill"])


def _workload(layer: Moves, target: TargetSpec) -> Workload:
    n, channels, height, width = layer.in_shape
    _, out_channels, rows, columns = layer.out_shape
    detail = {
        "others": [shape[1] for shape in layer.other_shapes],
        "channels": runs(layer.channels),
        "rows": runs(layer.rows),
        "columns": runs(layer.columns),
        "period": layer.period,
        "fill": layer.fill,
        "lanes": target.lanes,
    }
    return Workload(
        Move.name,
        n,
        channels,
        out_channels,
        (height, width),
        (rows, columns),
        channel_block(channels, target),
        channel_block(out_channels, target),
        detail=json.dumps(detail, separators=(",", ":")),
    )


def _numbers(listed: Iterable[tuple[int, int, int]]) -> tuple[int, ...]:
    return tuple(first + step * i for first, step, count in listed for i in range(count))

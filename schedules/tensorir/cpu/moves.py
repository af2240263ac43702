"""Elements of maps in other places: concatenated, sliced, padded, enlarged, shuffled maps.

Pattern
    Operator "moves", whose loops are written anew.

Loop nest, outer to inner
    (n, row) on threads → channel blocks → runs of columns → pixels → lanes

Registers
    A vector for each block that an output block takes channels of. Lanes that change places do
    so by shuffles, one less than there are such blocks: 24 and 40 channels next to each other
    take one, a channel shuffle of two groups one.

Traffic
    What is read once, and what is written once. Of an enlarged map a pixel is loaded once for
    the pixels beside each other that it becomes.

Bound
    The bandwidth of the level that the maps are in.

What lost
    A change to plain layout and back: 0.2 ms each at 64 x 56 x 56 on one Zen 5 core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import kernel, load, store, units

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.runs import MOST_RUNS, runs
from tvm_mobilenet.operators.workload import Workload

_NOTHING = (-1, 0)


@dataclass(frozen=True, slots=True)
class _Vector:
    """Where the lanes of a block come from.

    Attributes
    ----------
    sources : tuple of (int, int)
        Which maps' which blocks.
    lanes : tuple of (int, int)
        For each lane which of the sources, and which lane of that; (-1, 1) for what fills, and
        (-1, 0) for a lane of no channel.
    """

    sources: tuple[tuple[int, int], ...]
    lanes: tuple[tuple[int, int], ...]

    def follows(self, other: _Vector, by: int) -> bool:
        """Whether it is another one with every block moved on."""
        moved = tuple((which, block + by) for which, block in other.sources)
        return self.lanes == other.lanes and self.sources == moved


@dataclass(frozen=True, slots=True)
class _Run:
    """Columns side by side: `column(step, j)` is where the one of `step * together + j` lies."""

    first: int
    steps: int
    together: int
    column: Callable[[Any, int], Any]


def write_moves(work: Workload, plan: SharedPlan, _target: TargetSpec) -> Any:
    """Write the kernel."""
    layer = _layer(work)
    facts = OPERATORS[work.operator]
    blocks = (work.in_block, *facts.other_blocks(work))
    shapes = [
        (work.batch, -(-shape[1] // block), math.prod(shape[2:]), block)
        for shape, block in zip(layer.in_shapes, blocks, strict=True)
    ]
    (rows, columns), (a, b) = work.out_size, layer.period
    lanes = work.out_blocks * work.out_block
    tables = {"channels": (a * b, lanes), "rows": (rows,), "columns": (columns,)}
    parameters: dict[str, tuple[tuple[int, ...], str]] = {
        "data": (shapes[0], "float32"),
        **{name: (shape, "int32") for name, shape in tables.items()},
        **{f"other{i}": (shape, "float32") for i, shape in enumerate(shapes[1:])},
        "out": ((work.batch, work.out_blocks, rows * columns, work.out_block), "float32"),
    }

    def body(data: Any, out: Any, **rest: Any) -> None:
        maps = [data, *(rest[f"other{i}"] for i in range(len(shapes) - 1))]
        mover = _Mover(work, maps, out)
        steps = rows // a
        with units(work.batch * steps, parallel=plan.parallel) as unit:
            image, step = unit // steps, unit % steps
            for i in range(a):
                mover.line(image, step * a + i, i, rest["rows"], rest["columns"])

    return kernel(work, parameters, body)


class _Mover:
    def __init__(self, work: Workload, maps: list[Any], out: Any) -> None:
        self._work, self._layer, self._maps, self._out = work, _layer(work), maps, out
        self._vectors = _vectors(work)

    def line(self, image: Any, y: Any, place: int, rows: Any, columns: Any) -> None:
        """Write a row of every block."""
        whole = runs(self._layer.rows)
        if len(whole) == 1 and whole[0][0] >= 0:
            first, step, _ = whole[0]
            self._blocks(image, y, y * step + first, place, columns)
        elif min(self._layer.rows) >= 0:
            self._blocks(image, y, rows[y], place, columns)
        else:
            with ir.If(rows[y] < 0):
                with ir.Then():
                    self._filled(image, y)
                with ir.Else():
                    self._blocks(image, y, rows[y], place, columns)

    def _filled(self, image: Any, y: Any) -> None:
        work, vectors = self._work, self._vectors[0]
        with ir.serial(0, work.out_size[1]) as x:
            with ir.serial(0, work.out_blocks - 1) as o:
                self._store(image, o, y, x, self._padding(vectors[0]))
            self._store(image, work.out_blocks - 1, y, x, self._padding(vectors[-1]))

    def _blocks(self, image: Any, y: Any, row: Any, place: int, columns: Any) -> None:
        b = self._layer.period[1]
        vectors = self._vectors[place * b : (place + 1) * b]
        first = 0
        while first < self._work.out_blocks:
            count = 1
            while first + count < self._work.out_blocks and all(
                of[first + count].follows(of[first], count) for of in vectors
            ):
                count += 1
            with ir.serial(0, count) as step:
                self._columns(image, first, step, y, row, [of[first] for of in vectors], columns)
            first += count

    def _columns(  # noqa: PLR0917  where, and of what
        self, image: Any, first: int, o: Any, y: Any, row: Any, of: list[_Vector], table: Any
    ) -> None:
        for run in _runs_of(self._layer.columns, len(of), table):
            with ir.serial(0, run.steps) as step:
                for j in range(run.together):
                    column = run.column(step, j)
                    x = step * run.together + (run.first + j)
                    pixel = None if column is None else row * self._work.in_size[1] + column
                    value = self._value(of[j % len(of)], image, o, pixel)
                    self._store(image, first + o, y, x, value)

    def _store(self, image: Any, o: Any, y: Any, x: Any, value: Any) -> None:
        store(self._out, (image, o, y * self._work.out_size[1] + x, 0), value)

    def _padding(self, vector: _Vector) -> Any:
        """Return what fills, and 0 in the lanes of no channel."""
        fill = self._constant(self._layer.fill)
        if _NOTHING not in vector.lanes or self._work.out_block == 1 or not self._layer.fill:
            return fill
        wide = self._work.out_block
        order = [i + wide * (lane == _NOTHING) for i, lane in enumerate(vector.lanes)]
        zeros = self._constant(0.0)
        return _shuffle([fill, zeros], order)

    def _constant(self, number: float) -> Any:
        one = tirx.const(number, "float32")
        return one if self._work.out_block == 1 else tirx.Broadcast(one, self._work.out_block)

    def _value(self, vector: _Vector, image: Any, o: Any, pixel: Any) -> Any:
        if pixel is None or not vector.sources:
            return self._padding(vector)
        places = [(which, (image, o + block, pixel)) for which, block in vector.sources]
        if self._work.out_block == 1:
            (source, lane), ((which, place), *_) = vector.lanes[0], places
            return self._maps[which][(*place, lane)] if source >= 0 else self._padding(vector)
        loaded = []
        for which, place in places:
            block = int(self._maps[which].shape[-1])
            read = load(self._maps[which], (*place, 0), block)
            loaded.append(read if block > 1 else tirx.Broadcast(read, self._work.out_block))
        return self._shuffled(vector, loaded)

    def _shuffled(self, vector: _Vector, loaded: list[Any]) -> Any:
        """Put the lanes of some vectors together, two vectors at a time."""
        width = self._work.out_block
        straight = all(lane in ((0, i), _NOTHING) for i, lane in enumerate(vector.lanes))
        made, constants = loaded[0], []
        if _NOTHING in vector.lanes and not self._idle_at_source(vector):
            constants.append((_NOTHING, 0.0))
        if (-1, 1) in vector.lanes:
            constants.append(((-1, 1), self._layer.fill))
        if straight and not constants and _lanes(made) == width:
            return made
        # What is taken over as it is stays in its lane from the first shuffle on.
        order = [lane if source == 0 else 0 for source, lane in vector.lanes]
        if len(loaded) == 1 and not constants:
            return _shuffle([made], order)
        others: list[tuple[Any, Any]] = [(at, value) for at, value in enumerate(loaded) if at]
        others += [(key, self._constant(number)) for key, number in constants]
        for key, value in others:
            wide, indices = _lanes(made), []
            for i, (source, lane) in enumerate(vector.lanes):
                if key in (source, (source, lane)):
                    indices.append(wide + (lane if source >= 0 else i))
                else:
                    indices.append(order[i])
            made, order = _shuffle([made, value], indices), [*range(width)]
        return made

    def _idle_at_source(self, vector: _Vector) -> bool:
        """Whether the lanes of no channel can be those of a source, which hold 0."""
        if len(vector.sources) != 1 or (-1, 1) in vector.lanes:
            return False
        (which, block), width = vector.sources[0], self._work.out_block
        shape = self._layer.in_shapes[which]
        own = int(self._maps[which].shape[-1])
        last = shape[1] - block * own
        idle = [i for i, lane in enumerate(vector.lanes) if lane == _NOTHING]
        straight = all(lane in ((0, i), _NOTHING) for i, lane in enumerate(vector.lanes))
        return own == width and straight and all(i >= last for i in idle)


def _layer(work: Workload) -> Any:
    (layer,) = OPERATORS[work.operator].layers(work)
    return layer


def _lanes(value: Any) -> int:
    return int(str(value.ty).partition("x")[2] or 1)


def _shuffle(vectors: list[Any], order: list[int]) -> Any:
    """Return the lanes of vectors side by side in another order."""
    # There must be as many lanes to choose from as are wanted.
    while sum(map(_lanes, vectors)) < len(order):
        vectors.append(vectors[-1])
    return tirx.Shuffle(vectors, [tirx.const(i, "int32") for i in order])


def _vectors(work: Workload) -> list[list[_Vector]]:
    """Return, for each place in a period, the vector of each output block."""
    layer, block = _layer(work), work.out_block
    blocks = (work.in_block, *OPERATORS[work.operator].other_blocks(work))
    places: list[tuple[int, int, int]] = []  # of a channel: map, block, lane
    for which, (shape, own) in enumerate(zip(layer.in_shapes, blocks, strict=True)):
        places += [(which, c // own, c % own) for c in range(shape[1])]
    count, found = work.out_channels, []
    for start in range(0, len(layer.channels), count):
        listed: list[int | None] = [*layer.channels[start : start + count]]
        listed += [None] * (work.out_blocks * block - count)
        found.append([_vector(listed[o : o + block], places) for o in range(0, len(listed), block)])
    return found


def _vector(channels: list[int | None], places: list[tuple[int, int, int]]) -> _Vector:
    known = [places[c][:2] for c in channels if c is not None and c >= 0]
    sources = tuple(dict.fromkeys(known))
    lanes = []
    for channel in channels:
        if channel is None or channel < 0:
            lanes.append(_NOTHING if channel is None else (-1, 1))
        else:
            lanes.append((sources.index(places[channel][:2]), places[channel][2]))
    return _Vector(sources, tuple(lanes))


def _runs_of(columns: tuple[int, ...], period: int, table: Any) -> list[_Run]:
    """Cut a row into runs whose columns are written down without a table, if it can be."""
    for wide in (period, *(n for n in (2, 3, 4) if n % period == 0)):
        every = runs(columns[::wide])
        same = all(columns[i] == columns[i // wide * wide] for i in range(len(columns)))
        if wide > 1 and same and len(every) == 1 and len(columns) % wide == 0 and columns[0] >= 0:
            first, step, count = every[0]
            return [_Run(0, count, wide, _repeated(first, step))]
    listed, found, at = runs(columns), [], 0
    for first, step, count in listed:
        if count % period or len(listed) > MOST_RUNS:
            return [_Run(0, len(columns) // period, period, _looked_up(columns, period, table))]

        def column(where: Any, j: int, first: int = first, step: int = step) -> Any:
            return None if first < 0 else (where * period + j) * step + first

        found.append(_Run(at, count // period, period, column))
        at += count
    return found


def _repeated(first: int, step: int) -> Callable[[Any, int], Any]:
    return lambda at, _: at * step + first


def _looked_up(columns: tuple[int, ...], period: int, table: Any) -> Callable[[Any, int], Any]:
    assert min(columns) >= 0  # what is filled in at single columns is no kernel of ours
    return lambda step, j: table[step * period + j]

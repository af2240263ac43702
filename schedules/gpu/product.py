"""A matrix product of a block of threads: rows times channel vectors, K in steps.

Rows are pixels of all images (or images), K runs over blocks of channels. The loops are
written rather than transformed: a tile that ends inside a map, a block or K makes
``compute_at`` take apart ``p // width`` under a condition, and it then asks for regions as
large as the map. What is computed besides the sums comes from the definition
(:mod:`~tvm_mobilenet.schedules.gpu.stages`).

Loop nest, outer to inner
    (row tile, vector tile) are blocks → (slice, vector, row) are threads → steps of K,
    through shared memory: the threads together fetch ``depth`` channel blocks of the
    tile's rows and vectors, 16 bytes each, consecutive threads consecutive addresses; with
    `prefetch` those of the next step are on their way while this one is multiplied →
    channel block → channel → rows of the thread, vectors of the thread, lanes, unrolled.

Slices
    K may be dealt out to slices of a block's threads, each with sums of its own, which are
    added up through shared memory at the end: more warps where a map has few pixels.

Edges
    Rows and vectors beyond the end read the last ones again, and are not stored: no
    branch in the loop. K beyond its end is multiplied with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.gpu.product_tile import ProductTile, Sizes
from tvm_mobilenet.schedules.gpu.stages import REGISTERS, allocated, copy

_RESIDENT = "tirx.launch_bounds_min_blocks_per_sm"
"""Attribute: the second of CUDA's launch bounds. Without it ptxas makes for an occupancy of its
own, even with spills."""

_UNIT_REGISTERS = 1 << 16
"""Of every unit of NVIDIA's since sm_30."""

Lane = Callable[[Any], Any]
"""From a lane to the expression of an element."""


class Operands(Protocol):
    """What is multiplied, and where it goes."""

    def data(self, block: Any, row: Any) -> Lane:
        """Return K's channels of a block: of a row, in the type they are stored as."""

    def weight(self, vector: Any, k: Any) -> Lane:
        """Return a vector of weights, of channel k."""

    def store(self, row: Any, vector: Any, sums: Lane) -> None:
        """Write a vector of the output, from its sums (float32)."""


class Product:
    """Writes the kernel into the builder that is open.

    Parameters
    ----------
    sizes : Sizes
    tile : ProductTile
    operands : Operands
    dtype : str
        Of what is multiplied.
    resident : int
        Blocks of threads that a unit shall hold, for nvcc; 0 does not say.
    """

    def __init__(
        self, sizes: Sizes, tile: ProductTile, operands: Operands, dtype: str, resident: int = 0
    ) -> None:
        self.sizes, self.tile, self.operands, self.dtype = sizes, tile, operands, dtype
        self.resident = resident

    def write(self) -> None:
        """Write all of it: blocks, threads, loops."""
        sizes, tile = self.sizes, self.tile
        self._reckon()
        extents = {"row": tile.row_threads, "vector": tile.vector_threads, "slice": tile.slices}
        at = {"row": 0, "vector": 0, "slice": 0}
        with ExitStack() as stack:

            def bound(extent: int, name: str) -> Any:
                return stack.enter_context(ir.thread_binding(0, extent, thread=name))

            row_tile = bound(-(-sizes.rows // tile.rows), "blockIdx.x")
            vector_tile = bound(-(-sizes.vectors // tile.vectors), "blockIdx.y")
            self.own: Any = 0
            apart = 1
            for axis, name in zip(tile.order(sizes), "xyz", strict=True):
                at[axis] = bound(extents[axis], f"threadIdx.{name}")
                self.own = self.own + at[axis] * apart
                apart *= extents[axis]
            self.row, self.vector, self.slice = at["row"], at["vector"], at["slice"]
            self._enter(stack)
            self.first_row, self.first_vector = row_tile * tile.rows, vector_tile * tile.vectors
            shape = (tile.vector_each, tile.row_each, sizes.lanes)
            self.sums = allocated("sums", shape, "float32", "local")
            self._each(lambda v, r, c: ir.buffer_store(self.sums, ir.float32(0), [v, r, c]))
            self._steps()
            if tile.slices == 1:
                self._leave()
            else:
                self._add_up()

    def _reckon(self) -> None:
        """Say what a thread may take: by the launch bound, where there is one."""
        registers = self.tile.registers(self.sizes)
        if self.resident:
            most = _UNIT_REGISTERS // (self.tile.threads * self.resident)
            registers = min(most // 8 * 8, 255)
        ir.func_attr({REGISTERS: registers})

    def _enter(self, stack: ExitStack) -> None:
        """Begin what a thread does; ptxas may not take more registers than were reckoned."""
        if self.resident:
            stack.enter_context(ir.attr(0, _RESIDENT, self.resident))
        stack.enter_context(ir.sblock("product"))

    def _each(self, body: Callable[[Any, Any, Any], None]) -> None:
        """Unroll over a thread's sums: ``body(vector, row, lane)``."""
        tile = self.tile
        loops = (ir.unroll(0, tile.vector_each), ir.unroll(0, tile.row_each))
        with loops[0] as v, loops[1] as r, ir.unroll(0, self.sizes.lanes) as c:
            body(v, r, c)

    def _steps(self) -> None:
        sizes, tile = self.sizes, self.tile
        steps = -(-sizes.blocks // tile.depth)
        # A block's channels of a thread's rows; then one vector of weights for each of its own.
        self.x = allocated("x", (tile.row_each, sizes.block), self.dtype, "local")
        self.w = allocated("w", (tile.vector_each, sizes.lanes), self.dtype, "local")
        if not tile.staged:
            with ir.serial(0, steps) as step:
                self._multiply(step, self._far_data, self._far_weight)
            return
        self._shared_steps()

    def _shared_vectors(self) -> tuple[int, int]:
        """Return how many vectors of data and of weights shared memory holds."""
        rows, vectors = self.tile.places(self.sizes)
        return self.tile.depth * rows, self.tile.depth * self.sizes.block * vectors

    def _shared_steps(self) -> None:
        """Write the steps of K, through shared memory."""
        sizes, tile = self.sizes, self.tile
        steps = -(-sizes.blocks // tile.depth)
        # Places are one axis: of two, the unused ones would be taken away again.
        self.data, self.weight = (
            allocated(f"{name}_shared", (n, lanes), self.dtype, "shared")
            for name, n, lanes in zip(
                ("data", "weight"),
                self._shared_vectors(),
                (sizes.block, sizes.lanes),
                strict=True,
            )
        )
        counts = (tile.depth * tile.rows, tile.depth * sizes.block * tile.vectors)
        if tile.prefetch:
            self.next_x, self.next_w = (
                allocated(f"next_{name}", (-(-n // tile.threads), lanes), self.dtype, "local")
                for name, n, lanes in zip("xw", counts, (sizes.block, sizes.lanes), strict=True)
            )
            self._fetch(0, counts)
            with ir.serial(0, steps) as step:
                self._put(counts)
                with ir.If(step + 1 < steps), ir.Then():
                    self._fetch(step + 1, counts)
                self._multiply(step, self._near_data, self._near_weight)
            return
        with ir.serial(0, steps) as step:
            self._share(counts[0], lambda i, _: self._fetch_data(step, i, self.data))
            self._share(counts[1], lambda i, _: self._fetch_weight(step, i, self.weight))
            self._multiply(step, self._near_data, self._near_weight)

    def _share(self, count: int, body: Callable[[Any, Any], None]) -> None:
        """Deal out `count` pieces of work to the block's threads: ``body(piece, turn)``."""
        threads = self.tile.threads
        turns = -(-count // threads)
        with ir.unroll(0, turns) as turn:
            piece = turn * threads + self.own
            if count % threads == 0:
                body(piece, turn)
                return
            with ir.If(piece < count), ir.Then():
                body(piece, turn)

    def _fetch(self, step: Any, counts: tuple[int, int]) -> None:
        """Read a step of K from memory into registers."""
        x, w = self.next_x, self.next_w
        self._share(counts[0], lambda i, turn: self._fetch_data(step, i, x, turn))
        self._share(counts[1], lambda i, turn: self._fetch_weight(step, i, w, turn))

    def _put(self, counts: tuple[int, int]) -> None:
        """Write those registers to shared memory."""
        sizes = self.sizes
        x, w = self.next_x, self.next_w
        self._share(
            counts[0],
            lambda i, turn: copy(
                self.data, self._data_at(*self._data_place(i)), sizes.block, lambda c: x[turn, c]
            ),
        )
        self._share(
            counts[1],
            lambda i, turn: copy(
                self.weight,
                self._weight_at(*self._weight_place(i)),
                sizes.lanes,
                lambda c: w[turn, c],
            ),
        )

    def _data_place(self, piece: Any) -> tuple[Any, Any]:
        """From a piece to its channel block and row: neighbours in memory first."""
        tile = self.tile
        if self.sizes.rows_apart:
            return piece % tile.depth, piece // tile.depth
        return piece // tile.rows, piece % tile.rows

    def _weight_place(self, piece: Any) -> tuple[Any, Any]:
        """From a piece to its channel of K and vector: neighbours in memory first."""
        tile, together = self.tile, self.sizes.together
        channels = tile.depth * self.sizes.block
        if tile.vectors % together:
            return piece % channels, piece // channels
        rest, side = piece // together, piece % together
        return rest % channels, rest // channels * together + side

    def _data_at(self, block: Any, row: Any) -> tuple[Any]:
        return (block * self.tile.places(self.sizes)[0] + row,)

    def _weight_at(self, k: Any, vector: Any) -> tuple[Any]:
        return (k * self.tile.places(self.sizes)[1] + vector,)

    def _fetch_data(self, step: Any, piece: Any, into: Any, turn: Any = None) -> None:
        block, row = self._data_place(piece)
        value = self._far_data(step * self.tile.depth + block, row)
        at = self._data_at(block, row) if turn is None else (turn,)
        copy(into, at, self.sizes.block, value)

    def _fetch_weight(self, step: Any, piece: Any, into: Any, turn: Any = None) -> None:
        k, vector = self._weight_place(piece)
        value = self._far_weight(step * self.tile.depth * self.sizes.block + k, vector)
        at = self._weight_at(k, vector) if turn is None else (turn,)
        copy(into, at, self.sizes.lanes, value)

    def _far_data(self, block: Any, row: Any) -> Lane:
        """From memory: of channel block `block`, row `row` of the tile."""
        sizes = self.sizes
        row = _up_to(self.first_row + row, sizes.rows, self.tile.rows)
        if sizes.blocks % self.tile.depth == 0:
            return self.operands.data(block, row)
        value = self.operands.data(ir.min(block, sizes.blocks - 1), row)
        zero = ir.float16(0) if self.dtype == "float16" else ir.float32(0)
        return lambda c: ir.if_then_else(block < sizes.blocks, value(c), zero)

    def _far_weight(self, k: Any, vector: Any) -> Lane:
        sizes = self.sizes
        vector = _up_to(self.first_vector + vector, sizes.vectors, self.tile.vectors)
        if sizes.blocks % self.tile.depth:
            k = ir.min(k, sizes.blocks * sizes.block - 1)
        return self.operands.weight(vector, k)

    def _near_data(self, block: Any, row: Any) -> Lane:
        (place,) = self._data_at(block, row)
        return lambda c: self.data[place, c]

    def _near_weight(self, k: Any, vector: Any) -> Lane:
        (place,) = self._weight_at(k, vector)
        return lambda c: self.weight[place, c]

    def _multiply(self, step: Any, data: Any, weight: Any) -> None:
        """One step of K: each slice its blocks of it."""
        sizes, tile = self.sizes, self.tile
        with ir.unroll(0, tile.depth // tile.slices) as turn:
            block = step * tile.depth + turn * tile.slices + self.slice
            if tile.staged:
                block = turn * tile.slices + self.slice
            with ir.unroll(0, tile.row_each) as r:
                copy(self.x, (r,), sizes.block, data(block, r * tile.row_threads + self.row))
            with ir.unroll(0, sizes.block) as k:
                with ir.unroll(0, tile.vector_each) as v:
                    place = v * tile.vector_threads + self.vector
                    copy(self.w, (v,), sizes.lanes, weight(block * sizes.block + k, place))

                def add(v: Any, r: Any, c: Any) -> None:
                    product = self.x[r, k].astype("float32") * self.w[v, c].astype("float32")
                    ir.buffer_store(self.sums, self.sums[v, r, c] + product, [v, r, c])

                self._each(add)

    def _finish(self, row: Any, vector: Any, sums: Lane) -> None:
        """Store a vector, if there is such a row and vector."""
        sizes, tile = self.sizes, self.tile
        row, vector = self.first_row + row, self.first_vector + vector
        with ExitStack() as stack:
            if sizes.rows % tile.rows:
                stack.enter_context(ir.If(row < sizes.rows))
                stack.enter_context(ir.Then())
            if sizes.vectors % tile.vectors:
                stack.enter_context(ir.If(vector < sizes.vectors))
                stack.enter_context(ir.Then())
            self.operands.store(row, vector, sums)

    def _leave(self) -> None:
        tile = self.tile
        with ir.unroll(0, tile.vector_each) as v, ir.unroll(0, tile.row_each) as r:
            self._finish(
                r * tile.row_threads + self.row,
                v * tile.vector_threads + self.vector,
                lambda c: self.sums[v, r, c],
            )

    def _add_up(self) -> None:
        """Add the slices' sums through shared memory; every thread finishes some vectors."""
        sizes, tile = self.sizes, self.tile
        shape = (tile.slices, tile.vectors, tile.rows, sizes.lanes)
        parts = allocated("parts", shape, "float32", "shared")
        with ir.unroll(0, tile.vector_each) as v, ir.unroll(0, tile.row_each) as r:
            at = (
                self.slice,
                v * tile.vector_threads + self.vector,
                r * tile.row_threads + self.row,
            )
            copy(parts, at, sizes.lanes, lambda c: self.sums[v, r, c])
        total = allocated("total", (sizes.lanes,), "float32", "local")
        one = allocated("one", (sizes.lanes,), "float32", "local")

        def finish(piece: Any, _: Any) -> None:
            vector, row = piece // tile.rows, piece % tile.rows
            copy(total, (), sizes.lanes, lambda c: parts[0, vector, row, c])
            with ir.serial(0, tile.slices - 1) as other:
                copy(one, (), sizes.lanes, lambda c: parts[other + 1, vector, row, c])
                with ir.unroll(0, sizes.lanes) as c:
                    ir.buffer_store(total, total[c] + one[c], [c])
            self._finish(row, vector, lambda c: total[c])

        self._share(tile.vectors * tile.rows, finish)


def _up_to(index: Any, count: int, tile: int) -> Any:
    """Return an index, or the last one for those beyond the end."""
    return index if count % tile == 0 else ir.min(index, count - 1)

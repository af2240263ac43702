"""A matrix product of a block of threads: rows times channel vectors, K in steps.

Rows are pixels of all images (or images), K runs over blocks of channels. The loops are
written rather than transformed: where a tile ends inside a map, a block or K, ``compute_at``
cannot split ``p // width`` under its condition, and asks for regions as large as the map.
All expressions besides the sums come from the definition
(:mod:`~tvm_mobilenet.schedules.tensorir.gpu.stages`).

Loop nest, outer to inner
    (row tile, vector tile) are blocks → (slice, vector, row) are threads → steps of K,
    through shared memory (``product_steps``) → channel block
    → channel → rows of the thread, vectors of the thread, lanes, unrolled.

Slices
    K may be divided among slices of a block's threads. Each has sums of its own, which are
    added up through shared memory at the end. That gives more warps where a map has few pixels.

Edges
    Rows and vectors beyond the end are multiplied, and not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.gpu.product_tile import ProductTile, Sizes
from tvm_mobilenet.schedules.tensorir.gpu.product_steps import Fetched, Lane, Operands, Steps
from tvm_mobilenet.schedules.tensorir.gpu.stages import REGISTERS, allocated, copy

_RESIDENT = "tirx.launch_bounds_min_blocks_per_sm"
"""Attribute: the second of CUDA's launch bounds. Without it ptxas chooses an occupancy of its
own, even if that spills."""

_UNIT_REGISTERS = 1 << 16
"""Registers of a multiprocessor of NVIDIA's, since sm_30."""


class Product:
    """Writes the kernel into the builder that is open.

    Parameters
    ----------
    dtype : str
        Type of the operands; sums are float32.
    resident : int
        Blocks of threads that nvcc shall fit on a multiprocessor; 0 leaves it to nvcc.
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
            own: Any = 0
            apart = 1
            for axis, name in zip(tile.order(sizes), "xyz", strict=True):
                at[axis] = bound(extents[axis], f"threadIdx.{name}")
                own = own + at[axis] * apart
                apart *= extents[axis]
            self.row, self.vector, self.slice = at["row"], at["vector"], at["slice"]
            self._enter(stack)
            self.first_row, self.first_vector = row_tile * tile.rows, vector_tile * tile.vectors
            first = self.first_row, self.first_vector
            self.steps = Steps(sizes, tile, self.operands, dtype=self.dtype, own=own, first=first)
            shape = (tile.vector_each, tile.row_each, sizes.lanes)
            self.sums = allocated("sums", shape, "float32", "local")
            self._each(lambda v, r, c: ir.buffer_store(self.sums, ir.float32(0), [v, r, c]))
            # A block's channels of a thread's rows; a vector of weights for each of its own.
            self.x = allocated("x", (tile.row_each, sizes.block), self.dtype, "local")
            self.w = allocated("w", (tile.vector_each, sizes.lanes), self.dtype, "local")
            if tile.staged:
                self.steps.shared(self._multiply)
            else:
                self.steps.direct(self._multiply)
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

    def _multiply(self, step: Any, data: Fetched, weight: Fetched) -> None:
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

        self.steps.deal(tile.vectors * tile.rows, finish)

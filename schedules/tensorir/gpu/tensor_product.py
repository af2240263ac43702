"""A matrix product on tensor cores: float16 operands, float32 sums, fragments of 16 x 16 x 16.

Loop nest, outer to inner
    (row tile, column tile) are blocks → (slice, row, column) are warps → steps of K through
    shared memory, fetched as ``product_steps`` does → 16 channels →
    fragments of the warp, unrolled. At the end sums pass through shared memory, where slices
    are added up; then threads with neighbouring pixels store 16 bytes each.

Shared memory
    ``data[row][channel]`` and ``weight[channel][output]``, each row one vector of 8 halves longer
    than needed, so that stores of neighbouring threads and a fragment's eight rows use
    different banks.

``wmma`` rather than ``mma`` in assembly
    ``wmma`` is C++ that also runs on a processor (tests/gpu/cuda_headers), so CI can check its
    results. nvcc compiles it to ``ldmatrix`` and HMMA, as it does the assembly: 32 HMMA and 16
    LDSM of the 86 instructions of a step of 2 x 2 fragments and 64 channels (sm_90).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.gpu.product_tile import Sizes
from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.plans.gpu.tensor_tile import FRAGMENT, HALVES, TensorTile
from tvm_mobilenet.schedules.tensorir.definition import Stages
from tvm_mobilenet.schedules.tensorir.gpu.product import Product
from tvm_mobilenet.schedules.tensorir.gpu.product_steps import Fetched, Operands, Steps
from tvm_mobilenet.schedules.tensorir.gpu.stages import allocated, copy, written

from tvm_mobilenet.machine import GpuSpec

_SHAPE = (FRAGMENT, FRAGMENT, FRAGMENT)
_ELEMENTS = FRAGMENT * FRAGMENT

OperandsOf = Callable[[Stages, dict[str, Any]], Operands]
"""From the stages of a definition and its buffers to the operands of a product."""


class _Steps(Steps):
    """Steps whose shared memory holds rows of channels, as fragments are loaded."""

    def _data_at(self, block: Any, row: Any) -> Any:
        return row * self.tile.places(self.sizes)[0] + block

    def _shared_vectors(self) -> tuple[int, int]:
        tile = self.tile
        row, channel = tile.places(self.sizes)
        return tile.rows * row, tile.depth * HALVES * channel


class TensorProduct(Product):
    """Writes the kernel into the builder that is open."""

    tile: Any

    def __init__(self, sizes: Sizes, tile: TensorTile, operands: Operands, resident: int) -> None:
        super().__init__(sizes, tile, operands, "float16", resident)  # type: ignore[arg-type]

    def write(self) -> None:
        """Write all of it: blocks, warps, loops."""
        sizes, tile = self.sizes, self.tile
        self._reckon()
        with ExitStack() as stack:

            def bound(extent: int, name: str) -> Any:
                return stack.enter_context(ir.thread_binding(0, extent, thread=name))

            row_tile = bound(-(-sizes.rows // tile.rows), "blockIdx.x")
            column_tile = bound(-(-sizes.vectors // tile.vectors), "blockIdx.y")
            lane = bound(32, "threadIdx.x")
            warp = bound(tile.warps, "threadIdx.y")
            self.row = warp % tile.row_warps
            self.column = warp // tile.row_warps % tile.column_warps
            self.slice = warp // (tile.row_warps * tile.column_warps)
            self._enter(stack)
            self.first_row, self.first_vector = row_tile * tile.rows, column_tile * tile.vectors
            first = self.first_row, self.first_vector
            own = warp * 32 + lane
            self.steps = _Steps(sizes, tile, self.operands, dtype=self.dtype, own=own, first=first)
            rows, columns = tile.row_fragments, tile.column_fragments
            self.sums = _fragments("accumulator", rows * columns, "float32")
            self.x = _fragments("matrix_a", rows, "float16")
            self.w = _fragments("matrix_b", columns, "float16")
            with ir.unroll(0, rows * columns) as i:
                ir.evaluate(ir.tvm_fill_fragment(self.sums.data, *_SHAPE, i, ir.float32(0)))
            shape = (tile.slices * tile.rows * tile.columns,)
            self.parts = allocated("parts", shape, "float32", "shared")
            # Named here, or TVM lets it have the operands' memory, and then refuses pointers
            # to what is of another type.
            ir.evaluate(self.parts.access_ptr("w"))
            self.steps.shared(self._multiply)
            self._leave()

    def _multiply(self, step: Any, data: Fetched, weight: Fetched) -> None:
        """One step of K: each slice of warps its channels of it."""
        tile = self.tile
        row, channel = (HALVES * places for places in tile.places(self.sizes))
        rows, columns = tile.row_fragments, tile.column_fragments
        with ir.unroll(0, tile.depth * HALVES // (FRAGMENT * tile.slices)) as turn:
            k = (turn * tile.slices + self.slice) * FRAGMENT
            with ir.unroll(0, rows) as i:
                first = (self.row * rows + i) * FRAGMENT
                _load(self.x, i, self.steps.data, first * row + k, row)
            with ir.unroll(0, columns) as j:
                first = (self.column * columns + j) * FRAGMENT
                _load(self.w, j, self.steps.weight, k * channel + first, channel)
            with ir.unroll(0, rows) as i, ir.unroll(0, columns) as j:
                at = i * columns + j
                sums = self.sums.data
                ir.evaluate(ir.tvm_mma_sync(sums, at, self.x.data, i, self.w.data, j, sums, at))

    def _leave(self) -> None:
        """Pass the sums through shared memory; every thread finishes some vectors."""
        sizes, tile = self.sizes, self.tile
        rows, columns = tile.row_fragments, tile.column_fragments
        with ir.unroll(0, rows) as i, ir.unroll(0, columns) as j:
            row = self.slice * tile.rows + (self.row * rows + i) * FRAGMENT
            first = row * tile.columns + (self.column * columns + j) * FRAGMENT
            pointer = self.parts.access_ptr("w", offset=first)
            at = i * columns + j
            ir.evaluate(
                ir.tvm_store_matrix_sync(
                    self.sums.data, *_SHAPE, at, pointer, tile.columns, "row_major"
                )
            )
        total = allocated("total", (sizes.lanes,), "float32", "local")
        one = allocated("one", (sizes.lanes,), "float32", "local")

        def finish(piece: Any, _: Any) -> None:
            vector, row = piece // tile.rows, piece % tile.rows
            first = row * tile.columns + vector * HALVES
            copy(total, (), sizes.lanes, lambda c: self.parts[first + c])
            if tile.slices > 1:
                with ir.unroll(0, tile.slices - 1) as other:
                    apart = first + (other + 1) * tile.rows * tile.columns
                    copy(one, (), sizes.lanes, lambda c: self.parts[apart + c])
                    with ir.unroll(0, sizes.lanes) as c:
                        ir.buffer_store(total, total[c] + one[c], [c])
            self._finish(row, vector, lambda c: total[c])

        self.steps.deal(tile.vectors * tile.rows, finish)


def _fragments(kind: str, count: int, dtype: str) -> Any:
    return allocated(f"{kind}s", (count * _ELEMENTS,), dtype, f"wmma.{kind}")


def _load(into: Any, index: Any, source: Any, first: Any, stride: int) -> None:
    """Load a fragment from shared memory: its rows are `stride` halves apart."""
    pointer = source.access_ptr("r", offset=first)
    ir.evaluate(ir.tvm_load_matrix_sync(into.data, *_SHAPE, index, pointer, stride, "row_major"))


def write_product(stages: Stages, plan: ProductPlan, operands: OperandsOf, gpu: GpuSpec) -> Any:
    """Write the loops of a product, on tensor cores if the plan's tile is one of theirs."""

    def write(buffers: dict[str, Any]) -> None:
        made, tile = operands(stages, buffers), plan.tile
        if isinstance(tile, TensorTile):
            TensorProduct(plan.sizes, tile, made, plan.resident).write()
        else:
            Product(plan.sizes, tile, made, stages.dtypes["data"], plan.resident).write()

    return written(stages, gpu, write)

"""A matrix product of a block of threads, with TE: as ``tensorir/gpu/product``.

Loop nest, outer to inner
    (row tile, vector tile) are blocks → a thread's vectors and rows, virtual threads →
    (slice, vector, row) are threads → steps of K, through shared memory where the rule says
    so → channel block → channel → lanes.

Slices
    ``rfactor``: K's slices are an axis of a stage of partial sums in shared memory, bound to
    threads; the threads of the first slice add them up. TE binds threads to a stage's loops only,
    and the output has no loop over slices: an axis of one iteration is split among them, and each
    asks whether it is the first. Several images of several pixels have no such axis, and the
    threads of every slice then store the same vectors.

Prefetch
    ``double_buffer``: a step's operands go to shared memory while those of the one before are
    multiplied, where there is room for both.

Edges
    Where a tile reaches beyond the map, TE asks for every row and vector whether it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te
from tvm_mobilenet.schedules.plans.gpu.product_tile import SMALL, ProductTile, Sizes
from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied, copies, staged

from tvm_mobilenet.machine import GpuSpec

Axis = Any
Stage = Any

_AXES = ("threadIdx.x", "threadIdx.y", "threadIdx.z")


@dataclass(frozen=True, slots=True)
class Place:
    """The axes of a stage, by their part in a product.

    Attributes
    ----------
    outer : list of IterVar
        Axes that no tile combines: images.
    row, vector, lanes : IterVar
        Rows, vectors of the output, and a vector's lanes.
    unit : IterVar, optional
        An axis of one iteration, to which slices of K can be bound.
    """

    outer: list[Axis]
    row: Axis
    vector: Axis
    lanes: Axis
    unit: Axis | None = None


Reading = Callable[[Stage, Sequence[Axis]], Place]
"""From a stage and its axes to what they are; may split and fuse them."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product, and how it is tiled.

    Attributes
    ----------
    sums, out : callable
        Read the axes of the sums, and of the output.
    """

    plan: ProductPlan
    gpu: GpuSpec
    sums: Reading
    out: Reading

    @property
    def sizes(self) -> Sizes:
        """Rows, vectors and K of the product."""
        return self.plan.sizes

    @property
    def tile(self) -> ProductTile:
        """The tile of a block of threads; TE has no fragments of tensor cores."""
        assert isinstance(self.plan.tile, ProductTile)
        return self.plan.tile

    @property
    def threads(self) -> list[tuple[str, int]]:
        """The axes of a block of threads, the one in which neighbours differ first."""
        tile = self.tile
        counts = {"row": tile.row_threads, "vector": tile.vector_threads, "slice": tile.slices}
        return [(_AXES[i], counts[what]) for i, what in enumerate(tile.order(self.sizes))]

    def thread(self, what: str) -> Any:
        """Return a new axis of threads: of ``"row"``, ``"vector"`` or ``"slice"``."""
        name, count = self.threads[self.tile.order(self.sizes).index(what)]
        return te.thread_axis((0, count), name)

    def schedule(self, s: Any, out: Any, accumulate: Any) -> None:
        """Schedule the sums over K, and the output that reads them element by element."""
        tile, sums = self.tile, accumulate
        if tile.slices > 1:
            block, _ = s[accumulate].split(s[accumulate].op.reduce_axis[0], self.sizes.block)
            _, slice_ = s[accumulate].split(block, tile.slices)
            parts = s.rfactor(accumulate, slice_)
            sums = s.cache_write(parts, "local")
        far = list(sums.op.input_tensors)
        if tile.staged:
            far = [s.cache_read(operand, "shared", [sums]) for operand in far]
        near = [s.cache_read(operand, "local", [sums]) for operand in far]

        place = self.out(s[out], s[out].op.axis)
        inner = []
        if tile.slices > 1 and place.unit is not None:
            inner = list(s[out].split(place.unit, nparts=tile.slices))
            s[out].bind(inner[0], self.thread("slice"))
        first, own = self._cut(s[out], place, inner)
        bind(s[out], blockIdx_x=first[0], blockIdx_y=first[1])
        if place.outer:
            bind(s[out], blockIdx_z=s[out].fuse(*place.outer))
        s[accumulate].set_scope("local")
        s[accumulate].compute_at(s[out], own)
        if tile.slices > 1:
            s[accumulate].vectorize(self.sums(s[accumulate], s[accumulate].op.axis).lanes)
            self._slices(s, out, first[0], parts, sums)
        self._multiply(s, sums, far, near)

    def _cut(
        self, stage: Stage, place: Place, inner: Sequence[Axis] = ()
    ) -> tuple[tuple[Axis, Axis], Axis]:
        """Cut up a stage; return its tiles' axes, and the innermost of its threads'."""
        tile = self.tile
        row_tile, row = stage.split(place.row, tile.rows)
        vector_tile, vector = stage.split(place.vector, tile.vectors)
        row_each, row = stage.split(row, tile.row_threads)
        vector_each, vector = stage.split(vector, tile.vector_threads)
        stage.reorder(
            *(*place.outer, vector_tile, row_tile, vector_each, row_each, vector, row),
            *(*inner, place.lanes),
        )
        stage.bind(vector, self.thread("vector"))
        stage.bind(row, self.thread("row"))
        copies(stage, vector_each, row_each)
        stage.vectorize(place.lanes)
        return (row_tile, vector_tile), inner[0] if inner else row

    def _slices(self, s: Any, out: Any, tile: Axis, parts: Any, sums: Any) -> None:
        """Have every slice's threads write their sums to shared memory."""
        stage = s[parts]
        stage.set_scope("shared")
        stage.compute_at(s[out], tile)
        slice_, *axes = stage.op.axis
        place = self.sums(stage, axes)
        stage.reorder(slice_, *place.outer, place.vector, place.row, place.lanes)
        stage.bind(slice_, self.thread("slice"))
        _, own = self._cut(stage, place)
        s[sums].compute_at(stage, own)

    def _multiply(self, s: Any, sums: Any, far: list[Any], near: list[Any]) -> None:
        """Take K in steps; of each the slice's blocks, of those each channel."""
        tile, sizes, stage = self.tile, self.sizes, s[sums]
        if tile.slices > 1:
            block, channel = stage.op.reduce_axis
            axes = stage.op.axis[1:]
        else:
            block, channel = stage.split(stage.op.reduce_axis[0], sizes.block)
            axes = stage.op.axis
        step, turn = stage.split(block, tile.depth // tile.slices)
        place = self.sums(stage, axes)
        apart = [*place.outer, place.vector, place.row]
        stage.reorder(*apart, step, turn, channel, place.lanes)
        for axis in (turn, channel):
            stage.unroll(axis)
        stage.vectorize(place.lanes)
        for copy, where in zip(near, (turn, channel), strict=True):
            s[copy].compute_at(stage, where)
            copied(s[copy])
        if not tile.staged:
            return
        room = 2 * tile.shared_bytes(sizes) <= min(self.gpu.block_shared, SMALL)
        for copy in far:
            s[copy].compute_at(stage, step)
            staged(s[copy], self.threads)
            if tile.prefetch and room and sizes.blocks > tile.depth:
                s[copy].double_buffer()

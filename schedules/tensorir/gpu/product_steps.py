"""How the operands of a matrix product reach a block of threads, in steps of K.

A step is ``depth`` channel blocks of the tile's rows and vectors. The threads together
fetch them into shared memory, 16 bytes each, consecutive threads consecutive addresses.
With `prefetch` the operands of the next step are loaded into registers while this one is
multiplied.

Edges
    For rows and vectors beyond the end the last ones are read again, so that the loop has no
    branch. Beyond the end of K operands are zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.gpu.product_tile import ProductTile, Sizes
from tvm_mobilenet.schedules.plans.gpu.tensor_tile import TensorTile
from tvm_mobilenet.schedules.tensorir.gpu.stages import allocated, copy

Lane = Callable[[Any], Any]
"""From a lane to the expression of an element."""

Fetched = Callable[[Any, Any], Lane]
"""From a channel block and a row, or a channel of K and a vector, to the lanes of one."""

Multiply = Callable[[Any, Fetched, Fetched], None]
"""Write one step of K: its number, its data, its weights."""


class Operands(Protocol):
    """The operands of a product, and where its results go."""

    def data(self, block: Any, row: Any) -> Lane:
        """Return the channels of a block of K of a row, in the type they are stored as."""

    def weight(self, vector: Any, k: Any) -> Lane:
        """Return a vector of weights, of channel k."""

    def store(self, row: Any, vector: Any, sums: Lane) -> None:
        """Write a vector of the output, from its sums (float32)."""


class Steps:
    """Writes the loop over K into the builder that is open.

    Parameters
    ----------
    dtype : str
        Type of the operands.
    own : PrimExpr
        Number of the thread within its block.
    first : tuple of PrimExpr
        Row and vector at which the block's tile begins.
    """

    def __init__(
        self,
        sizes: Sizes,
        tile: ProductTile | TensorTile,
        operands: Operands,
        *,
        dtype: str,
        own: Any,
        first: tuple[Any, Any],
    ) -> None:
        self.sizes, self.tile, self.operands, self.dtype = sizes, tile, operands, dtype
        self.own = own
        self.first_row, self.first_vector = first
        self.count = -(-sizes.blocks // tile.depth)

    def direct(self, multiply: Multiply) -> None:
        """Write the steps, each thread reading from memory what it multiplies."""
        with ir.serial(0, self.count) as step:
            multiply(step, self._far_data, self._far_weight)

    def shared(self, multiply: Multiply) -> None:
        """Write the steps, through shared memory."""
        sizes, tile = self.sizes, self.tile
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
            with ir.serial(0, self.count) as step:
                self._put(counts)
                with ir.If(step + 1 < self.count), ir.Then():
                    self._fetch(step + 1, counts)
                multiply(step, self._near_data, self._near_weight)
            return
        with ir.serial(0, self.count) as step:
            self.deal(counts[0], lambda i, _: self._fetch_data(step, i, self.data))
            self.deal(counts[1], lambda i, _: self._fetch_weight(step, i, self.weight))
            multiply(step, self._near_data, self._near_weight)

    def deal(self, count: int, body: Callable[[Any, Any], None]) -> None:
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
        self.deal(counts[0], lambda i, turn: self._fetch_data(step, i, x, turn))
        self.deal(counts[1], lambda i, turn: self._fetch_weight(step, i, w, turn))

    def _put(self, counts: tuple[int, int]) -> None:
        """Write those registers to shared memory."""
        sizes = self.sizes
        x, w = self.next_x, self.next_w
        self.deal(
            counts[0],
            lambda i, turn: copy(
                self.data, (self._data_at(*self._data_place(i)),), sizes.block, lambda c: x[turn, c]
            ),
        )
        self.deal(
            counts[1],
            lambda i, turn: copy(
                self.weight,
                (self._weight_at(*self._weight_place(i)),),
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

    def _shared_vectors(self) -> tuple[int, int]:
        """Return how many vectors of data and of weights shared memory holds."""
        rows, vectors = self.tile.places(self.sizes)
        return self.tile.depth * rows, self.tile.depth * self.sizes.block * vectors

    def _data_at(self, block: Any, row: Any) -> Any:
        return block * self.tile.places(self.sizes)[0] + row

    def _weight_at(self, k: Any, vector: Any) -> Any:
        return k * self.tile.places(self.sizes)[1] + vector

    def _fetch_data(self, step: Any, piece: Any, into: Any, turn: Any = None) -> None:
        block, row = self._data_place(piece)
        value = self._far_data(step * self.tile.depth + block, row)
        at = self._data_at(block, row) if turn is None else turn
        copy(into, (at,), self.sizes.block, value)

    def _fetch_weight(self, step: Any, piece: Any, into: Any, turn: Any = None) -> None:
        k, vector = self._weight_place(piece)
        value = self._far_weight(step * self.tile.depth * self.sizes.block + k, vector)
        at = self._weight_at(k, vector) if turn is None else turn
        copy(into, (at,), self.sizes.lanes, value)

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
        place = self._data_at(block, row)
        return lambda c: self.data[place, c]

    def _near_weight(self, k: Any, vector: Any) -> Lane:
        place = self._weight_at(k, vector)
        return lambda c: self.weight[place, c]


def _up_to(index: Any, count: int, tile: int) -> Any:
    """Return an index, or the last one for those beyond the end."""
    return index if count % tile == 0 else ir.min(index, count - 1)

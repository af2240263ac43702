"""The loops of a pointwise layer in seven products, as TensorIR.

:mod:`tvm_mobilenet.schedules.cpu.strassen` says what they are and why they are written
here rather than scheduled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.cpu.prefetch_insert import touch
from tvm_mobilenet.schedules.plans.strassen import StrassenPlan

from tvm_mobilenet.target.arithmetic import line_items


@dataclass(frozen=True, slots=True)
class _Product:
    """One product of a tile.

    Attributes
    ----------
    operand : tuple of int or int
        Quarter (pixel half, input half) of the input, or which of the sums.
    start : str
        What the accumulators begin with: ``"u"``, ``"w"``, or ``""`` for zero.
    keep : str
        Where they go.
    add : bool
        Whether they are added to that.
    leaves : tuple of int, optional
        Quarter (pixel half, output half) of the output that is finished.
    plus : str
        What is added to it on the way out.
    """

    operand: tuple[int, int] | int
    start: str = ""
    keep: str = ""
    add: bool = False
    leaves: tuple[int, int] | None = None
    plus: str = ""


_PRODUCTS = (
    _Product((0, 0), keep="u"),
    _Product((0, 1), "u", leaves=(0, 0)),
    _Product(1, "u", keep="u"),
    _Product(2, "u", keep="w"),
    _Product((1, 1), "w", leaves=(1, 0)),
    _Product(0, keep="u", add=True, leaves=(1, 1), plus="w"),
    _Product(3, "u", leaves=(0, 1)),
)


class Writer:
    """Writes the loops into the builder that is open."""

    def __init__(  # noqa: PLR0917  the function's buffers, in their order
        self, plan: StrassenPlan, activation: str, data: Any, weight: Any, bias: Any, out: Any
    ) -> None:
        self.plan, self.activation = plan, activation
        self.data, self.weight, self.bias, self.out = data, weight, bias, out

    def units(self) -> None:
        """Every unit of work: a chunk of an image, and a share of the output channels."""
        plan = self.plan
        loop = ir.parallel if plan.parallel else ir.serial
        with loop(0, plan.batch * plan.chunks * plan.splits) as unit, ir.sblock("unit"):
            image = unit // (plan.chunks * plan.splits)
            self.image = image
            self.first = unit // plan.splits % plan.chunks * plan.chunk_rows
            shape = (plan.chunk_rows, plan.vectors, plan.lanes)
            self.sums = ir.sblock_alloc_buffer((4, plan.k_blocks, plan.chunk_rows, plan.k_lanes))
            self.kept = {"u": ir.sblock_alloc_buffer(shape), "w": ir.sblock_alloc_buffer(shape)}
            self._sums()
            with ir.serial(0, plan.groups) as at:
                own = unit % plan.splits * plan.groups
                self.block = (own + at) * plan.vectors
                self.next_block = (own + (at + 1) % plan.groups) * plan.vectors
                for panel, product in enumerate(_PRODUCTS):
                    self._tiles(panel, product)

    def _sums(self) -> None:
        plan = self.plan
        lacking = plan.pixels % 2
        with ir.serial(0, plan.k_blocks) as k:
            with ir.serial(0, plan.chunk_rows - lacking) as p:
                self._sums_of(k, p, whole=True)
            if lacking:
                self._sums_of(k, plan.chunk_rows - 1, whole=False)

    def _sums_of(self, k: Any, p: Any, whole: bool) -> None:
        """S1 to S4 of one pixel pair and channel block."""
        plan = self.plan

        def x(half: int, k_half: int, c: Any) -> Any:
            if half and not whole:
                return ir.float32(0)
            at = self.first + p + half * plan.rows
            return self.data[self.image, k + k_half * plan.k_blocks, at, c]

        def s2(c: Any) -> Any:
            return x(1, 0, c) + x(1, 1, c) - x(0, 0, c)

        values: tuple[Callable[[Any], Any], ...] = (
            lambda c: x(1, 0, c) + x(1, 1, c),
            s2,
            lambda c: x(0, 0, c) - x(1, 0, c),
            lambda c: x(0, 1, c) - s2(c),
        )
        for i, value in enumerate(values):
            with ir.vectorized(0, plan.k_lanes) as c:
                ir.buffer_store(self.sums, value(c), [i, k, p, c])

    def _tiles(self, panel: int, product: _Product) -> None:
        """One product: whole tiles, then what is left."""
        plan = self.plan
        lacking = plan.pixels % 2
        whole = (plan.chunk_rows - lacking) // plan.tile_pixels
        rest = plan.chunk_rows - whole * plan.tile_pixels
        tiles = whole + bool(rest)
        if whole:
            with ir.serial(0, whole) as t:
                self._tile(panel, product, t, plan.tile_pixels, 0, tiles)
        if rest:
            self._tile(panel, product, whole, rest, lacking, tiles)

    def _tile(  # noqa: PLR0917
        self, panel: int, product: _Product, t: Any, pixels: int, lacking: int, tiles: int
    ) -> None:
        plan = self.plan
        first = t * plan.tile_pixels
        second = product.operand == (1, 1)
        computed = pixels - lacking if second else pixels
        if not computed:
            return
        with ir.sblock("tile"):
            acc = ir.sblock_alloc_buffer((pixels, plan.vectors, plan.lanes))

            def begin(i: Any, v: Any, c: Any) -> None:
                kept = self.kept[product.start][first + i, v, c] if product.start else ir.float32(0)
                ir.buffer_store(acc, kept, [i, v, c])

            def keep(i: Any, v: Any, c: Any) -> None:
                into, at = self.kept[product.keep], [first + i, v, c]
                value = into[tuple(at)] + acc[i, v, c] if product.add else acc[i, v, c]
                ir.buffer_store(into, value, at)

            def leave(i: Any, v: Any, c: Any) -> None:
                assert product.leaves is not None
                half, out_half = product.leaves
                block = out_half * plan.o_blocks + self.block + v
                value = acc[i, v, c] + self.bias[block, c]
                if product.plus:
                    value = self.kept[product.plus][first + i, v, c] + value
                at = self.first + first + i + half * plan.rows
                ir.buffer_store(self.out, self._activate(value), [self.image, block, at, c])

            self._each(computed, begin)
            with ir.serial(0, plan.depth // plan.steps) as outer:
                if plan.prefetch:
                    self._prefetch(panel, t * (plan.depth // plan.steps) + outer, tiles)
                with ir.serial(0, plan.steps) as inner:
                    self._multiply(acc, panel, product, first, outer * plan.steps + inner, computed)
            if product.leaves:
                lower = product.leaves[0] == 1
                self._each(pixels - lacking if lower else pixels, leave)
            if product.keep:
                self._each(computed, keep)

    def _each(self, pixels: int, body: Callable[[Any, Any, Any], None]) -> None:
        """Unroll over a tile: ``body(pixel, vector, lane)``."""
        plan = self.plan
        loops = (ir.unroll(0, pixels), ir.unroll(0, plan.vectors), ir.vectorized(0, plan.lanes))
        with loops[0] as i, loops[1] as v, loops[2] as c:
            body(i, v, c)

    def _multiply(  # noqa: PLR0917
        self, acc: Any, panel: int, product: _Product, first: Any, k: Any, pixels: int
    ) -> None:
        """One step of a tile's reduction."""
        plan = self.plan

        def step(i: Any, v: Any, c: Any) -> None:
            at, lane = first + i, k % plan.k_lanes
            if isinstance(product.operand, int):
                x = self.sums[product.operand, k // plan.k_lanes, at, lane]
            else:
                half, k_half = product.operand
                block = k // plan.k_lanes + k_half * plan.k_blocks
                x = self.data[self.image, block, self.first + at + half * plan.rows, lane]
            w = self.weight[panel, self.block + v, k, c]
            ir.buffer_store(acc, acc[i, v, c] + x * w, [i, v, c])

        self._each(pixels, step)

    def _prefetch(self, panel: int, step: Any, tiles: int) -> None:
        """Fetch a share of the panel that the next product reads."""
        plan = self.plan
        rows = max(line_items("float32") // plan.lanes, 1)
        steps = tiles * (plan.depth // plan.steps)
        each = -(-plan.vectors * plan.depth // (rows * steps))
        block = self.block if panel < len(_PRODUCTS) - 1 else self.next_block
        for i in range(each):
            # A group's blocks follow each other in memory: one address, constant offsets.
            at = ((panel + 1) % len(_PRODUCTS), block, (step * each + i) * rows, 0)
            ir.evaluate(touch(self.weight, at))

    def _activate(self, value: Any) -> Any:
        if self.activation == "none":
            return value
        value = tirx.max(value, ir.float32(0))
        return value if self.activation == "relu" else tirx.min(value, ir.float32(6))

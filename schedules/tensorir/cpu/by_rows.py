"""An output of flattened pixels as one of rows and columns, so that tiles stay in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import IRModule, ir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import For, ForKind, SeqStmt
from tvm_ffi import structural_map

from tvm_mobilenet.operators.workload import Workload

_SPATIAL = 0


def by_rows(
    func: Any, work: Workload, phases: tuple[int, int], *, through_registers: bool = False
) -> Any:
    """Give the output of a function over flattened pixels rows and columns, and phases in them.

    before: ``for n, o, p, c: flat[n, o, p, c] = acc[n, o, <of p>, c]``, then ``out`` of that
    after: ``for n, o, y, a, x, b, c: out[n, o, (y * rows + a) * width + x * columns + b, c]`` of
    ``acc[n, o, <of y, a, x, b>, c]``

    TVM's own transformation would leave divisions of these sums, of which it does not see,
    where it places what computes ``acc``, that they are one row and one phase.

    Parameters
    ----------
    phases : tuple of int
        (rows, columns) of a step, 1 unless transposed.
    through_registers : bool
        Whether ``out`` fills a buffer of the same axes, which a block ``store`` copies: a GPU
        computes elements and writes vectors.

    Returns
    -------
    tirx.PrimFunc
        Not yet scheduled.
    """
    sch = Schedule(IRModule({"main": func}))
    sch.compute_inline(sch.get_sblock("flat"))
    func = sch.mod["main"]
    root = func.body.block
    *before, nest = root.body.seq
    while isinstance(nest, For):
        nest = nest.body
    rows = _Rows(nest.block, work, phases)
    buffers, nests = list(root.alloc_buffers), [rows.written()]
    if through_registers:
        buffers.append(rows.registers())
        nests = [rows.filled(buffers[-1]), rows.stored(buffers[-1])]
    body = SeqStmt([*before, *nests])
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        body,
        root.init,
        buffers,
        root.match_buffers,
        root.annotations,
    )
    return func.with_body(SBlockRealize([], func.body.predicate, block))


class _Rows:
    """The output's block in loops over images, blocks, rows, columns and lanes."""

    def __init__(self, out: Any, work: Workload, phases: tuple[int, int]) -> None:
        (self._height, self._width), (self._down, self._right) = work.out_size, phases
        steps = {"y": -(-self._height // self._down), "a": self._down}
        steps |= {"x": -(-self._width // self._right), "b": self._right}
        n, o, p, c = out.iter_vars
        self._out = out
        self._pixel = p.var
        self._others = {n.var: "n", o.var: "o", c.var: "c"}
        self._extents = {"n": n.dom.extent, "o": o.dom.extent, **steps, "c": c.dom.extent}

    def registers(self) -> Any:
        """Return a buffer of the nest's axes."""
        shape, dtype = list(self._extents.values()), str(self._out.body.buffer.dtype)
        return tirx.decl_buffer(shape, dtype, "registers", scope="local")

    def written(self) -> Any:
        """Return the nest that writes where the block wrote."""

        def body(own: _Own) -> Any:
            store = self._out.body
            made: Any = tirx.BufferStore(
                store.buffer, own.moved(store.value), list(map(own.moved, store.indices))
            )
            return self._inside(own, made)

        out = self._out
        return self._nest(
            str(out.name_hint), body,
            lambda own: list(map(own.region, out.reads)),
            lambda own: list(map(own.region, out.writes)),
        )  # fmt: skip

    def filled(self, registers: Any) -> Any:
        """Return the nest that computes into a buffer."""
        return self._nest(
            str(self._out.name_hint),
            lambda own: tirx.BufferStore(
                registers, own.moved(self._out.body.value), list(own.places.values())
            ),
            lambda own: list(map(own.region, self._out.reads)),
            lambda own: [own.point(self._out.writes[0], registers)],
        )

    def stored(self, registers: Any) -> Any:
        """Return the nest that copies from it."""

        def body(own: _Own) -> Any:
            store = self._out.body
            value = tirx.BufferLoad(registers, list(own.places.values()))
            made = tirx.BufferStore(store.buffer, value, list(map(own.moved, store.indices)))
            return self._inside(own, made)

        return self._nest(
            "store", body,
            lambda own: [own.point(self._out.writes[0], registers)],
            lambda own: list(map(own.region, self._out.writes)),
        )  # fmt: skip

    def _inside(self, own: _Own, body: Any) -> Any:
        """Ask whether a pixel exists; not in the block's predicate: it would be no affine one."""
        if not (self._height % self._down or self._width % self._right):
            return body
        exists = tirx.all(own.row < self._height, own.column < self._width)
        return tirx.IfThenElse(exists, body, None)

    def _nest(self, name: str, body: Any, reads: Any, writes: Any) -> Any:
        loops = {axis: tirx.Var(axis, "int32") for axis in self._extents}
        own = self._own()
        iterators = [
            tirx.IterVar(ir.Range(0, extent), own.places[axis], _SPATIAL)
            for axis, extent in self._extents.items()
        ]
        block = SBlock(iterators, reads(own), writes(own), name, body(own))
        made: Any = SBlockRealize(list(loops.values()), tirx.const(True, "bool"), block)
        for axis in reversed(loops):
            made = For(loops[axis], 0, self._extents[axis], ForKind.SERIAL, made)
        return made

    def _own(self) -> _Own:
        places = {axis: tirx.Var(f"v_{axis}", "int32") for axis in self._extents}
        row = places["y"] * self._down + places["a"]
        column = places["x"] * self._right + places["b"]
        analyzer = sym.Analyzer()
        for axis, extent in self._extents.items():
            analyzer.bind(places[axis], ir.Range(0, extent))
        new = {var: places[axis] for var, axis in self._others.items()}
        new[self._pixel] = row * self._width + column
        return _Own(places, row, column, column < self._width, new, analyzer)


@dataclass(frozen=True, slots=True)
class _Own:
    """The variables of one block, and what it says in them."""

    places: dict[str, Any]
    row: Any
    column: Any
    in_row: Any
    new: dict[Any, Any]
    analyzer: Any

    def moved(self, value: Any) -> Any:
        """Return an expression of the old block's variables in these."""
        taken = structural_map(value, ((tirx.Var,), lambda var: self.new.get(var, var)))
        with self.analyzer.constraint_scope(self.in_row):
            return self.analyzer.simplify(taken)

    def region(self, read: Any) -> Any:
        """Return a region of the old block in these."""
        ranges = [ir.Range.from_min_extent(self.moved(r.min), r.extent) for r in read.region]
        return type(read)(read.source, ranges, read.ty)

    def point(self, like: Any, buffer: Any) -> Any:
        """Return the region of one element."""
        ranges = [ir.Range.from_min_extent(place, 1) for place in self.places.values()]
        return type(like)(buffer, ranges, like.ty)

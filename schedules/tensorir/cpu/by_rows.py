"""An output of flattened pixels as one of rows and columns, so that tiles stay in a row."""

from __future__ import annotations

from typing import Any

from tvm import IRModule, ir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import For, ForKind, SeqStmt
from tvm_ffi import structural_map

from tvm_mobilenet.operators.workload import Workload

_SPATIAL = 0


def by_rows(func: Any, work: Workload, phases: tuple[int, int]) -> Any:
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
    body = SeqStmt([*before, _nest(nest.block, work, phases)])
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        body,
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    return func.with_body(SBlockRealize([], func.body.predicate, block))


def _nest(out: Any, work: Workload, phases: tuple[int, int]) -> Any:
    """Return the output's block in loops over images, blocks, rows, columns and lanes."""
    (height, width), (down, right) = work.out_size, phases
    sizes = {"y": -(-height // down), "a": down, "x": -(-width // right), "b": right}
    n, o, p, c = out.iter_vars
    extents = {"n": n.dom.extent, "o": o.dom.extent, **sizes, "c": c.dom.extent}
    loops = {name: tirx.Var(name, "int32") for name in extents}
    own = {name: tirx.Var(f"v_{name}", "int32") for name in extents}
    row, column = own["y"] * down + own["a"], own["x"] * right + own["b"]
    new = {n.var: own["n"], o.var: own["o"], p.var: row * width + column, c.var: own["c"]}
    analyzer = sym.Analyzer()
    for name, extent in extents.items():
        analyzer.bind(own[name], ir.Range(0, extent))

    def moved(value: Any) -> Any:
        taken = structural_map(value, ((tirx.Var,), lambda var: new.get(var, var)))
        with analyzer.constraint_scope(column < width):
            return analyzer.simplify(taken)

    def region(read: Any) -> Any:
        ranges = [ir.Range.from_min_extent(moved(r.min), r.extent) for r in read.region]
        return type(read)(read.source, ranges, read.ty)

    store = out.body
    iterators = [
        tirx.IterVar(ir.Range(0, extent), own[name], _SPATIAL) for name, extent in extents.items()
    ]
    body: Any = tirx.BufferStore(store.buffer, moved(store.value), list(map(moved, store.indices)))
    # Not the block's predicate, which with phases would be no affine one.
    if height % down or width % right:
        body = tirx.IfThenElse(tirx.all(row < height, column < width), body, None)
    block = SBlock(
        iterators,
        list(map(region, out.reads)),
        list(map(region, out.writes)),
        out.name_hint,
        body,
    )
    made: Any = SBlockRealize(list(loops.values()), tirx.const(True, "bool"), block)
    for name in reversed(loops):
        made = For(loops[name], 0, extents[name], ForKind.SERIAL, made)
    return made

"""Steps that TensorIR schedules for GPUs share: rows and columns, vectors of 16 bytes."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir
from tvm.s_tir import Schedule
from tvm.tirx import IndexMap
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import extent

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES


def rows_and_columns(sch: Any, width: int, *names: str) -> Any:
    """Give the pixel axis its two dimensions back, and store vectors from registers.

    before: ``acc(n, o, p, c; r, q)`` reads ``data[n, o, p // W + r, p % W + q, c]``;
    ``out(n, o, p, c)`` fills the function's output
    after: ``acc(n; r, q; o, y, x, c)`` reads ``data[n, o, y + r, x + q, c]``;
    ``out(n, o, y, x, c)`` fills registers, ``store(n, o, y, x, c)`` copies those

    A region is then a range of rows and one of columns; of flat pixels it would be
    every pixel between its corners. Wherever a block is computed, its loops come in the order
    of its axes, so the taps of a sum are outside of the pixels.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over a function whose blocks are still as TE defined them.
    width : int
        W, pixels in a row.
    *names : str
        Blocks over (n, o, p, c, reduction axes), ``"out"`` the last of them.

    Returns
    -------
    SBlockRV
        The block that stores.
    """

    def split(n: Any, o: Any, p: Any, c: Any, *rest: Any) -> tuple[Any, ...]:
        return (n, *rest, o, p // width, p % width, c)

    store = sch.cache_write(sch.get_sblock(names[-1]), 0, "local")
    blocks = [*map(sch.get_sblock, names), store]
    for block in blocks:
        axes = len(sch.get(block).iter_vars)
        sch.transform_block_layout(block, IndexMap.from_func(split, ndim=axes, index_dtype="int32"))
    for block in blocks[:-1]:
        sch.transform_layout(block, ("write", 0), split)
    # The primitives leave (y * W + x) // W as it is, which no region is inferred from.
    simple = Schedule(s_tir.transform.StmtSimplify()(sch.mod))
    for block in blocks:
        old = sch.get(block)
        new = simple.get(simple.get_sblock(old.name_hint))
        sch.state.replace(sch.get_sref(block), new, {old: new})
    return store


def copy_vectors(sch: Any, block: Any, target: TargetSpec, within: int) -> None:
    """Turn a copy into loads or stores of 16 bytes, all of them unrolled.

    Parameters
    ----------
    block : SBlockRV
        A copy whose last axis is contiguous.
    within : int
        How many of its outer loops are left as they are.
    """
    *loops, last = sch.get_loops(block)[within:]
    outer, vector = sch.split(last, [None, vector_lanes(sch, block, target, extent(sch, last))])
    sch.vectorize(vector)
    for loop in (*loops, outer):
        sch.unroll(loop)


def stage_vectors(sch: Any, block: Any, target: TargetSpec, within: int, threads: int) -> None:
    """Share a copy into shared memory among the threads of a block, a vector each.

    Parameters
    ----------
    block : SBlockRV
        A copy whose last axis is contiguous.
    within : int
        How many of its outer loops are left as they are.
    threads : int
        Extent of ``threadIdx.x``.
    """
    *loops, last = sch.get_loops(block)[within:]
    outer, vector = sch.split(last, [None, vector_lanes(sch, block, target, extent(sch, last))])
    _, thread = sch.split(sch.fuse(*loops, outer), [None, threads])
    sch.bind(thread, "threadIdx.x")
    sch.vectorize(vector)


def unroll(sch: Any, block: Any, within: int) -> None:
    """Unroll the loops of a block but for the first `within`."""
    for loop in sch.get_loops(block)[within:]:
        sch.unroll(loop)


def vector_lanes(sch: Any, block: Any, target: TargetSpec, most: int) -> int:
    """Return the elements of a block's output that one load or store takes.

    They take 16 bytes; Metal has no vectors of more than four elements.
    """
    widest = LANE_BYTES // ITEM_BYTES[str(sch.get(block).writes[0].source.dtype)]
    return math.gcd(min(widest, 4) if target.the_gpu.kind == "metal" else widest, most)

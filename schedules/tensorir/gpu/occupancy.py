"""Launch bounds, so that CUDA kernels may use the registers that their schedule counts on."""

from __future__ import annotations

import math
from typing import Any

import tvm_ffi
from tvm import s_tir, tirx

from tvm_mobilenet.machine.gpu import GpuSpec

_LEAST_BLOCKS = "tirx.launch_bounds_min_blocks_per_sm"


def with_occupancy(func: Any, registers: int, gpu: GpuSpec) -> Any:
    """Have ptxas keep as many blocks on a unit as the registers leave, and use all of those.

    before: ``__launch_bounds__(128)``
    after: ``__launch_bounds__(128, 4)``

    Without a bound ptxas assumes that the grid fills a unit with threads, which at batch 1 it
    does not: it gives 3 x 3 windows 32 registers, and loads them three vectors at a time. With
    86 of 128 registers all eighteen loads are in flight at once.

    `func` is one kernel, bound to blocks and threads; `registers` are those of a thread, as its
    plan counts them.
    """
    axes: dict[str, int] = {}

    def visit(loop: Any) -> None:
        if loop.thread_binding is not None:
            axes[str(loop.thread_binding.thread_tag)] = int(loop.extent)

    tvm_ffi.structural_walk(func.body, [(tirx.For, visit)], order="post")
    threads = math.prod(extent for tag, extent in axes.items() if tag.startswith("threadIdx"))
    blocks = max(gpu.resident_blocks(threads, registers, 0), 1)
    realize, root = func.body, func.body.block
    grid = root.body
    bounded = tirx.AttrStmt(0, _LEAST_BLOCKS, tirx.const(blocks, "int32"), grid.body)
    loop = tirx.For(
        grid.loop_var, grid.min, grid.extent, grid.kind, bounded, grid.thread_binding,
        grid.annotations,
    )  # fmt: skip
    block = s_tir.SBlock(
        root.iter_vars, root.reads, root.writes, root.name_hint, loop, root.init,
        root.alloc_buffers, root.match_buffers, root.annotations,
    )  # fmt: skip
    return func.with_body(s_tir.SBlockRealize(realize.iter_values, realize.predicate, block))

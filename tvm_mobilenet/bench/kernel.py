"""What the kernels that measure a processor have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from tvm_mobilenet.machine import TargetSpec


def begin(tensors: Sequence[Any]) -> tuple[Any, Any]:
    """Begin the schedule of a definition whose one stage is called ``y``.

    Parameters
    ----------
    tensors : sequence of te.Tensor
        Inputs, then the output.

    Returns
    -------
    tir.Schedule, BlockRV
        Their classes are either TVM's: 0.19 calls its modules and the block otherwise.
    """
    from tvm import te

    func = te.create_prim_func(tensors)
    try:
        from tvm.s_tir import Schedule
    except ImportError:
        from tvm.tir import Schedule

        sch = Schedule(func)
        return sch, sch.get_block("y")
    sch = Schedule(func)
    return sch, sch.get_sblock("y")


def tensor(array: Any) -> Any:
    """Return a tensor of TVM's that holds a copy of an array."""
    import tvm

    make = tvm.nd.array if hasattr(tvm, "nd") else tvm.runtime.tensor  # 0.19 has the former
    return make(array)


def reducing_in_registers(tensors: Sequence[Any]) -> Any:
    """Schedule a reduction whose sums stay in registers, each thread's part of them.

    Parameters
    ----------
    tensors : sequence of te.Tensor
        The last is ``y`` of (threads, vectors, lanes), reduced over any axes.

    Returns
    -------
    tvm.IRModule
        Loops from outer to inner: thread (parallel), the axes of the reduction, vector
        (unrolled), lane (vector).
    """
    sch, block = begin(tensors)
    store = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(store, sch.get_loops(block)[0], preserve_unit_loops=True)
    thread, vector, lane, *reduced = sch.get_loops(block)
    sch.reorder(*reduced, vector, lane)
    sch.parallel(thread)
    _keep_in_registers(sch, block)
    _keep_in_registers(sch, store)
    # Afterwards the update is no whole reduction any more, and takes no primitive.
    _keep_in_registers(sch, sch.decompose_reduction(block, reduced[0]))
    return sch.mod


def _keep_in_registers(sch: Any, block: Any) -> None:
    """Unroll and vectorize the two innermost loops of a block."""
    *_, vectors, lanes = sch.get_loops(block)
    sch.unroll(vectors)
    sch.vectorize(lanes)


def compiled(module: Any, spec: TargetSpec, threads: int) -> Callable[..., Any]:
    """Compile the one function of a module for some threads of this machine.

    Parameters
    ----------
    module : tvm.IRModule
        With ``main``.
    spec : TargetSpec
        Processor that the artifact was compiled for.
    threads : int
        Threads of TVM's pool to use; set in ``TVM_NUM_THREADS``.

    Returns
    -------
    callable
        ``main``, on TVM tensors.
    """
    # Read once, when TVM starts its pool.
    os.environ["TVM_NUM_THREADS"] = str(threads)
    function: Callable[..., Any] = build(module, spec, threads)["main"]
    return function


def build(module: Any, spec: TargetSpec, threads: int) -> Any:
    """Compile a module for some threads of a processor; what comes of it can be exported."""
    import tvm

    make = tvm.compile if hasattr(tvm, "compile") else tvm.build  # 0.19 has the latter
    return make(module, target=tvm.target.Target({**spec.tvm_dict(), "num-cores": threads}))

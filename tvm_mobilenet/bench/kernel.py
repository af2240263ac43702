"""What the kernels that measure a processor have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from tvm_mobilenet.stacks import installed_stack
from tvm_mobilenet.target import TargetSpec


def begin(tensors: Sequence[Any]) -> tuple[Any, Any]:
    """Begin the schedule of a definition whose one stage is called ``y``.

    Parameters
    ----------
    tensors : sequence of te.Tensor
        Inputs, then the output.

    Returns
    -------
    tir.Schedule, BlockRV
        Of either TVM: 0.19 calls its modules and the block otherwise.
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

    make = tvm.nd.array if installed_stack() == "relay" else tvm.runtime.tensor
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
    import tvm

    target = tvm.target.Target({**spec.tvm_dict(), "num-cores": threads})
    if installed_stack() == "relay":
        function: Callable[..., Any] = tvm.build(module, target=target)["main"]
    else:
        function = tvm.compile(module, target=target)["main"]
    return function

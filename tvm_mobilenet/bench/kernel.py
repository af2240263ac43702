"""What the kernels that measure a processor have in common."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.artifact.toolchain import find_linker
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.common.stacks import installed_stack
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.runtime.inputs import aligned_empty


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


def calling(
    module: Any, spec: TargetSpec, threads: int, x: NDArray[Any], y: NDArray[Any]
) -> Callable[[], object]:
    """Compile the one function of a module for some threads of this machine.

    Parameters
    ----------
    module : tvm.IRModule
        With ``main(x, y)``.
    spec : TargetSpec
        Processor that the artifact was compiled for.
    threads : int
        That calls use: those of the pool that artifacts have, of TVM's on the classic stack.
    x, y : ndarray
        Input and output, which are copied.

    Returns
    -------
    callable
        ``main``, on the copies.
    """
    if installed_stack() == "relay":
        import tvm

        os.environ["TVM_NUM_THREADS"] = str(threads)  # read once, when TVM starts its pool
        return partial(_built(module, spec, threads)["main"], tvm.nd.array(x), tvm.nd.array(y))
    from tvm_mobilenet.runtime.kernel_library import LoadedKernel, Turns

    with scratch() as folder:
        path = os.path.join(folder, "kernel.so")
        write(module, spec, threads, path)
        kernel = LoadedKernel(path, threads)
    return partial(kernel, Turns([[_aligned(x), _aligned(y)]]))


def write(module: Any, spec: TargetSpec, threads: int, path: str | os.PathLike[str]) -> None:
    """Compile the one function of a module into a file, for some threads of a processor."""
    if installed_stack() == "relay":
        linker = find_linker(spec)
        _built(module, spec, threads).export_library(os.fspath(path), fcompile=linker.fcompile)
        return
    from tvm_mobilenet.emit.relax.kernel_library import write_kernel

    write_kernel(module, dataclasses.replace(spec, cores=threads), path)


def _built(module: Any, spec: TargetSpec, threads: int) -> Any:
    import tvm

    return tvm.build(module, target=tvm.target.Target({**spec.tvm_dict(), "num-cores": threads}))


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    copy: NDArray[Any] = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy

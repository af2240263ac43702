"""What the kernels that measure a processor have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tvm_mobilenet.target import TargetSpec


def keep_in_registers(sch: Any, block: Any) -> None:
    """Unroll and vectorize the two innermost loops of a block.

    Parameters
    ----------
    sch : s_tir.Schedule
    block : SBlockRV
    """
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
    function: Callable[..., Any] = tvm.compile(module, target=target)["main"]
    return function

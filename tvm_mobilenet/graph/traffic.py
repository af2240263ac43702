"""What each kernel of a lowered network has to move at least: everything it takes, once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_mobilenet.graph.constants import is_constant
from tvm_mobilenet.operators.ahead import AHEAD


def traffic(mod: Any, entry: str) -> list[dict[str, int]]:
    """Count the bytes of the tensors of every kernel, as the entry function calls them.

    Parameters
    ----------
    mod : IRModule
        Lowered to ``call_tir``.
    entry : str

    Returns
    -------
    list of dict
        ``"input"`` (activations), ``"weights"`` (constants, packed, without those that are
        prefetched for others) and ``"output"``, bytes.
    """
    call_tir = tvm.ir.Op.get("relax.call_tir")
    found = []
    for binding in (b for block in mod[entry].body.blocks for b in block.bindings):
        call = binding.value
        if isinstance(call, relax.Call) and call.op.same_as(call_tir):
            moved = {"input": 0, "weights": 0, "output": _bytes(binding.var)}
            numbers = (mod[call.args[0]].attrs or {}).get(AHEAD, ())
            for argument in list(call.args[1])[: len(call.args[1]) - len(numbers) // 4]:
                moved["weights" if is_constant(argument) else "input"] += _bytes(argument)
            found.append(moved)
    return found


def _bytes(tensor: Any) -> int:
    count = math.prod(int(size) for size in tensor.ty.shape)
    return count * np.dtype(str(tensor.ty.dtype)).itemsize

"""What each kernel of a lowered network has to move at least: everything it takes, once."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.emit.relax.reading import bindings, bytes_of, calls_kernel, is_constant
from tvm_mobilenet.operators.ahead import AHEAD


def traffic(mod: Any, entry: str) -> list[dict[str, int]]:
    """Count the bytes of the tensors of every kernel, as the entry function calls them.

    Parameters
    ----------
    mod : IRModule
        Lowered to ``call_tir``.

    Returns
    -------
    list of dict
        ``"input"`` (activations), ``"weights"`` (constants, packed, without those that are
        prefetched for others) and ``"output"``, bytes.
    """
    found = []
    for binding in bindings(mod[entry]):
        call = binding.value
        if calls_kernel(call):
            moved = {"input": 0, "weights": 0, "output": bytes_of(binding.var)}
            numbers = (mod[call.args[0]].attrs or {}).get(AHEAD, ())
            for argument in list(call.args[1])[: len(call.args[1]) - len(numbers) // 4]:
                moved["weights" if is_constant(argument) else "input"] += bytes_of(argument)
            found.append(moved)
    return found

"""Small Relax modules: built, run as they are by TVM's own pipeline, looked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

Array = NDArray[Any]


def run(mod: Any, x: Array) -> Array:
    """Run ``main`` of a module in any phase; TVM lowers what is left."""
    quick = tvm.target.Target({"kind": "llvm", "opt-level": 0})
    virtual_machine = relax.VirtualMachine(tvm.compile(mod, target=quick), tvm.cpu())
    return np.asarray(virtual_machine["main"](tvm.runtime.tensor(x)).numpy())


def operators(mod: Any) -> Counter[str]:
    """How often ``main`` calls each operator, or each function, by name."""
    found: Counter[str] = Counter()
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call):
                callee = value.op
                if getattr(callee, "name", "") == "relax.call_tir":
                    callee = value.args[0]
                found[str(getattr(callee, "name", getattr(callee, "name_hint", callee)))] += 1
    return found


def module(shape: tuple[int, ...], body: Callable[[Any, Any], Any]) -> Any:
    """A module ``main(x)`` whose body ``body(emit, x)`` returns the output."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            output = builder.emit_output(body(builder.emit, x))
        builder.emit_func_output(output)
    return builder.get()


def constant(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A float32 constant of normal deviates, scaled so that sums over it stay about 1."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return relax.const((values / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32))


def image(shape: tuple[int, ...], seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

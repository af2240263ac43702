"""What TVM makes of operators that are not ours, run on this machine whatever the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_mobilenet.emit.relax.foreign import import_operator, inline
from tvm_mobilenet.models.operator import Operator

_TARGET = {"kind": "llvm", "opt-level": 1}
"""Code that is made quickly and runs once."""

Run = Callable[..., NDArray[Any]]


def on_host(
    layers: Sequence[Operator], weights: Mapping[str, NDArray[np.float32]]
) -> dict[str, Run]:
    """Compile operators for this machine as TVM's importer reads them.

    Parameters
    ----------
    layers : sequence of Operator
        Equal ones are compiled once.
    weights : mapping of str to ndarray
        At least theirs.

    Returns
    -------
    dict of str to callable
        By layer: from its inputs to its output, arrays of the types that it has.

    Raises
    ------
    UnsupportedOperatorError
        TVM does not know one of them.
    """
    names: dict[Any, str] = {}
    of_layer = {
        layer.name: names.setdefault(_key(layer, weights), f"f{i}")
        for i, layer in enumerate(layers)
    }
    made = {of_layer[layer.name]: import_operator(layer, weights) for layer in reversed(layers)}
    shapes = {of_layer[layer.name]: layer for layer in layers}
    builder = relax.BlockBuilder()
    for name, mod in made.items():
        layer = shapes[name]
        kinds = zip(layer.in_shapes, layer.dtypes[:-1], strict=True)
        inputs = [
            relax.Var(f"x{i}", relax.TensorType(shape, dtype))
            for i, (shape, dtype) in enumerate(kinds)
        ]
        with builder.function(name, inputs):
            with builder.dataflow():
                output = builder.emit_output(inline(builder, mod, inputs, "y"))
            builder.emit_func_output(output)
    if not made:
        return {}
    legal = relax.transform.LegalizeOps()(builder.get())
    executable = relax.build(legal, tvm.target.Target(_TARGET))
    machine = relax.VirtualMachine(executable, tvm.cpu())

    def runner(layer: Operator) -> Run:
        def run(*inputs: NDArray[Any]) -> NDArray[Any]:
            typed = zip(inputs, layer.dtypes[:-1], strict=True)
            fed = [tvm.runtime.tensor(np.asarray(x, dtype, order="C")) for x, dtype in typed]
            return np.asarray(machine[of_layer[layer.name]](*fed).numpy())

        return run

    return {layer.name: runner(layer) for layer in layers}


def _key(layer: Operator, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """Return what two operators have in common if they are the same."""
    return layer.node, tuple(weights[name].tobytes() for name in layer.parameters)

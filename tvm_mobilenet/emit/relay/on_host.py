"""What Relay makes of operators that are not ours, run on this machine whatever the target."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relay
from tvm.contrib import graph_executor

from tvm_mobilenet.emit.relay.foreign import imported
from tvm_mobilenet.emit.relay.tir_passes import lowering
from tvm_mobilenet.machine import host
from tvm_mobilenet.models.operator import Operator

Run = Callable[..., NDArray[Any]]


def on_host(
    layers: Sequence[Operator], weights: Mapping[str, NDArray[np.float32]]
) -> dict[str, Run]:
    """Compile operators for this machine as Relay's importer reads them.

    Parameters
    ----------
    weights : mapping of str to ndarray
        At least theirs.

    Returns
    -------
    dict of str to callable
        By layer: from its inputs to its output, arrays of the types that it has.

    Raises
    ------
    UnsupportedOperatorError
        Relay does not know one of them.
    """
    return {layer.name: _runner(layer, weights) for layer in layers}


def _runner(layer: Operator, weights: Mapping[str, NDArray[np.float32]]) -> Run:
    kinds = zip(layer.in_shapes, layer.dtypes[:-1], strict=True)
    inputs = [relay.var(f"x{i}", shape=s, dtype=d) for i, (s, d) in enumerate(kinds)]
    func = relay.Function(inputs, imported(layer, inputs, weights))
    # Relay would download other people's schedules for its own operators, and miss ours.
    os.environ.setdefault("TOPHUB_LOCATION", "NONE")
    with lowering(host()):
        library = relay.build(tvm.IRModule.from_expr(func), "llvm")
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))

    def run(*given: NDArray[Any]) -> NDArray[Any]:
        for i, (x, dtype) in enumerate(zip(given, layer.dtypes[:-1], strict=True)):
            module.set_input(f"x{i}", np.asarray(x, dtype, order="C"))
        module.run()
        return np.asarray(module.get_output(0).numpy())

    return run

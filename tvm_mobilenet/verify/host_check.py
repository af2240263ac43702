"""Checks on this machine, whatever the target is, that an ONNX file was read right.

Where an artifact can run, verification covers all of this. Where it cannot, or with
``--no-verify``, this check alone keeps a misread network from being written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.evaluator import Judge
from tvm_mobilenet.models.spec import INPUT, Operator
from tvm_mobilenet.verify.judging import judge
from tvm_mobilenet.verify.reading import Reading, read_against

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.adapter import StackAdapter
    from tvm_mobilenet.models.network import Network


def check_on_host(network: Network, x: NDArray[Any], stack: StackAdapter) -> dict[str, Any]:
    """Compare layers with the file, and TVM's lowering of foreign operators with a judge.

    Parameters
    ----------
    network : Network
        A network from an ONNX file.
    x : ndarray
        Input of the network.
    stack : StackAdapter
        The stack whose importer lowers operators that are not ours.

    Returns
    -------
    dict
        For the manifest: how many ``layers`` and ``operators`` were compared with the file,
        and the names of the ``unjudged`` ones.

    Raises
    ------
    VerificationError
        A layer, or an operator as TVM compiles it, does not compute what the file does.
    UnsupportedOperatorError
        TVM does not know an operator.
    """
    model, weights = network.model, network.weights
    operators = [layer for layer in model.layers if isinstance(layer, Operator)]
    with np.errstate(all="ignore"):
        reading = _read(network, x, {})
        compiled = stack.on_host(operators, weights)
        given: dict[str, NDArray[Any]] = {}
        unjudged = []
        for layer in operators:
            values = {**reading.values, INPUT: x}
            if any(name not in values for name in layer.inputs):
                unjudged.append(layer.name)
                continue
            got = compiled[layer.name](*(values[name] for name in layer.inputs))
            verdict = judge((layer,), weights, values, got)
            if not verdict.passed:
                raise VerificationError(
                    f"{model.title}: TVM's {layer.operator} of {layer.name!r} is wrong: relative "
                    f"error {verdict.alone:.2e} on this machine, tolerance {verdict.tolerance:.2e}",
                    "nothing is written; please report the operator, and export without it",
                )
            if not verdict.judge:
                # What TVM makes of it is where the file's reference goes on.
                unjudged.append(layer.name)
                given[layer.name] = got
                reading = _read(network, x, given)
    verdicts = reading.verdicts.items()
    wrong = [name for name, found in verdicts if not found.passed and name not in given]
    if wrong:
        found = reading.verdicts[wrong[0]]
        raise VerificationError(
            f"{model.title}: layer {wrong[0]} is not what the ONNX file says: relative error "
            f"{found.alone:.2e} on the same input, tolerance {found.tolerance:.2e}",
            "nothing is written: it was read wrong; please report the model",
        )
    return {"layers": len(model.layers), "operators": len(operators), "unjudged": unjudged}


def _read(network: Network, x: NDArray[Any], given: Mapping[str, NDArray[Any]]) -> Reading:
    """Judge by onnx's evaluator, or by onnxruntime if only that agrees with all layers."""
    expect = network.expect
    assert expect is not None
    operators = (layer for layer in network.model.layers if isinstance(layer, Operator))
    keep = {name for layer in operators for name in layer.inputs}

    def read(by: Judge) -> Reading:
        return read_against(
            network.model,
            network.weights,
            x,
            lambda each: expect(x, given=given, by=by, each=each),
            keep=keep,
        )

    reading = read("onnx")
    if not all(verdict.passed for verdict in reading.verdicts.values()):
        other = read("onnxruntime")
        if all(verdict.passed for verdict in other.verdicts.values()):
            return other
    return reading

"""Operators that are not ours, by TVM's own ONNX importer."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.operator import Operator


def import_operator(layer: Operator, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """Return what TVM makes of an ONNX node.

    Parameters
    ----------
    layer : Operator
    weights : mapping of str to ndarray
        At least the layer's.

    Returns
    -------
    relax.Function
        Of the layer's inputs, with bindings of operators alone.

    Raises
    ------
    UnsupportedOperatorError
        TVM does not know the operator, or not in this form.
    """
    from tvm.relax.frontend.onnx import from_onnx

    # It prints what it is about to raise, and warns of what it renames.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            func = from_onnx(layer.to_onnx(weights))["main"]
        # Its converters raise whatever their arithmetic does; all of it means the same.
        except Exception as error:
            raise _unsupported(layer, _reason(error)) from error
    bindings = (binding for block in func.body.blocks for binding in block.bindings)
    if not all(isinstance(binding, relax.VarBinding) for binding in bindings):
        raise _unsupported(layer, "its shape is known only when it runs")
    shape = getattr(getattr(func.ret_ty, "shape", None), "values", [])
    fixed = all(isinstance(size, tirx.IntImm) for size in shape)
    if not fixed or tuple(int(size) for size in shape) != layer.out_shape:
        raise _unsupported(layer, f"TVM gives it the type {func.ret_ty}, ONNX {layer.out_shape}")
    return func


def inline(builder: Any, func: Any, inputs: list[Any]) -> Any:
    """Emit a function on other inputs, and return its value, not yet bound.

    Parameters
    ----------
    builder : BlockBuilder
        In a dataflow block.
    func : relax.Function
        As :func:`import_operator` returns it.
    inputs : list of Var
    """
    names = dict(zip(func.params, inputs, strict=True))
    bindings = [binding for block in func.body.blocks for binding in block.bindings]
    values = {binding.var: binding.value for binding in bindings}
    result = func.body.body
    while isinstance(values.get(result), relax.Var):  # a second name
        result = values[result]
    for binding in bindings:
        if binding.var.same_as(result):
            break  # the caller binds it
        names[binding.var] = builder.emit(_Renamed(names).visit_expr(binding.value))
    return _Renamed(names).visit_expr(values.get(result, result))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"


def _unsupported(layer: Operator, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"TVM cannot compile the operator {layer.operator} of {layer.name!r}: {why}",
        "export the model without it, or cut the model before it",
    )


@mutator
class _Renamed(PyExprMutator):  # type: ignore[misc]
    """Reads other variables instead."""

    def __init__(self, names: dict[Any, Any]) -> None:
        super().__init__()
        self._names = names

    def visit_var_(self, op: Any) -> Any:
        return self._names.get(op, op)

    def visit_dataflow_var_(self, op: Any) -> Any:
        return self._names.get(op, op)

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

from tvm_mobilenet.errors import UnsupportedOperatorError, reason
from tvm_mobilenet.models.importer.expand import expand
from tvm_mobilenet.models.operator import Operator


def import_operator(layer: Operator, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """Return what TVM makes of an ONNX node.

    Parameters
    ----------
    weights : mapping of str to ndarray
        At least the layer's.

    Returns
    -------
    IRModule
        ``main``, of the layer's inputs, with bindings of operators alone; and the kernels
        that it calls, where TVM's importer defines some itself.

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
            mod = from_onnx(expand(layer.to_onnx(weights)))
        except UnsupportedOperatorError:
            raise
        # Its converters raise whatever their arithmetic does; all of it means the same.
        except Exception as error:
            raise _unsupported(layer, reason(error)) from error
    func = mod["main"]
    bindings = (binding for block in func.body.blocks for binding in block.bindings)
    if not all(isinstance(binding, relax.VarBinding) for binding in bindings):
        raise _unsupported(layer, "its shape is known only when it runs")
    shape = getattr(getattr(func.ret_ty, "shape", None), "values", [])
    fixed = all(isinstance(size, tirx.IntImm) for size in shape)
    if not fixed or tuple(int(size) for size in shape) != layer.out_shape:
        raise _unsupported(layer, f"TVM gives it the type {func.ret_ty}, ONNX {layer.out_shape}")
    return mod


def inline(builder: Any, mod: Any, inputs: list[Any], name: str) -> Any:
    """Emit a module's function on other inputs, and return its value, not yet bound.

    Parameters
    ----------
    builder : BlockBuilder
        In a dataflow block; it receives the kernels that the function calls.
    mod : IRModule
        As :func:`import_operator` returns it.
    name : str
        The value's name; what leads to it is named as its parts.
    """
    func = mod["main"]
    kernels = {
        gv: builder.add_func(kernel, str(gv.name_hint))
        for gv, kernel in mod.functions.items()
        if isinstance(kernel, tirx.PrimFunc)
    }
    names = dict(zip(func.params, inputs, strict=True))
    bindings = [binding for block in func.body.blocks for binding in block.bindings]
    values = {binding.var: binding.value for binding in bindings}
    result = func.body.body
    while isinstance(values.get(result), relax.Var):  # a second name
        result = values[result]
    for binding in bindings:
        if binding.var.same_as(result):
            break  # the caller binds it
        value = _Renamed(names, kernels).visit_expr(binding.value)
        names[binding.var] = builder.emit(value, part_of(name))
    return _Renamed(names, kernels).visit_expr(values.get(result, result))


_PART = "__part"


def part_of(name: str) -> str:
    """Return a name for what is computed on the way to a layer's value."""
    return f"{name}{_PART}"


def is_part(name: str) -> bool:
    """Whether a variable is called so; the builder may have appended a number."""
    return whole_of(name) is not None


def whole_of(name: str) -> str | None:
    """Return the name of the value that a variable so called is on the way to, else None."""
    whole = name.rstrip("0123456789_")
    return whole.removesuffix(_PART) if whole.endswith(_PART) else None


def _unsupported(layer: Operator, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"TVM cannot compile the operator {layer.operator} of {layer.name!r}: {why}",
        "export the model without it, or cut the model before it",
    )


@mutator
class _Renamed(PyExprMutator):  # type: ignore[misc]
    """Reads other variables and calls other kernels instead."""

    def __init__(self, names: dict[Any, Any], kernels: dict[Any, Any]) -> None:
        super().__init__()
        self._names, self._kernels = names, kernels

    def visit_call_(self, op: Any) -> Any:
        call = super().visit_call_(op)
        if getattr(call.op, "name", "") == "relax.take" and call.attrs.mode == "fast":
            # Which reads whatever lies at an index that is none; negative ones are mended before.
            return relax.op.take(*call.args, axis=call.attrs.axis, mode="clip")
        return call

    def visit_global_var_(self, op: Any) -> Any:
        return self._kernels.get(op, op)

    def visit_var_(self, op: Any) -> Any:
        return self._names.get(op, op)

    def visit_dataflow_var_(self, op: Any) -> Any:
        return self._names.get(op, op)

"""Phase 2: what TVM's importer leaves of constants alone is computed now, by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.emit.relax.reading import array_of, is_constant, operator_name


def fold_constants(mod: Any) -> Any:
    """Evaluate reshapes, transpositions, paddings and conversions of constants.

    before: ``permute_dims(reshape(pad(W)))`` in front of an operator
    after: the constant

    TVM's own ``FoldConstant`` does the same by compiling and running a function for
    each: seconds for a network instead of milliseconds.
    """
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            folder = _Folder(mod)
            folder.builder_.update_func(gv, folder.visit_expr(func))
            mod = folder.builder_.get()
    return relax.transform.DeadCodeElimination()(mod)


@mutator
class _Folder(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, op: Any) -> Any:
        call = self.visit_expr_post_order(op)
        if not call.args:
            return call
        source = call.args[0]
        if isinstance(source, relax.Var):
            source = self.lookup_binding(source)
        if not is_constant(source):
            return call
        folded = _evaluate(call, array_of(source))
        return call if folded is None else relax.const(np.ascontiguousarray(folded))


def _evaluate(call: Any, value: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the value of a call on a constant, None where it is not a change of layout."""
    name = operator_name(call)
    if name == "relax.reshape":
        return value.reshape(tuple(int(size) for size in call.args[1].values))
    if name == "relax.permute_dims":
        return value.transpose(tuple(int(axis) for axis in call.attrs.axes))
    if name == "relax.nn.pad":
        widths = [int(width) for width in call.attrs.pad_width]
        return np.pad(value, list(zip(widths[::2], widths[1::2], strict=True)))
    if name == "relax.astype":
        return value.astype(str(call.attrs.dtype))
    return None

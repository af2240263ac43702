"""Phase 5: whatever depends on constants alone is computed now, by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.constants import array_of, is_constant
from tvm_mobilenet.graph.epilogue import operator_name


def pack_weights(mod: Any) -> Any:
    """Evaluate reshapes, transpositions, paddings and products of constants.

    before: ``permute_dims(reshape(pad(W)))`` in front of a kernel
    after: the packed constant

    TVM's own ``FoldConstant`` does the same by compiling and running a function for
    each: seconds for a network instead of milliseconds.

    Parameters
    ----------
    mod : IRModule

    Returns
    -------
    IRModule
    """
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            packer = _Packer(mod)
            packer.builder_.update_func(gv, packer.visit_expr(func))
            mod = packer.builder_.get()
    return relax.transform.DeadCodeElimination()(mod)


@mutator
class _Packer(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, op: Any) -> Any:
        call = self.visit_expr_post_order(op)
        if not call.args:
            return call
        sources = [
            self.lookup_binding(arg) if isinstance(arg, relax.Var) else arg
            for arg in call.args[: 2 if operator_name(call) == "relax.matmul" else 1]
        ]
        if not all(is_constant(source) for source in sources):
            return call
        packed = _evaluate(call, *(array_of(source) for source in sources))
        return call if packed is None else relax.const(np.ascontiguousarray(packed))


def _evaluate(call: Any, *values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the value of a call on constants, None where it is not a change of layout."""
    name, value = operator_name(call), values[0]
    if name == "relax.matmul":
        # In float64, so that each element is rounded once.
        product: NDArray[np.float64] = np.matmul(value, values[1], dtype=np.float64)
        return product.astype(np.float32)
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

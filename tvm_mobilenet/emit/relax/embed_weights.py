"""After the memory plan: weights move out of the virtual machine into the shared object itself.

TVM's virtual machine keeps constants in its bytecode and, while it loads them,
holds them four times over: file pages, a string, a copy of it, and the tensors.
Kernels read ours in place, from pages of the file that are mapped on demand and
shared between processes: 67 MB at the peak instead of 110 for MobileNet V1.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.s_tir.stmt import SBlock, SBlockRealize

from tvm_mobilenet.artifact.blob import Blob
from tvm_mobilenet.artifact.sources import WEIGHTS
from tvm_mobilenet.emit.relax.reading import array_of, is_constant


def embed_weights(mod: Any) -> tuple[Any, Blob]:
    """Let kernels take the place of a constant instead of the constant.

    before: ``kernel(x, W, B, y)`` with constants W and B
    after: ``kernel(x, offset of W, offset of B, y)``; the kernel declares its buffers
    on ``tvm_mobilenet_weights(offset)``. Kernels that several layers share stay
    shared, under their names.

    Parameters
    ----------
    mod : IRModule
        With planned memory: kernels are called directly, output last.

    Returns
    -------
    IRModule
        The module with offsets in the place of constants.
    Blob
        The constants.
    """
    embedder = _Embedder(mod)
    functions = {
        gv: embedder.visit_expr(func) if isinstance(func, relax.Function) else func
        for gv, func in mod.functions.items()
    }
    for name, gv in embedder.kernels.items():
        del functions[mod.get_global_var(name)]
        functions[gv] = embedder.made.get()[gv]
    return tvm.IRModule(functions, attrs=mod.attrs), embedder.blob


def _constants(mod: Any) -> dict[str, set[tuple[int, ...]]]:
    """Return, for each kernel, which of its arguments are constants, call by call."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for func in mod.functions.values():
        if not isinstance(func, relax.Function):
            continue
        for binding in (b for block in func.body.blocks for b in block.bindings):
            call = binding.value
            if isinstance(call, relax.Call) and isinstance(call.op, tvm.ir.GlobalVar):
                places = tuple(i for i, arg in enumerate(call.args) if is_constant(arg))
                found.setdefault(str(call.op.name_hint), set()).add(places)
    return found


@mutator
class _Embedder(PyExprMutator):  # type: ignore[misc]
    """Replaces constant arguments of kernels by their places in the blob."""

    def __init__(self, mod: Any) -> None:
        super().__init__(mod)
        self._mod = mod
        # A kernel that is called with and without a constant in some place keeps them.
        self._constants = {
            name: places.pop() for name, places in _constants(mod).items() if len(places) == 1
        }
        self.blob = Blob()
        self.made = relax.BlockBuilder()  # one that the old kernels' names are free in
        self.kernels: dict[str, Any] = {}

    def visit_call_(self, op: Any) -> Any:
        call = self.visit_expr_post_order(op)
        if not isinstance(call.op, tvm.ir.GlobalVar):
            return call
        name = str(call.op.name_hint)
        where = self._constants.get(name, ())
        if not where:
            return call
        if name not in self.kernels:
            kernel = _in_place(self._mod[call.op], where)
            self.kernels[name] = self.made.add_func(kernel, name)
        arguments = list(call.args)
        for i in where:
            arguments[i] = tirx.IntImm("int64", self.blob.place(array_of(arguments[i]).tobytes()))
        return relax.Call(self.kernels[name], arguments)


def _in_place(func: Any, constants: tuple[int, ...]) -> Any:
    """Rebuild a kernel so that it finds some of its buffers by their offsets."""
    parameters, declared = list(func.params), []
    for i in constants:
        offset = tirx.Var(f"{func.params[i].name}_offset", "int64")
        pointer = tirx.call_extern("handle", WEIGHTS, offset)
        declared.append(tirx.DeclBuffer(func.params[i], data=pointer))
        parameters[i] = offset
    root = func.body.block
    body = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        tirx.SeqStmt([*declared, root.body]),
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    realized = SBlockRealize(func.body.iter_values, func.body.predicate, body)
    rebuilt = tirx.PrimFunc(parameters, realized)
    for name, value in func.attrs.items():
        rebuilt = rebuilt.with_attr(name, value)
    return rebuilt

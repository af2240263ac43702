"""After the memory plan, for CUDA: the whole network as one captured graph, and kernel by kernel.

A graph repeats launches with the very addresses that it saw. So the caller owns the input
and the outputs of ``main`` and gives the same tensors with each call: then nothing of the
network is left outside, neither the kernel that reads the input nor those that write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.reading import operator_name, sizes_of, variables
from tvm_mobilenet.errors import CodegenError

LAYERS = "main_layers"
"""The entry that launches kernel by kernel, for a look at each."""

_ALLOCATE = "relax.builtin.alloc_tensor"
_CAPTURE = "vm.builtin.cuda_graph.run_or_capture"
_USE = "relax.backend.use_cuda_graph"


@dataclass(frozen=True, slots=True)
class Captured:
    """What became of the entries.

    Attributes
    ----------
    outputs : tuple of (tuple of int, str)
        Shape and type of each tensor that a caller of either entry gives after the input,
        for the network to write its outputs to.
    graphs : tuple of int
        How many kernels each captured graph holds.
    outside : int
        Kernels that ``main`` launches by themselves with every call.
    """

    outputs: tuple[tuple[tuple[int, ...], str], ...]
    graphs: tuple[int, ...]
    outside: int


def capture(mod: Any) -> tuple[Any, Captured]:
    """Write outputs where the caller says, capture what can be, keep a copy that is not.

    before: ``main(x)``, kernels on shared storage, the outputs allocated
    after: ``main(x, y, …)`` runs captured graphs; ``main_layers(x, y, …)`` the same kernels
    one by one

    Parameters
    ----------
    mod : IRModule
        With planned memory.

    Raises
    ------
    CodegenError
        The network returns what no kernel of it writes.
    """
    entry = mod.get_global_var(ENTRY)
    giver = _Giver(mod)
    func = giver.visit_expr(mod[ENTRY])
    # No input changes its address, not even the first.
    mod = tvm.IRModule({**dict(mod.functions), entry: func.with_attr("num_input", 0)}, mod.attrs)
    with tvm.transform.PassContext(config={_USE: True}):
        mod = relax.transform.RewriteCUDAGraph()(mod)
    entry = mod.get_global_var(ENTRY)
    mod = tvm.IRModule({**dict(mod.functions), entry: _Answered(mod).visit_expr(mod[entry])})
    graphs, outside = _count(mod)
    layers = func.with_attr("global_symbol", LAYERS)
    mod = tvm.IRModule({**dict(mod.functions), tvm.ir.GlobalVar(LAYERS): layers}, mod.attrs)
    return mod, Captured(tuple(giver.outputs), graphs, outside)


@mutator
class _Answered(PyExprMutator):  # type: ignore[misc]
    """Gives the launch of a graph a register for its result, though nobody reads it.

    A captured function whose results all go to the caller's tensors returns nothing. TVM 0.27
    then notes "no register", and fails as it returns from the function into just that
    (src/runtime/vm/vm.cc, Opcode::Ret).
    """

    def visit_call_(self, op: Any) -> Any:
        call = self.visit_expr_post_order(op)
        if operator_name(call) != "relax.call_builtin_with_ctx":
            return call
        if str(call.args[0].global_symbol) != _CAPTURE or not _is_nothing(call.ty_args[0]):
            return call
        return relax.Call(call.op, call.args, call.attrs, [relax.AnyType()])


def _is_nothing(kind: Any) -> bool:
    return isinstance(kind, relax.TupleType) and not kind.fields


def _count(mod: Any) -> tuple[tuple[int, ...], int]:
    """Count kernels in each captured function, and those that the entry calls itself."""
    lifted = []
    for binding in _bindings(mod[ENTRY]):
        call = binding.value
        if operator_name(call) == "relax.call_builtin_with_ctx":
            builtin = call.args[0]
            if str(builtin.global_symbol) == _CAPTURE:
                lifted.append(_kernels(mod, mod[call.args[1].fields[0]]))
    return tuple(lifted), _kernels(mod, mod[ENTRY])


def _kernels(mod: Any, func: Any) -> int:
    return sum(
        isinstance(b.value, relax.Call)
        and isinstance(b.value.op, tvm.ir.GlobalVar)
        and isinstance(mod[b.value.op], tvm.tirx.PrimFunc)
        for b in _bindings(func)
    )


def _bindings(func: Any) -> list[Any]:
    return [b for block in func.body.blocks for b in block.bindings]


@mutator
class _Giver(PyExprMutator):  # type: ignore[misc]
    """Turns the allocations of what a function returns into parameters."""

    def __init__(self, mod: Any) -> None:
        super().__init__(mod)
        self.outputs: list[tuple[tuple[int, ...], str]] = []
        self._returned: list[Any] = []
        self._given: dict[Any, Any] = {}

    def visit_function_(self, func: Any) -> Any:
        self._returned = _allocations_behind(func)
        body = self.visit_expr(func.body)
        # A tuple or a view would be captured too, and TVM does not hand what a function returns
        # out of a captured one. So the tensors themselves are returned.
        fields = [self._given[var] for var in self._returned]
        blocks = [
            relax.BindingBlock([b for b in block.bindings if not isinstance(b.value, relax.Tuple)])
            for block in body.blocks
        ]
        kinds = [field.ty for field in fields]
        several = len(fields) > 1
        result = relax.Tuple(fields) if several else fields[0]
        return relax.Function(
            [*func.params, *self._given.values()],
            relax.SeqExpr(blocks, result),
            relax.TupleType(kinds) if several else kinds[0],
            func.is_pure,
            func.attrs,
        )

    def visit_var_binding_(self, binding: Any) -> None:
        var = binding.var
        if var not in self._returned:
            super().visit_var_binding_(binding)
            return
        shape, dtype = sizes_of(var), str(var.ty.dtype)
        given = relax.Var(f"y{len(self._given)}", relax.TensorType(shape, dtype))
        self._given[var] = given
        self.outputs.append((shape or (), dtype))
        self.set_var_remap(var, given)


def _allocations_behind(func: Any) -> list[Any]:
    """Find the allocation that each thing returned is, or is a view of.

    Raises
    ------
    CodegenError
        Something else is returned, such as the input.
    """
    inside: dict[Any, set[Any]] = {}
    tuples: dict[Any, list[Any]] = {}
    for binding in _bindings(func):
        var, value = binding.var, binding.value
        if operator_name(value) == _ALLOCATE and sizes_of(var):
            inside[var] = {var}
        elif isinstance(value, relax.Tuple):
            tuples[var] = list(value.fields)
        elif not _is_nothing(var.ty):
            inside[var] = set().union(*(inside.get(v, set()) for v in variables(value)))
    last = func.body.body
    found = [inside.get(field, set()) for field in tuples.get(last, [last])]
    if any(len(allocations) != 1 for allocations in found):
        raise CodegenError(
            "the network returns something that no kernel of it writes, and a captured graph "
            "has fixed places for what it returns",
            "compile it for a processor",
        )
    return [next(iter(allocations)) for allocations in found]

"""After the phases: activations go into the storages that the memory plan gives them."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.reading import bindings, bytes_of, operator_name, sizes_of, variables
from tvm_mobilenet.network.memory import MemoryPlan, Tensor, place

_ALLOCATE = "relax.builtin.alloc_tensor"


def plan_memory(mod: Any) -> tuple[Any, MemoryPlan]:
    """Go from ``call_tir`` to calls of kernels on shared storage.

    before: ``y = call_tir(kernel, (x, W), shape)``
    after: ``storage = alloc_storage(bytes)`` and ``t = alloc_tensor(storage, shape)``,
    each before it is needed first; ``kernel(x, W, t)``. Tensors of one shape in one
    storage are one. The output has an allocation of its own. What has no fixed size
    stays as it is.

    Returns
    -------
    IRModule
        Kernels called on shared storage.
    MemoryPlan
        Where the entry function's activations are.
    """
    mod = tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
        ]
    )(mod)
    func = mod[ENTRY]
    allocated, plan = _plan(func)
    placer = _Placer(mod, dict(zip(allocated, plan.places, strict=True)), plan.storages)
    placer.builder_.update_func(mod.get_global_var(ENTRY), placer.visit_expr(func))
    return placer.builder_.get(), plan


def _plan(func: Any) -> tuple[list[Any], MemoryPlan]:
    """Find a function's allocations and how long each is in use."""
    born: dict[Any, int] = {}
    dies: dict[Any, int] = {}
    names: dict[Any, str] = {}
    inside: dict[Any, set[Any]] = {}
    every = list(bindings(func))
    for position, binding in enumerate(every):
        var, value = binding.var, binding.value
        if operator_name(value) == _ALLOCATE and sizes_of(var):
            born[var] = dies[var] = position
            names[var], inside[var] = str(var.name), {var}
            continue
        used = set().union(*(inside.get(v, set()) for v in variables(value)))
        for tensor in used:
            dies[tensor] = position
        if isinstance(value, relax.Var):
            names.update(dict.fromkeys(used, str(var.name)))
        if not _is_nothing(var):  # what it computes may be a view
            inside[var] = used
    returned = set().union(*(inside.get(v, set()) for v in variables(func.body.body)))
    kept = [var for var in born if var not in returned]
    tensors = [Tensor(names[var], bytes_of(var), born[var], dies[var]) for var in kept]
    output = sum(bytes_of(var) for var in returned)
    return kept, MemoryPlan(tuple(tensors), tuple(place(tensors)), output)


def _is_nothing(var: Any) -> bool:
    return isinstance(var.ty, relax.TupleType) and not var.ty.fields


@mutator
class _Placer(PyExprMutator):  # type: ignore[misc]
    """Takes the planned tensors from storages, and drops second names."""

    def __init__(self, mod: Any, places: dict[Any, int], sizes: list[int]) -> None:
        super().__init__(mod)
        self._places = places
        self._sizes = sizes
        self._storages: dict[int, Any] = {}
        self._tensors: dict[Any, Any] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        if isinstance(binding.value, relax.Var):
            self.set_var_remap(binding.var, self.visit_expr(binding.value))
        elif binding.var in self._places:
            tensor = self._tensor(binding.var, self._places[binding.var])
            self.set_var_remap(binding.var, tensor)
        else:
            super().visit_var_binding_(binding)

    def _tensor(self, var: Any, where: int) -> Any:
        if where not in self._storages:
            size = relax.ShapeExpr([self._sizes[where]])
            storage = relax.op.memory.alloc_storage(size, 0, "global", "uint8")
            self._storages[where] = self.builder_.emit(storage, f"storage{where}")
        sizes, dtype = tuple(int(size) for size in var.ty.shape.values), str(var.ty.dtype)
        key = (where, sizes, dtype)
        if key not in self._tensors:
            shape = relax.ShapeExpr(list(sizes))
            tensor = relax.op.memory.alloc_tensor(self._storages[where], 0, shape, dtype)
            self._tensors[key] = self.builder_.emit(tensor, str(var.name))
        return self._tensors[key]

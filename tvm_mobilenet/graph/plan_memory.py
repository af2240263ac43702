"""Give every activation its place: who shares memory, and how little there could be.

Kernels take their buffers from offset 0 only, so that the unit of sharing is a storage,
not a place in an arena. Tensors are placed in the order of their birth, each in the
free storage that grows the least; in a chain, where two live at a time, that is two
storages in turns, and a tensor is written where its neighbour has just been read. For
MobileNet V1 that is the least possible; TVM's StaticPlanBlockMemory takes two more
storages, and a tensor of its own for each layer (30 allocations a call instead of 21).

The few numbers of squeeze-and-excite live beside its map. In storages of maps they would
send the scaled map to one more, which nobody has touched lately; so they have small ones of
their own, where that takes less in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.build import ENTRY
from tvm_mobilenet.graph.epilogue import operator_name
from tvm_mobilenet.graph.fuse_epilogue import variables

_PAGE = 4096
"""Bytes of what is small."""

_ALLOCATE = "relax.builtin.alloc_tensor"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation that lives from one position to another, both included.

    Attributes
    ----------
    name : str
        Of the variable.
    bytes : int
    born, dies : int
        Positions in the function: the first and the last that touch it.
    """

    name: str
    bytes: int
    born: int
    dies: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where the activations of one call are.

    Attributes
    ----------
    tensors : tuple of Tensor
        In the order of their birth; without the input and the output, which are the
        caller's.
    places : tuple of int
        The storage of each.
    output_bytes : int
        What a call allocates for its output.
    """

    tensors: tuple[Tensor, ...]
    places: tuple[int, ...]
    output_bytes: int

    @property
    def storages(self) -> list[int]:
        """Bytes of each storage."""
        return _sizes(self.tensors, self.places)

    @property
    def activation_bytes(self) -> int:
        """Bytes that one call allocates."""
        return sum(self.storages) + self.output_bytes

    @property
    def largest(self) -> list[Tensor]:
        """The tensors that are live at the same time and need most; their sum is the bound."""
        return max(
            ([t for t in self.tensors if t.born <= at.born <= t.dies] for at in self.tensors),
            key=lambda live: sum(tensor.bytes for tensor in live),
            default=[],
        )

    @property
    def bound(self) -> int:
        """Bytes below which no plan can go, without the output."""
        return sum(tensor.bytes for tensor in self.largest)


def place(tensors: Sequence[Tensor]) -> list[int]:
    """Choose a storage for each tensor, such that no two in one live at the same time.

    Parameters
    ----------
    tensors : sequence of Tensor
        In the order of their birth.

    Returns
    -------
    list of int
        Of two plans the smaller: as few storages as there are tensors alive at once, or so
        for those of at most a page and for the others.
    """
    together = _placed(tensors, lambda _: True)
    apart = _placed(tensors, lambda tensor: tensor.bytes > _PAGE)
    return min((together, apart), key=lambda places: sum(_sizes(tensors, places)))


def _sizes(tensors: Sequence[Tensor], places: Sequence[int]) -> list[int]:
    sizes = [0] * (max(places, default=-1) + 1)
    for tensor, at in zip(tensors, places, strict=True):
        sizes[at] = max(sizes[at], tensor.bytes)
    return sizes


def _placed(tensors: Sequence[Tensor], kind: Callable[[Tensor], bool]) -> list[int]:
    """Place tensors one by one; storages hold one kind only."""
    sizes: list[int] = []
    busy_until: list[int] = []
    kinds: list[bool] = []
    places = []
    for tensor in tensors:
        free = [
            i
            for i, dies in enumerate(busy_until)
            if dies < tensor.born and kinds[i] == kind(tensor)
        ]
        if free:
            # The least growth, then the least waste, then what was touched last.
            chosen = min(
                free,
                key=lambda i: (max(tensor.bytes - sizes[i], 0), sizes[i], -busy_until[i]),
            )
        else:
            chosen = len(sizes)
            sizes.append(0)
            busy_until.append(0)
            kinds.append(kind(tensor))
        sizes[chosen] = max(sizes[chosen], tensor.bytes)
        busy_until[chosen] = tensor.dies
        places.append(chosen)
    return places


def plan_memory(mod: Any) -> tuple[Any, MemoryPlan]:
    """Go from ``call_tir`` to calls of kernels on shared storage.

    before: ``y = call_tir(kernel, (x, W), shape)``
    after: ``storage = alloc_storage(bytes)`` and ``t = alloc_tensor(storage, shape)``,
    each before it is needed first; ``kernel(x, W, t)``. Tensors of one shape in one
    storage are one. The output has an allocation of its own. What has no fixed size
    stays as it is.

    Parameters
    ----------
    mod : IRModule

    Returns
    -------
    IRModule
    MemoryPlan
        Of the entry function.
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
    bindings = [b for block in func.body.blocks for b in block.bindings]
    for position, binding in enumerate(bindings):
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
    tensors = [Tensor(names[var], _bytes(var), born[var], dies[var]) for var in kept]
    output = sum(_bytes(var) for var in returned)
    return kept, MemoryPlan(tuple(tensors), tuple(place(tensors)), output)


def sizes_of(var: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor of any type, None of anything else or of unknown size."""
    sizes = getattr(getattr(var.ty, "shape", None), "values", None)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


def _is_nothing(var: Any) -> bool:
    return isinstance(var.ty, relax.TupleType) and not var.ty.fields


def _bytes(var: Any) -> int:
    count = math.prod(int(size) for size in var.ty.shape.values)
    return int(count) * np.dtype(str(var.ty.dtype)).itemsize


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

"""Phase 4: composite functions become calls of our kernels, on blocked layouts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.graph.composite import Composite
from tvm_mobilenet.graph.fuse_epilogue import COMPOSITE, PREFIX, readers
from tvm_mobilenet.graph.layouts import (
    from_blocked,
    shape_of,
    to_blocked,
)
from tvm_mobilenet.operators.workload import Workload, channel_block
from tvm_mobilenet.target import TargetSpec


def block_layout(
    mod: Any,
    target: TargetSpec,
    works: dict[str, Workload] | None = None,
) -> Any:
    """Lower every composite function to a call of a kernel on blocked maps.

    before: ``y = fused(x)``, x and y in NCHW (NC behind the pool)
    after: ``y = call_tir(kernel, (x, pack(weight), pack(bias)))`` on blocks. A value
    stays in blocks while our kernels read it; the first convolution reads NCHW as it
    is; whoever else reads a blocked value gets it converted.

    Parameters
    ----------
    mod : IRModule
    target : TargetSpec
        Its lanes are the block.
    works : dict of str to Workload, optional
        Receives what each kernel computes, by its key.

    Returns
    -------
    IRModule
        Without composite functions; kernels unscheduled.
    """
    lowering = _Lowering(mod, target)
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function) and COMPOSITE not in (func.attrs or {}):
            lowering.enter(func)
            lowering.builder_.update_func(gv, lowering.visit_expr(func))
    if works is not None:
        works.update(lowering.works)
    return relax.transform.DeadCodeElimination()(lowering.builder_.get())


_PLAIN_IN, _PLAIN_OUT = {"conv", "softmax"}, {"dense", "tail", "softmax"}


@mutator
class _Lowering(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: Any, target: TargetSpec) -> None:
        super().__init__(mod)
        self._mod = mod
        self._target = target
        self._blocked: dict[Any, tuple[tuple[int, ...], int]] = {}  # plain shape, block
        self._kernels: dict[str, Any] = {}
        self.works: dict[str, Workload] = {}
        self._hidden: set[Any] = set()

    def enter(self, func: Any) -> None:
        """Note which dense layers only our kernels read: those keep their output in blocks."""
        reads, _ = readers(func)
        ours: Counter[Any] = Counter()
        dense = []
        for binding in (b for block in func.body.blocks for b in block.bindings):
            call = binding.value
            callee = self._mod[call.op] if _calls_function(call) else None
            if callee is None or COMPOSITE not in (callee.attrs or {}):
                continue
            operator = str(callee.attrs[COMPOSITE]).removeprefix(PREFIX)
            if operator not in _PLAIN_IN:
                ours.update({arg for arg in call.args if isinstance(arg, relax.Var)})
            if operator == "dense":
                dense.append(binding.var)
        self._hidden = {var for var in dense if reads[var] == ours[var] > 0}

    def visit_var_binding_(self, binding: Any) -> None:
        call = binding.value
        func = self._mod[call.op] if _calls_function(call) else None
        if func is None or COMPOSITE not in (func.attrs or {}):
            super().visit_var_binding_(binding)
            return
        shape = shape_of(binding.var)
        found = Composite.read(func)
        work = self._work(found, call.args[0], shape, binding.var)
        value, block = self._lower(found, work, call.args, shape)
        if isinstance(binding.var, relax.DataflowVar):
            var = self.builder_.emit(value, binding.var.name)
            if block:
                self._blocked[var] = (shape, block)
        else:
            name = binding.var.name
            if block:  # the kernel has the name, not the change of layout behind it
                blocked = self.builder_.emit(value, name)
                value, name = from_blocked(blocked, shape, block, self._target.dtype), ""
            var = self.builder_.emit_output(value, name)
        self.set_var_remap(binding.var, var)

    def visit_dataflow_var_(self, op: Any) -> Any:
        """Somebody else reads a value: give it plain."""
        return self._plain(super().visit_dataflow_var_(op))

    def _plain(self, var: Any) -> Any:
        if var not in self._blocked:
            return var
        shape, block = self._blocked[var]
        return self.builder_.emit(from_blocked(var, shape, block, self._target.dtype))

    def _in_blocks(self, source: Any, shape: tuple[int, ...], block: int) -> Any:
        """Return a source's value in blocks, converted only if nobody did."""
        var = (
            super().visit_dataflow_var_(source) if isinstance(source, relax.DataflowVar) else source
        )
        if self._blocked.get(var, (None, 0))[1] == block:
            return var
        return to_blocked(self._plain(var), shape, block, self._target.dtype)

    def _work(
        self, found: Composite, source: Any, out_shape: tuple[int, ...], var: Any
    ) -> Workload:
        """Return the workload of a composite function."""
        work = found.workload(shape_of(source), out_shape, self._target)
        if var in self._hidden:
            block = channel_block(work.out_channels, self._target)
            work = dataclasses.replace(work, operator="pointwise", out_block=block)
        return work

    def _lower(
        self, found: Composite, work: Workload, sources: Any, out_shape: tuple[int, ...]
    ) -> tuple[Any, int]:
        """Return the call of a kernel and the block of its result (0: plain)."""
        source, other = sources[0], sources[-1]
        in_shape = shape_of(source)
        if work.operator in _PLAIN_IN:
            data = self.visit_expr(source)
        else:
            data = self._in_blocks(source, in_shape, work.in_block)
        arguments = [data, *found.parameters(work)]
        if work.residual or work.operator == "scale":
            arguments.append(self._in_blocks(other, shape_of(other), work.out_block))
        arguments = [self.builder_.normalize(a) for a in arguments]
        plain = work.operator in _PLAIN_OUT
        result = (
            out_shape if plain else (work.batch, work.out_blocks, work.out_pixels, work.out_block)
        )
        dtype = "float32" if plain else work.dtype
        value = relax.call_tir(self._kernel(work), arguments, relax.TensorType(result, dtype))
        return value, 0 if plain else work.out_block

    def _kernel(self, work: Workload) -> Any:
        if work.key not in self._kernels:
            self.works[work.key] = work
            opaque = prim_func(work).with_attr("op_pattern", 8)  # TVM's FuseOps keeps out
            self._kernels[work.key] = self.builder_.add_func(opaque, work.key)
        return self._kernels[work.key]


def _calls_function(value: Any) -> bool:
    from tvm.ir import GlobalVar

    return isinstance(value, relax.Call) and isinstance(value.op, GlobalVar)

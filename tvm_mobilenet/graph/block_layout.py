"""Phase 3: composite functions become calls of our kernels, on blocked layouts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.compute.workload import Activation, Workload
from tvm_mobilenet.graph.fuse_epilogue import COMPOSITE, PREFIX, operator_name
from tvm_mobilenet.graph.layouts import (
    channel_block,
    from_blocked,
    pack_bias,
    pack_weight,
    to_blocked,
)
from tvm_mobilenet.target import TargetSpec

_DENSE_VECTORS = 8
"""Vectors in an output block of the classifier: as many accumulators hide a
multiply-add's latency of four cycles on two pipes."""


def block_layout(mod: Any, target: TargetSpec) -> Any:
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

    Returns
    -------
    IRModule
        Without composite functions; kernels unscheduled.
    """
    lowering = _Lowering(mod, target)
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function) and COMPOSITE not in (func.attrs or {}):
            lowering.builder_.update_func(gv, lowering.visit_expr(func))
    return relax.transform.DeadCodeElimination()(lowering.builder_.get())


@dataclass(frozen=True, slots=True)
class _Composite:
    """What a composite function holds."""

    operator: str
    anchor: Any
    bias: Any | None
    activation: Activation

    @classmethod
    def read(cls, func: Any) -> _Composite:
        calls = [b.value for block in func.body.blocks for b in block.bindings]
        by_name = {operator_name(call): call for call in calls}
        bias = by_name.get("relax.add")
        activation: Activation = "none"
        if "relax.clip" in by_name:
            activation = "relu6"
        elif "relax.nn.relu" in by_name:
            activation = "relu"
        operator = str(func.attrs[COMPOSITE]).removeprefix(PREFIX)
        return cls(operator, calls[0], bias.args[1] if bias is not None else None, activation)


def _shape(expr: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in expr.ty.shape)


@mutator
class _Lowering(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: Any, target: TargetSpec) -> None:
        super().__init__(mod)
        self._mod = mod
        self._target = target
        self._blocked: dict[Any, tuple[tuple[int, ...], int]] = {}  # plain shape, block
        self._kernels: dict[str, Any] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        call = binding.value
        func = self._mod[call.op] if _calls_function(call) else None
        if func is None or COMPOSITE not in (func.attrs or {}):
            super().visit_var_binding_(binding)
            return
        shape = _shape(binding.var)
        value, block = self._lower(_Composite.read(func), call.args[0], shape)
        if isinstance(binding.var, relax.DataflowVar):
            var = self.builder_.emit(value, binding.var.name)
            if block:
                self._blocked[var] = (shape, block)
        else:
            plain = from_blocked(value, shape, block) if block else value
            var = self.builder_.emit_output(plain, binding.var.name)
        self.set_var_remap(binding.var, var)

    def visit_dataflow_var_(self, op: Any) -> Any:
        """Somebody else reads a value: give it plain."""
        return self._plain(super().visit_dataflow_var_(op))

    def _plain(self, var: Any) -> Any:
        if var not in self._blocked:
            return var
        shape, block = self._blocked[var]
        return self.builder_.emit(from_blocked(var, shape, block))

    def _in_blocks(self, source: Any, shape: tuple[int, ...], block: int) -> Any:
        """Return a source's value in blocks, converted only if nobody did."""
        var = (
            super().visit_dataflow_var_(source) if isinstance(source, relax.DataflowVar) else source
        )
        if self._blocked.get(var, (None, 0))[1] == block:
            return var
        return to_blocked(self._plain(var), shape, block)

    def _lower(self, found: _Composite, source: Any, out_shape: tuple[int, ...]) -> tuple[Any, int]:
        """Return the call of a kernel and the block of its result (0: plain)."""
        in_shape = _shape(source)
        work = _workload(found, in_shape, out_shape, self._target)
        if work.operator == "conv":
            data = self.visit_expr(source)
        else:
            data = self._in_blocks(source, in_shape, work.in_block)
        arguments = [data]
        if work.operator != "pool":
            weight = found.anchor.args[1]
            if work.operator == "dense":
                weight = relax.op.permute_dims(weight, (1, 0))
            taps = math.prod(work.kernel)
            steps = taps if work.operator == "depthwise" else taps * work.in_channels
            depth = steps if work.operator in ("conv", "depthwise") else work.depth
            bias = found.bias
            if bias is None:
                bias = relax.const(np.zeros(work.out_channels, np.float32))
            arguments.append(pack_weight(weight, work.out_channels, steps, depth, work.out_block))
            arguments.append(pack_bias(bias, work.out_channels, work.out_block))
        arguments = [self.builder_.normalize(a) for a in arguments]
        plain = work.operator == "dense"
        result = (
            out_shape if plain else (work.batch, work.out_blocks, work.out_pixels, work.out_block)
        )
        value = relax.call_tir(self._kernel(work), arguments, relax.TensorType(result, "float32"))
        return value, 0 if plain else work.out_block

    def _kernel(self, work: Workload) -> Any:
        if work.key not in self._kernels:
            opaque = prim_func(work).with_attr("op_pattern", 8)  # TVM's FuseOps keeps out
            self._kernels[work.key] = self.builder_.add_func(opaque, work.key)
        return self._kernels[work.key]


def _calls_function(value: Any) -> bool:
    from tvm.ir import GlobalVar

    return isinstance(value, relax.Call) and isinstance(value.op, GlobalVar)


def _workload(
    found: _Composite, in_shape: tuple[int, ...], out_shape: tuple[int, ...], target: TargetSpec
) -> Workload:
    n, channels, *in_size = in_shape
    _, out_channels, *out_size = out_shape
    in_block = channel_block(channels, target)
    out_block = channel_block(out_channels, target)
    height, width = in_size or (1, 1)
    out_height, out_width = out_size or (1, 1)
    if found.operator == "pool":
        size = (height, width)
        return Workload("pool", n, channels, channels, size, (1, 1), in_block, in_block)
    if found.operator == "dense":
        wide = min(_DENSE_VECTORS, -(-out_channels // target.lanes)) * target.lanes
        return Workload(
            "dense",
            n,
            channels,
            out_channels,
            (1, 1),
            (1, 1),
            in_block,
            wide,
            activation=found.activation,
        )
    attrs = found.anchor.attrs
    kernel = _shape(found.anchor.args[1])[2:]
    strides = tuple(int(s) for s in attrs.strides)
    padding = tuple(int(p) for p in attrs.padding)
    plain = kernel == (1, 1) and strides == (1, 1) and not any(padding)
    # A lone channel is one group of one: of what computes the same, take what reads blocks.
    alone = channels == out_channels == 1 and not plain
    depthwise = int(attrs.groups) > 1 or alone
    return Workload(
        "depthwise" if depthwise else "pointwise" if plain else "conv",
        n,
        channels,
        out_channels,
        (height, width),
        (out_height, out_width),
        in_block if depthwise or plain else 1,
        out_block,
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (padding[0], padding[1], padding[2], padding[3]),
        found.activation,
    )

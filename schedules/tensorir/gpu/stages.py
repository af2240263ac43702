"""Stages of a kernel whose loops are written: where they are kept, and how they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value

from tvm_mobilenet.machine import ITEM_BYTES, GpuSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES

REGISTERS = "tvm_mobilenet.registers"
"""Function attribute: the registers of a thread, as the plan counts them."""

_ELEMENTS = ContextVar("_ELEMENTS", default=LANE_BYTES // ITEM_BYTES["float16"])
"""Most elements of a vector, while loops are written: Metal's vectors have four."""


def allocated(name: str, shape: Sequence[int], dtype: str, scope: str) -> Any:
    """Allocate a buffer in the block that is open; the generated source has its name."""
    return IRBuilder.name(name, ir.sblock_alloc_buffer(tuple(shape), dtype, scope=scope))


def copy(into: Any, at: Sequence[Any], lanes: int, value: Callable[[Any], Any]) -> None:
    """Write ``into[*at, v] = value(v)`` for all lanes v, in vectors of at most 16 bytes."""
    item = ITEM_BYTES[str(into.dtype)]
    width = min(lanes, LANE_BYTES // item, _ELEMENTS.get())
    for first in range(0, lanes, width):
        with ir.vectorized(0, width) as v:
            ir.buffer_store(into, value(first + v), [*at, first + v])


def fetched(source: Any, place: Sequence[Any], lanes: int) -> Value:
    """Load the vector at all indices but the last into registers; return its elements by lane."""
    local = allocated(f"{source.name}_local", (lanes,), str(source.dtype), "local")
    copy(local, (), lanes, lambda c: source[(*place, c)])
    return lambda *at: local[at[-1]]


def leave(  # noqa: PLR0917  a stage, where it goes, what it is fed
    stages: Stages, stage: str, into: Any, at: Sequence[Any], lanes: int, feed: Mapping[str, Value]
) -> None:
    """Compute a stage for all lanes, one by one, and write them as vectors: ``into[*at, c]``."""
    result = allocated("result", (lanes,), str(into.dtype), "local")
    with ir.unroll(0, lanes) as c:
        ir.buffer_store(result, stages.value(stage, (*at, c), feed), [c])
    copy(into, at, lanes, lambda c: result[c])


def written(stages: Stages, gpu: GpuSpec, body: Callable[[dict[str, Any]], None]) -> Any:
    """Return a function with the same parameters and attributes, whose loops `body` writes."""
    token = _ELEMENTS.set(4 if gpu.kind == "metal" else LANE_BYTES // ITEM_BYTES["float16"])
    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name("main")
        buffers = {
            name: ir.arg(name, ir.Buffer(shape, stages.dtypes[name]))
            for name, shape in stages.inputs.items()
        }
        body(buffers)
    _ELEMENTS.reset(token)
    made = builder.get().with_attr("tirx.noalias", True)
    for name, value in stages.func.attrs.items():
        made = made.with_attr(name, value)
    return made

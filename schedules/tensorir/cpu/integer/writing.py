"""The frame of a written kernel: parameters, units of work, registers, vectors in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ir

from tvm_mobilenet.operators.workload import WORKLOAD, Workload

Shape = tuple[int, ...]

_DWORD = {"int8": 4, "uint8": 4, "uint16": 2}
"""Elements in four bytes."""


def kernel(
    work: Workload,
    parameters: dict[str, tuple[Shape, str]],
    body: Callable[..., None],
    functions: str = "",
) -> Any:
    """Return a workload's function, whose loops `body` writes: see :func:`function`."""
    made = function(parameters, body, functions)
    return made.with_attr("global_symbol", work.key).with_attr(WORKLOAD, work.text)


def function(
    parameters: dict[str, tuple[Shape, str]], body: Callable[..., None], functions: str = ""
) -> Any:
    """Return a function whose loops `body` writes.

    Parameters
    ----------
    parameters : dict of str to (shape, dtype)
        In order, the output last.
    body : callable
        Called with the parameters' buffers, by name.
    functions : str
        LLVM's text of functions that it calls, which become part of it.
    """
    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name("main")
        buffers = {
            name: ir.arg(name, ir.Buffer(shape, dtype))
            for name, (shape, dtype) in parameters.items()
        }
        if functions:
            with ir.attr(tirx.const(0, "int32"), "pragma_import_llvm", functions):
                body(**buffers)
        else:
            body(**buffers)
    return builder.get().with_attr("tirx.noalias", True)


def weight_parameters(work: Workload, shape: Shape, name: str = "") -> dict[str, tuple[Shape, str]]:
    """Return the parameters of a layer with weights: those, scales, shifts, a table.

    Parameters
    ----------
    shape : tuple of int
        The packed weight's: blocks of output channels first.
    name : str
        What the parameters' names begin with.
    """
    found: dict[str, tuple[Shape, str]] = {
        f"{name}weight": (shape, "int8"),
        f"{name}scale": ((shape[0], 16), "float32"),
        f"{name}shift": ((shape[0], 16), "float32"),
    }
    if work.tabled:
        found[f"{name}table"] = ((256,), work.dtype)
    return found


@contextmanager
def units(count: int, *, parallel: bool, name: str = "unit") -> Iterator[Any]:
    """Open a loop over independent pieces of work, whose scratch is each one's own."""
    with (ir.parallel if parallel else ir.serial)(0, count) as unit, ir.sblock(name):
        yield unit


def scratch(name: str, shape: Sequence[int], dtype: str) -> Any:
    """Allocate a buffer in the block that is open."""
    return IRBuilder.name(name, ir.sblock_alloc_buffer(tuple(shape), dtype))


class Registers:
    """Vectors that LLVM keeps in registers: each is a buffer on the stack of its own."""

    def __init__(self, name: str, lanes: int, dtype: str = "int32") -> None:
        self._name, self._lanes, self._dtype = name, lanes, dtype
        self._buffers: dict[Any, Any] = {}

    def __getitem__(self, at: Any) -> Any:
        """Return a vector."""
        return load(self._buffers[at], (0,), self._lanes)

    def __setitem__(self, at: Any, value: Any) -> None:
        """Set a vector."""
        if at not in self._buffers:
            numbers = "_".join(map(str, at if isinstance(at, tuple) else (at,)))
            self._buffers[at] = scratch(f"{self._name}_{numbers}", (self._lanes,), self._dtype)
        store(self._buffers[at], (0,), value)

    def buffer(self, at: Any) -> Any:
        """Return what a vector lies in, to be read lane by lane."""
        return self._buffers[at]


def lanes_of(value: Any) -> int:
    """Return the numbers in a register."""
    return int(str(value.ty).partition("x")[2] or 1)


def load(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Load neighbours along the last axis."""
    kind = str(buffer.dtype) + (f"x{lanes}" if lanes > 1 else "")
    return buffer.vload(list(at), dtype=kind)


def store(buffer: Any, at: Sequence[Any], value: Any) -> None:
    """Store neighbours along the last axis."""
    *outer, last = at
    lanes = lanes_of(value)
    ir.buffer_store(buffer, value, [*outer, tirx.Ramp(last, 1, lanes) if lanes > 1 else last])


def dwords(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Load 4 * lanes bytes as int32 lanes."""
    return tirx.reinterpret(f"int32x{lanes}", load(buffer, at, _DWORD[str(buffer.dtype)] * lanes))


def dword(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Load 4 bytes, the same in each lane."""
    read = load(buffer, at, _DWORD[str(buffer.dtype)])
    return tirx.Broadcast(tirx.reinterpret("int32", read), lanes)


def eight_bytes(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Load the eight bytes of a pixel from a channel on, of sixteen where a pixel has as many."""
    *outer, channel = at
    each = 2 * _DWORD[str(buffer.dtype)]
    whole = min(2 * each, int(buffer.shape[-1]))
    begin = channel % whole
    line = load(buffer, (*outer, channel - begin), whole)
    half = [tirx.IntImm("int32", begin + i) for i in range(each)]
    return line if whole == each else tirx.Shuffle([line], half)

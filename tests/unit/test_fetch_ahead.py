"""Weights that are prefetched for later kernels: who gets them, and that every line is touched."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import tvm
from integer_networks import quantized
from kernels import workload
from tvm import tirx
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered, lower
from tvm_mobilenet.emit.relax.reading import array_of, is_constant
from tvm_mobilenet.emit.relax.traffic import traffic
from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.models import build
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.ahead import AHEAD, Ahead
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import workload_key

LINE = line_items("float32")
MODEL = build("v3-small", classes=100)
WEIGHTS = initialize(MODEL, seed=0)
WORKS = {
    "pointwise": workload("pointwise", (32, 64), (14, 14), 16),
    "cut_short": workload("pointwise", (24, 40), (17, 1), 16),
    "separable": workload("separable", (32, 48), (14, 14), 16, kernel=3, padding=(1, 1, 1, 1)),
}


def spec(cores: int, l3_bytes: int) -> TargetSpec:
    return dataclasses.replace(PRESETS["znver5"], cores=cores, l3_bytes=l3_bytes)


def lowered(target: TargetSpec) -> Lowered:
    return lower(plan_network(MODEL, target), WEIGHTS)


def hosts(network: Lowered) -> list[tuple[int, list[int], list[Any]]]:
    """Position of each call that prefetches for others, the numbers, and the weights."""
    call_tir = tvm.ir.Op.get("relax.call_tir")
    bindings = [b.value for block in network.mod[ENTRY].body.blocks for b in block.bindings]
    calls = [v for v in bindings if getattr(v, "op", None) and v.op.same_as(call_tir)]
    found = []
    for position, call in enumerate(calls):
        numbers = [int(n) for n in (network.mod[call.args[0]].attrs or {}).get(AHEAD, ())]
        if numbers:
            found.append((position, numbers, list(call.args[1])[-len(numbers) // 4 :]))
    return found


@pytest.mark.parametrize("cores", [1, 2])
def test_weights_are_fetched_once_and_before_they_are_used(cores: int) -> None:
    network = lowered(spec(cores, 16 << 20))
    users = {}
    for position, call in enumerate(network.calls):
        work = network.plan.kernels[workload_key(call.kernel)].work
        if work.operator in ("dense", "pointwise") and work.in_pixels == 1:
            users[position] = work
    assert len(users) >= 20  # nine times squeeze-and-excite twice, and the head
    lines: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    latest: dict[bytes, int] = {}
    for position, numbers, weights in hosts(network):
        assert position not in users
        for at, weight in enumerate(weights):
            parts, apart, first, count = numbers[4 * at : 4 * at + 4]
            assert parts == cores
            assert 0 <= first < first + count <= apart
            assert is_constant(weight)
            value = array_of(weight)
            assert apart * parts * LINE <= value.size
            lines[value.tobytes()].append((first, first + count))
            latest[value.tobytes()] = position
    assert len(lines) > 10
    for spans in lines.values():
        spans.sort()
        assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    # A layer's weights are known by their bytes: its own call takes them as its second argument.
    call_tir = tvm.ir.Op.get("relax.call_tir")
    bindings = [b.value for block in network.mod[ENTRY].body.blocks for b in block.bindings]
    calls = [v for v in bindings if getattr(v, "op", None) and v.op.same_as(call_tir)]
    own = {array_of(calls[p].args[1][1]).tobytes(): p for p in users}
    assert all(latest[value] < own[value] for value in lines)


@pytest.mark.parametrize("l3_bytes", [0, 616 << 20])
def test_nothing_is_fetched_where_weights_stay_or_cannot(l3_bytes: int) -> None:
    network = lowered(spec(1, l3_bytes))
    assert hosts(network) == []
    assert all(workload_key(name) == name for name in network.kernels)


def test_what_is_fetched_for_others_is_not_counted_as_moved() -> None:
    with_, without = (lowered(spec(1, size)) for size in (16 << 20, 64 << 20))
    assert hosts(with_)
    assert traffic(with_.mod, ENTRY) == traffic(without.mod, ENTRY)
    keys = [workload_key(call.kernel) for call in with_.calls]
    assert keys == [call.kernel for call in without.calls]


@pytest.mark.parametrize("name", list(WORKS))
@pytest.mark.parametrize("parts", [1, 2])
def test_every_line_is_touched(name: str, parts: int) -> None:
    work = WORKS[name]
    pieces = (Ahead((4, 96, 16), parts, 3, 100), Ahead((2, 2, 24, 32), parts, 0, 17))
    target = spec(2, 32 << 20)
    done = schedule(prim_func(work, pieces), target, Knobs())
    assert done is not None
    plain = schedule(prim_func(work), target, Knobs())
    assert plain is not None
    for number, piece in enumerate(pieces):
        touched = _touched(done.func, f"ahead{number}")
        apart = int(np.prod(piece.shape)) // LINE // parts
        wanted = range(piece.first, piece.first + piece.lines)
        missing = {part * apart + at for part in range(parts) for at in wanted} - touched
        # A tile that is cut short takes its prefetches along.
        assert len(missing) <= (0.1 * parts * piece.lines if name == "cut_short" else 0)
    assert not _touched(plain.func, "ahead0")


def _touched(func: Any, buffer: str) -> set[int]:
    """The lines of a buffer that a function prefetches, found by running its loops."""
    found: set[int] = set()

    def walk(statement: Any, loops: list[Any]) -> None:
        if isinstance(statement, tirx.For):
            walk(statement.body, [*loops, statement])
        elif isinstance(statement, tirx.SeqStmt):
            for part in statement.seq:
                walk(part, loops)
        elif isinstance(statement, tirx.Evaluate):
            load = statement.value.args[0].args[0]
            if load.source.name == buffer:
                sizes = [int(size) for size in load.source.ty.shape]
                strides = [int(np.prod(sizes[i + 1 :])) for i in range(len(sizes))]
                names = [str(loop.loop_var.name) for loop in loops]
                for at in itertools.product(*(range(int(loop.extent)) for loop in loops)):
                    values = dict(zip(names, at, strict=True))
                    index = [_number(i, values) for i in load.indices]
                    found.add(sum(i * s for i, s in zip(index, strides, strict=True)) // LINE)
        else:
            for child in ("block", "body", "then_case"):
                if getattr(statement, child, None) is not None:
                    walk(getattr(statement, child), loops)

    walk(func.body, [])
    return found


def _number(expression: Any, values: dict[str, int]) -> int:
    """The value of an index, by its loops' values."""
    if isinstance(expression, tirx.IntImm):
        return int(expression)
    if isinstance(expression, tirx.Var):
        return values[str(expression.name)]
    operate = {
        "Add": int.__add__, "Mul": int.__mul__, "FloorDiv": int.__floordiv__,
        "FloorMod": int.__mod__,
    }[type(expression).__name__]  # fmt: skip
    return operate(_number(expression.a, values), _number(expression.b, values))


def test_weights_of_integers_are_prefetched_as_they_are() -> None:
    """Kernels of float32 were given those of int8 as numbers, and there was no code for that."""
    kept = [layer.name for layer in MODEL.layers if layer.name.startswith("block2.")]
    made = quantized(MODEL, keep=tuple(kept))
    plan = plan_network(made.model, spec(1, 2 << 20), records=made.records)
    pieces = [(call, piece, at) for call in plan.calls for piece, at in call.ahead]
    assert pieces
    for call, piece, at in pieces:
        func = prim_func(call.work, (piece,))
        buffer = func.params[-2]
        waiting = plan.calls[at].work
        assert waiting.integer
        assert (str(buffer.dtype), piece.dtype) == ("int8", "int8")
        assert tuple(buffer.shape) == OPERATORS[waiting.operator].prefetched_shape(waiting)

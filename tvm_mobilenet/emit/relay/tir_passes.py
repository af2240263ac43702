"""How this stack lowers: what TVM 0.19's passes are told, and two of our own.

No ``let`` but of an integer reaches LLVM 22. ``CodeGenLLVM::AddDebugInformation`` describes the
value of each to the debugger as the address of a variable (``insertDeclare``); LLVM 22 takes a
pointer or an integer for that and refuses a module that declares a float or a vector. So none may
be left, wherever it comes from: our definitions, TOPI's, Ansor's, or common subexpressions.

And NaN stays NaN, whose kernel it may be: :mod:`tvm_mobilenet.schedules.nan`.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tir
from tvm.tir.stmt_functor import ir_transform, substitute

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.schedules.nan import keeping_nan
from tvm_mobilenet.schedules.te.prefetch import lower_prefetches

_LAST = 3
"""The phase of lowering behind which only the search for common subexpressions makes lets."""
_STATEMENTS = [
    "tir.Allocate", "tir.AssertStmt", "tir.AttrStmt", "tir.BufferStore", "tir.Evaluate",
    "tir.For", "tir.IfThenElse", "tir.LetStmt", "tir.SeqStmt", "tir.While",
]  # fmt: skip


def lowering(target: TargetSpec, **options: Any) -> Any:
    """Return the context in which everything of this stack is lowered and built.

    Parameters
    ----------
    target : TargetSpec
        A processor.
    **options
        More of PassContext's.
    """
    subexpressions = tir.transform.CommonSubexprElimTIR()
    return tvm.transform.PassContext(
        opt_level=3,
        config={
            # Without, it skips loops of constant extent, whatever a schedule hints.
            "tir.LoopPartition": {"partition_const_loop": True},
            # TVM would look for them after its last phase, and make lets again.
            "tir.disable_cse_tir": True,
            "tir.add_lower_pass": [
                (0, lower_prefetches),
                (1, only_hinted),
                (_LAST, _keeping_nan(target.machine)),
                (_LAST, subexpressions),
                (_LAST, without_lets),
            ],
        },
        **options,
    )


def _keeping_nan(machine: str) -> Any:
    def keep(func: Any, _mod: Any, _context: Any) -> Any:
        return keeping_nan(func, machine)

    return tir.transform.prim_func_pass(keep, opt_level=0, name="tvm_mobilenet.keeping_nan")


def _only_hinted(func: Any, _mod: Any, _context: Any) -> Any:
    """Cut no loop but those with a hint, which need no ``likely`` for that.

    TVM would cut the loop over threads as well, and run its pieces one after the other.
    """
    likely = tvm.ir.Op.get("tir.likely")

    def bare(call: Any) -> Any:
        return call.args[0] if call.op.same_as(likely) else None

    return func.with_body(ir_transform(func.body, None, bare, ["tir.Call"]))


only_hinted: Any = tir.transform.prim_func_pass(
    _only_hinted, opt_level=0, name="tvm_mobilenet.only_hinted"
)


def _without_lets(func: Any, _mod: Any, _context: Any) -> Any:
    """Keep the values of lets in local buffers, which LLVM takes into registers.

    before: ``y[i] = let r = x[i] * 2 in r * r``
    after: ``allocate r[1]; r[0] = x[i] * 2; y[i] = r[0] * r[0]``

    What only one branch of an ``if_then_else`` computes is still computed only where that
    branch is taken; r[0] is 0 elsewhere. The condition of a ``while`` gets values instead of
    variables. A function without a let of a float or a vector stays as it is.
    """
    refused: list[bool] = []
    ir_transform(
        func.body, None, lambda let: refused.append(_refused(let.var)), ["tir.Let", "tir.LetStmt"]
    )
    if not any(refused):
        return func
    return func.with_body(ir_transform(func.body, None, _statement, _STATEMENTS))


without_lets: Any = tir.transform.prim_func_pass(
    _without_lets, opt_level=0, name="tvm_mobilenet.without_lets"
)
"""As a pass over the functions of a module."""


def _refused(var: Any) -> bool:
    """Whether LLVM 22 refuses what TVM would say of a variable."""
    scalar = "x" not in var.dtype
    return not (scalar and var.dtype.startswith(("int", "uint", "bool", "handle")))


def _statement(statement: Any) -> Any:
    """Take the lets out of a statement; those inside of it hold none any more."""
    hoisted: list[tuple[_Cell, Any]] = []
    statement = _taken(statement, hoisted, isinstance(statement, tir.While), ())
    if isinstance(statement, tir.LetStmt) and _refused(statement.var):
        cell = _Cell(statement.var)
        body = substitute(statement.body, {statement.var: cell.load})
        statement = cell.around(statement.value, body)
    for cell, value in reversed(hoisted):
        statement = cell.around(value, statement)
    return statement


def _taken(
    root: Any, hoisted: list[tuple[_Cell, Any]], again: bool, guards: tuple[Any, ...]
) -> Any:
    """Return a statement without the lets in its own expressions.

    Parameters
    ----------
    hoisted : list
        Gets what has to be stored before it, in order.
    again : bool
        It computes its expressions more than once.
    guards : tuple of PrimExpr
        What must hold wherever it computes them, the first first.
    """

    def inside(expr: Any, *guard: Any) -> Any:
        return _taken(tir.Evaluate(expr), hoisted, again, (*guards, *guard)).value

    def visit(node: Any) -> Any:
        if node.same_as(root):
            return None
        if isinstance(node, tir.Stmt):
            return node
        if isinstance(node, tir.Let):
            value = inside(node.value)
            if again:
                return inside(substitute(node.body, {node.var: value}))
            for guard in reversed(guards):
                value = tir.if_then_else(guard, value, tir.const(0, value.dtype))
            cell = _Cell(node.var)
            hoisted.append((cell, value))
            return inside(substitute(node.body, {node.var: cell.load}))
        if node.op.same_as(tvm.ir.Op.get("tir.if_then_else")):
            condition = inside(node.args[0])
            yes = inside(node.args[1], condition)
            no = inside(node.args[2], tir.Not(condition))
            return tir.if_then_else(condition, yes, no)
        return None

    return ir_transform(root, visit, None, [*_STATEMENTS, "tir.Let", "tir.Call"])


class _Cell:
    """A local buffer that stands for a variable.

    Attributes
    ----------
    load : PrimExpr
        Its value.
    """

    def __init__(self, var: Any) -> None:
        kind, _, lanes = var.dtype.partition("x")
        # A boolean takes a byte in memory.
        memory = "int8" if kind in ("bool", "uint1") else kind
        self._lanes = int(lanes or 1)
        self._buffer = tir.decl_buffer((self._lanes,), memory, var.name, scope="global")
        self._place = tir.Ramp(0, 1, self._lanes) if lanes else 0
        self._load = tir.BufferLoad(self._buffer, [self._place])
        self.load = self._load.astype(var.dtype)

    def around(self, value: Any, body: Any) -> Any:
        """Return statements that give it a value and then do what reads it."""
        store = tir.BufferStore(self._buffer, value.astype(self._load.dtype), [self._place])
        always = tir.const(True, "bool")
        both = tir.SeqStmt([store, body])
        return tir.Allocate(self._buffer.data, self._buffer.dtype, [self._lanes], always, both)

"""Not a number stays that: minima and maxima as every target has to be told them.

TVM says ``max(a, b)`` and means ``a if a > b else b``, which a NaN in `a` does not survive:
``relu(x) = max(x, 0)`` makes 0 of it, and a network certain of a class that nothing speaks for.
What TVM prints for GPUs drops a NaN wherever it stands. Each target is told what keeps it and
takes no longer there:

x86-64, ARMv7
    The constant first, ``0 if 0 > x else x``: ``maxps`` with its operands exchanged; a
    comparison and a mask as before.
AArch64
    LLVM's ``maximum``: ``fmax`` where it had ``fmaxnm``.
RISC-V
    ``fmax`` as before, and a branch that is never taken where x is a number.
GPUs
    ``0 > x ? 0 : x``: a comparison and a selection instead of one instruction, once an output.

Sums and products propagate NaN by themselves.
"""

from __future__ import annotations

from typing import Any

try:
    from tvm import tirx
    from tvm_ffi import structural_map

    _SIGNATURE: tuple[Any, ...] = ()
except ImportError:  # TVM 0.19
    from tvm import tir as tirx
    from tvm.tir.stmt_functor import ir_transform

    def structural_map(statement: Any, callback: tuple[tuple[Any, ...], Any]) -> Any:
        """Do what tvm-ffi's does."""
        kinds, change = callback
        return ir_transform(statement, None, change, [f"tir.{kind.__name__}" for kind in kinds])

    _SIGNATURE = (tirx.const(2, "uint32"),)  # how many operands tell which of an intrinsic's forms


GPU = "gpu"
"""Instead of a machine: source for a device."""

_INTRINSICS = {tirx.Max: "llvm.maximum", tirx.Min: "llvm.minimum"}


def keeping_nan(func: Any, machine: str) -> Any:
    """Let every minimum and maximum of a function be NaN where an operand is.

    before: ``y[i] = max(x[i], 0)``
    after: ``y[i] = max(0, x[i])``, or what the target is told instead

    Parameters
    ----------
    func : PrimFunc
        Scheduled. Lowered on a GPU and on the classic stack: TVM knows by its ``max`` what
        threads reduce together.
    machine : str
        As targets have it, or :data:`GPU`.
    """

    def kept(extreme: Any) -> Any:
        return _kept(extreme, machine)

    return func.with_body(structural_map(func.body, (tuple(_INTRINSICS), kept)))


def _kept(extreme: Any, machine: str) -> Any:
    """Return a minimum or maximum that keeps NaN; of integers, as it is."""
    kind, a, b = type(extreme), extreme.a, extreme.b
    dtype = str(a.dtype if hasattr(a, "dtype") else a.ty.dtype)
    if not dtype.startswith("float"):
        return extreme
    if machine == "aarch64":
        return tirx.call_llvm_pure_intrin(dtype, _INTRINSICS[kind], *_SIGNATURE, a, b)
    if _is_constant(b):
        a, b = b, a
    # A comparison with NaN is false: b stays.
    taken = kind(a, b)
    if machine == GPU:
        taken = tirx.Select(a > b if kind is tirx.Max else a < b, a, b)
    if _is_constant(a):
        return taken if machine != "riscv64" else tirx.Select(tirx.isnan(b), b, kind(b, a))
    return tirx.Select(tirx.isnan(a), a, taken)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tirx.Broadcast):
        value = value.value
    return isinstance(value, tirx.FloatImm)

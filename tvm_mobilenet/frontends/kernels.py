"""TensorIR kernels that are one operator: TVM's importer of ONNX writes the bounds of Clip so."""

from __future__ import annotations

from typing import Any

_EXTREMES = ("maximum", "minimum")


def extreme_of(kernel: Any) -> tuple[str, float | None] | None:
    """Return which extreme of its inputs a kernel is, if it is one and nothing else.

    It is if TVM, asked for that extreme of such tensors, makes the same kernel.

    Returns
    -------
    str
        ``"maximum"`` or ``"minimum"``.
    float or None
        The other operand, where the kernel reads one tensor.
    """
    import tvm_ffi
    from tvm import te, topi

    buffers = kernel.params[:-1]  # which are buffers
    numbers = _numbers_of(kernel)
    if len(buffers) + len(numbers) != 2:
        return None
    inputs = [te.placeholder(buffer.shape, buffer.dtype) for buffer in buffers]
    for operator in _EXTREMES:
        made = te.create_prim_func([*inputs, getattr(topi, operator)(*inputs, *numbers)])
        if tvm_ffi.structural_equal(_bare(made), _bare(kernel)):
            return operator, numbers[0] if numbers else None
    return None


def _numbers_of(kernel: Any) -> list[float]:
    import tvm_ffi
    from tvm import tirx

    found: set[float] = set()

    def visit(number: Any) -> None:
        found.add(float(number.value))

    tvm_ffi.structural_walk(kernel.body, [(tirx.FloatImm, visit)], order="post")
    return sorted(found)


def _bare(kernel: Any) -> Any:
    """Return a kernel without what it is called, and what is promised of it."""
    for name in [str(name) for name in kernel.attrs.keys()]:  # noqa: SIM118  it has no __iter__
        kernel = kernel.without_attr(name)
    return kernel

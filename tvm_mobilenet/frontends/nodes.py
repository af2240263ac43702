"""The table of operators, one for both dialects; and a program as an ONNX model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.frontends import elementwise, norms, shapes, windows
from tvm_mobilenet.frontends.elementwise import Rule
from tvm_mobilenet.frontends.program import Program
from tvm_mobilenet.frontends.writer import Writer

if TYPE_CHECKING:
    import onnx

OPERATORS: dict[str, Rule] = {
    **elementwise.RULES,
    **shapes.RULES,
    **windows.RULES,
    **norms.RULES,
}
"""What writes an operator in ONNX's, by Relay's name of it."""


def to_onnx(program: Program) -> onnx.ModelProto:
    """Return a program as an ONNX model of the same tensors.

    Raises
    ------
    InvalidModelError
        The program takes more than an image.
    UnsupportedOperatorError
        It has an operator that is not in the table, or not in this form.
    """
    program.image()
    program.named()
    writer = Writer(program)
    for call in program.calls:
        rule = OPERATORS.get(call.operator)
        if rule is None:
            raise UnsupportedOperatorError(
                f"nothing here knows the operator {call.operator}, which computes "
                f"{call.out.name!r}",
                "write it in other operators, or cut the module before it; a module that was an "
                "ONNX file is taken best as that file, by import_onnx",
            )
        writer.write(call, rule)
    return writer.model()

"""Relay functions as models, in the environment of the classic stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.common.stacks import check_stack
from tvm_mobilenet.errors import InvalidModelError, UnsupportedOperatorError
from tvm_mobilenet.frontends.nodes import to_onnx
from tvm_mobilenet.frontends.program import (
    Argument,
    Attributes,
    Program,
    Tensor,
    bind,
    fixed_shape,
    hint_of_parameters,
)
from tvm_mobilenet.models.importer import Imported, import_module


def from_relay(mod: Any, params: Mapping[str, Any] | None = None) -> Imported:
    """Read a Relay module in standard operators as a model.

    Parameters
    ----------
    mod : tvm.IRModule or tvm.relay.Function
        ``main`` takes a batch of images, NCHW or NHWC, in float32, float16 or uint8, of fixed
        shape, and returns a tensor or a tuple of several.
    params : mapping of str to array, optional
        The other parameters of ``main``, NumPy's arrays or TVM's, as Relay's importers return
        them beside the module.

    Returns
    -------
    Imported
        Its ``source`` is the module in ONNX's operators, against which every layer is held.

    Raises
    ------
    StackError
        This environment has no Relay.
    UnsupportedOperatorError
        An operator, named, that has no translation, or not in this form; control flow.
    InvalidModelError
        ``main`` takes more than an image, its types contradict each other, or a shape is open.
    """
    check_stack("relay", "reading a Relay module")
    return import_module(to_onnx(_read(mod, params)), "relay")


def _read(mod: Any, params: Mapping[str, Any] | None) -> Program:
    from tvm.relay.analysis import post_order_visit

    func = _main(mod)
    program = Program("relay")
    known: dict[Any, Argument] = {}
    parameters = [_tensor(param, str(param.name_hint)) for param in func.params]
    bind(parameters, params)
    known.update(zip(func.params, parameters, strict=True))
    program.inputs = [tensor for tensor in parameters if tensor.value is None]

    def visit(expr: Any) -> None:
        if expr not in known and not expr.same_as(func):
            known[expr] = _value(program, expr, known)

    post_order_visit(func.body, visit)
    found = known[func.body]
    program.outputs = found if isinstance(found, list) else [found]
    return program


def _main(mod: Any) -> Any:
    """Return the function, its types known, without the functions that group operators."""
    import tvm
    from tvm import relay

    if isinstance(mod, relay.Function):
        mod = tvm.IRModule.from_expr(mod)
    if not isinstance(mod, tvm.IRModule) or "main" not in [
        v.name_hint for v in mod.get_global_vars()
    ]:
        raise InvalidModelError(
            f"{type(mod).__name__} is no Relay module with a function main",
            "give what relay.frontend.from_onnx returns first, or a relay.Function",
        )
    phases = [
        relay.transform.InferType(),
        relay.transform.DefuseOps(),
        relay.transform.ToGraphNormalForm(),
        relay.transform.InferType(),
    ]
    try:
        return tvm.transform.Sequential(phases, opt_level=0)(mod)["main"]
    except tvm.error.DiagnosticError as error:
        raise InvalidModelError(
            "the types of the Relay module contradict each other, as TVM has told above",
            "check its shapes",
        ) from error


def _tensor(expr: Any, name: str = "") -> Tensor:
    kind = expr.checked_type
    told = f"the parameter {name!r}" if name else f"a result of {_operator(expr)}"
    if not hasattr(kind, "shape"):
        raise InvalidModelError(f"{told} is no tensor but {kind}", "give tensors one by one")
    return Tensor(name, str(kind.dtype), fixed_shape(kind.shape, told))


def _operator(expr: Any) -> str:
    return str(getattr(getattr(expr, "op", None), "name", type(expr).__name__))


def _value(program: Program, expr: Any, known: Mapping[Any, Argument]) -> Argument:
    """Return what an expression is; a call joins the program."""
    import tvm
    from tvm import relay

    if isinstance(expr, relay.Constant):
        array = expr.data.numpy()
        return Tensor("", str(array.dtype), array.shape, array)
    if isinstance(expr, tvm.ir.Op):
        return None
    if isinstance(expr, relay.Tuple):
        return [known[field] for field in expr.fields]
    if isinstance(expr, relay.TupleGetItem):
        return known[expr.tuple_value][expr.index]
    if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
        return _call(program, expr, known)
    what = f"a call of {_operator(expr)}" if isinstance(expr, relay.Call) else type(expr).__name__
    raise UnsupportedOperatorError(
        f"the Relay module has {what}, which is no operator", "write it in operators alone"
    )


def _call(program: Program, expr: Any, known: Mapping[Any, Argument]) -> Argument:
    import tvm

    args = [known[arg] for arg in expr.args]
    call = program.call(str(expr.op.name), args, Attributes(expr.attrs, {}), _hint(expr, args))
    kind = expr.checked_type
    several = isinstance(kind, tvm.ir.TupleType)
    for field in kind.fields if several else [kind]:
        shape = fixed_shape(field.shape, f"a result of {call.operator}")
        call.outputs.append(Tensor("", str(field.dtype), shape, maker=call))
    return call.outputs if several else call.out


def _hint(expr: Any, args: list[Argument]) -> str:
    """Return the name that an importer left at an operator, else that of its weights.

    A place in a text has lines and columns, and is no name.
    """
    span = expr.span
    if span is not None and hasattr(span, "source_name") and not span.line:
        return str(span.source_name.name)
    return hint_of_parameters(args)

"""Relax functions as models, in the main environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tvm_mobilenet.common.stacks import check_stack
from tvm_mobilenet.errors import InvalidModelError, UnsupportedOperatorError
from tvm_mobilenet.frontends.kernels import extreme_of
from tvm_mobilenet.frontends.nodes import to_onnx
from tvm_mobilenet.frontends.program import (
    Argument,
    Attributes,
    Call,
    Program,
    Tensor,
    bind,
    fixed_shape,
    hint_of_parameters,
    plain,
)
from tvm_mobilenet.frontends.windows import HALF_TO_EVEN
from tvm_mobilenet.models.importer import Imported, import_module

_AUTOMATIC = re.compile(r"(lv|gv)\d*")
"""Names that TVM gives where nobody has given one."""

_RELAYS_NAME = {
    "astype": "cast", "concat": "concatenate", "flip": "reverse", "nn.leakyrelu": "nn.leaky_relu",
    "nn.pixel_shuffle": "nn.depth_to_space", "matmul": "nn.matmul", "permute_dims": "transpose",
}  # fmt: skip
"""Operators that Relay calls otherwise."""

_ARGUMENTS = {
    "clip": ("", "a_min", "a_max"),
    "image.resize2d": ("", "size"),
    "strided_slice": ("", "axes", "begin", "end", "strides"),
}
"""Arguments that Relay has as attributes, by their place."""

_OUTPUT_SIZE = {"broadcast_to", "full", "ones", "reshape", "zeros"}
"""Operators that are given a shape, which their result has anyway."""


def from_relax(mod: Any, params: Mapping[str, Any] | None = None) -> Imported:
    """Read a Relax module in standard operators as a model.

    Parameters
    ----------
    mod : tvm.IRModule or tvm.relax.Function
        ``main`` takes a batch of images, NCHW or NHWC, in float32, float16 or uint8, of fixed
        shape, and returns a tensor or a tuple of several.
    params : mapping of str to array, optional
        The other parameters of ``main`` by name, NumPy's arrays or TVM's; or what
        ``relax.frontend.detach_params`` returns beside the module.

    Returns
    -------
    Imported
        Its ``source`` is the module in ONNX's operators, against which every layer is held.

    Raises
    ------
    StackError
        This environment has no Relax.
    UnsupportedOperatorError
        An operator, named, that has no translation, or not in this form; kernels of the
        module's own; control flow.
    InvalidModelError
        ``main`` takes more than an image, or a shape is open.
    """
    check_stack("relax", "reading a Relax module")
    return import_module(to_onnx(_Reader(mod).read(params)), "relax")


def _rounding(attrs: Any) -> str:
    """Return how a resize that says ``round``, or nothing, finds the nearest pixel."""
    aligned = str(attrs.coordinate_transformation_mode) == "align_corners"
    return HALF_TO_EVEN if aligned or str(attrs.rounding_method) == "round" else "floor"


class _Reader:
    """A module on the way to a program."""

    def __init__(self, mod: Any) -> None:
        import tvm
        from tvm import relax

        self.mod = tvm.IRModule({"main": mod}) if isinstance(mod, relax.Function) else mod
        names = [v.name_hint for v in getattr(self.mod, "functions", {})]
        if "main" not in names or not isinstance(self.mod["main"], relax.Function):
            raise InvalidModelError(
                f"{type(mod).__name__} is no Relax module with a function main",
                "give what relax.frontend.onnx.from_onnx returns, or a relax.Function",
            )
        self.program = Program("relax")
        self.known: dict[Any, Argument] = {}

    def read(self, params: Mapping[str, Any] | None) -> Program:
        func = self.mod["main"]
        parameters = []
        for param in func.params:
            tensor = self._tensor(param.ty, f"the parameter {param.name!r}")
            tensor.name = str(param.name)
            parameters.append(tensor)
        bind(parameters, params)
        self.known.update(zip(func.params, parameters, strict=True))
        self.program.inputs = [tensor for tensor in parameters if tensor.value is None]
        for block in func.body.blocks:
            for binding in block.bindings:
                self._bind(binding)
        found = self._argument(func.body.body)
        self.program.outputs = found if isinstance(found, list) else [found]
        return self.program

    def _bind(self, binding: Any) -> None:
        from tvm import relax

        if not isinstance(binding, relax.VarBinding):
            raise UnsupportedOperatorError(
                f"the Relax module finds out the shape of {binding.var.name!r} when it runs",
                "fix every size first: relax.transform.BindSymbolicVars",
            )
        value, name = binding.value, str(binding.var.name)
        if isinstance(value, relax.Call):
            self.known[binding.var] = self._call(value, name)
            return
        self.known[binding.var] = found = self._argument(value)
        call = found.maker if isinstance(found, Tensor) else None
        if call is not None and found is call.out and not _AUTOMATIC.fullmatch(name):
            call.hint = name  # of the first of several results, as a batch norm has

    def _tensor(self, kind: Any, told: str, maker: Call | None = None) -> Tensor:
        if not hasattr(kind, "shape") or not hasattr(kind, "dtype"):
            raise InvalidModelError(f"{told} is no tensor but {kind}", "give tensors one by one")
        sizes = getattr(kind.shape, "values", None)
        return Tensor("", str(kind.dtype), fixed_shape(sizes, told), maker=maker)

    def _argument(self, expr: Any) -> Argument:
        from tvm import ir, relax

        if isinstance(expr, relax.Var):
            return self.known[expr]
        if isinstance(expr, ir.GenericConst):
            array = expr.value.numpy()
            return Tensor("", str(array.dtype), array.shape, array)
        if isinstance(expr, relax.Tuple):
            return [self._argument(field) for field in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            return self._argument(expr.tuple_value)[expr.index]
        if isinstance(expr, relax.If | relax.Function | relax.Call | relax.SeqExpr):
            raise UnsupportedOperatorError(
                f"the Relax module has {type(expr).__name__}, which is no operator",
                "write it in operators alone",
            )
        return plain(expr)

    def _call(self, expr: Any, name: str) -> Argument:
        from tvm import ir

        operator = expr.op
        if not isinstance(operator, ir.Op):
            told = getattr(operator, "name_hint", type(operator).__name__)
            raise UnsupportedOperatorError(
                f"the Relax module calls the function {told!r}, which is no operator",
                "put its operators where it is called: relax.transform.InlinePrivateFunctions",
            )
        if operator.name == "relax.call_tir":
            return self._kernel(expr, name)
        title = operator.name.removeprefix("relax.")
        title = _RELAYS_NAME.get(title, title)
        args = [self._argument(arg) for arg in expr.args]
        places = _ARGUMENTS.get(title, ())
        given = {place: arg for place, arg in zip(places, args, strict=False) if place}
        given |= {place: None for place in places[len(args) :] if place}
        args = [
            a for place, a in zip([*places, *[""] * len(args)], args, strict=False) if not place
        ]
        if title == "image.resize2d" and plain(expr.attrs.rounding_method) in ("", "round"):
            given["rounding_method"] = _rounding(expr.attrs)
        if title in _OUTPUT_SIZE:
            args = [arg for arg in args if isinstance(arg, Tensor)]
        return self._outputs(title, args, Attributes(expr.attrs, given), expr.ty, name)

    def _outputs(
        self, title: str, args: list[Argument], attrs: Attributes, kind: Any, name: str
    ) -> Argument:
        hint = hint_of_parameters(args) if _AUTOMATIC.fullmatch(name) else name
        call = self.program.call(title, args, attrs, hint)
        several = hasattr(kind, "fields")
        told = f"a result of {title}"
        call.outputs = [
            self._tensor(one, told, call) for one in (kind.fields if several else [kind])
        ]
        return call.outputs if several else call.out

    def _kernel(self, expr: Any, name: str) -> Argument:
        """Take a kernel that is one operator on two tensors; see :func:`extreme_of`."""
        kernel, args = expr.args[0], self._argument(expr.args[1])
        found = extreme_of(self.mod[kernel]) if isinstance(args, list) else None
        if found is None:
            raise UnsupportedOperatorError(
                f"the Relax module computes {name!r} by a kernel of its own, "
                f"{kernel.name_hint!r}, and what that does is not known here",
                "write it in operators; a module that was an ONNX file is taken best as that "
                "file, by import_onnx",
            )
        operator, number = found
        dtype = args[0].dtype
        bounds = [] if number is None else [Tensor("", dtype, (), np.asarray(number, dtype))]
        return self._outputs(operator, [*args, *bounds], Attributes(None, {}), expr.ty, name)

"""Operators that compute with elements, as ONNX Runtime writes them, become steps and float ones.

``QLinearConv`` is a ``Conv`` between a ``DequantizeLinear`` for each operand and a
``QuantizeLinear``, and so are the others. Those of the domain ``com.microsoft`` are described in
ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.errors import OnnxFileError, UnsupportedOperatorError

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"

_CHANNELS = 13
"""The first opset whose steps have an axis."""

_NUMBERS, _SUMS = ".numbers", ".sums"
"""What is behind a tensor's name in that of its numbers, and of a value before it is rounded."""


def without_qoperators(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model in which nothing but the two steps knows elements.

    Parameters
    ----------
    where : str
        Path of the file, for messages.

    Raises
    ------
    OnnxFileError
        A node lacks an input, output or attribute, or the opset is too old.
    UnsupportedOperatorError
        It is of a form that is not taken.
    """
    if not any(_rule(node) for node in model.graph.node):
        return model
    made = _Written()
    for node in model.graph.node:
        rule = _rule(node)
        if rule is None:
            made.nodes.append(node)
            continue
        try:
            rule(made, node)
        # Of inputs that are not there, and of attributes that are empty.
        except (IndexError, ValueError) as error:
            raise OnnxFileError(
                f"the node {made.title(node)!r} of {where!r}, {node.op_type}, lacks an input, an "
                f"output or an attribute: {error}",
                "quantise the model again",
            ) from None
    changed = type(model)()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    changed.graph.node.extend(made.nodes)
    return _with_channels(changed, where)


def _with_channels(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model of an opset whose steps may have a scale for each channel."""
    from onnx import version_converter

    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset >= _CHANNELS:
        return model
    try:
        return version_converter.convert_version(model, _CHANNELS)
    # What it raises is of no class of its own.
    except Exception as error:
        raise OnnxFileError(
            f"{where!r} has opset {opset}, and cannot be converted to {_CHANNELS}: {error}",
            f"quantise a model of opset {_CHANNELS} or newer",
        ) from error


class _Written:
    """The nodes so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    @staticmethod
    def title(node: onnx.NodeProto) -> str:
        """Return what messages call a node."""
        return str(node.name or " ".join(node.output))

    def add(self, op: str, inputs: list[str], output: str, name: str, **attrs: Any) -> str:
        """Add a node of ONNX's own; return its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name, **attrs))
        return output

    def numbers(self, node: onnx.NodeProto, at: int, **attrs: int) -> str:
        """Return the numbers of an operand: an input, its scale and its zero point."""
        source, scale, zero = (node.input[at + i] for i in range(3))
        name = f"{node.output[0]}{_NUMBERS}{at}"
        inputs = [source, scale, *([zero] if zero else [])]
        return self.add("DequantizeLinear", inputs, name, name, **attrs)

    def bias(self, node: onnx.NodeProto, at: int, scales: tuple[int, int]) -> list[str]:
        """Return the numbers of a bias of 32 bits, which is in units of sums; none without it."""
        if at >= len(node.input) or not node.input[at]:
            return []
        name, units = f"{node.output[0]}{_NUMBERS}{at}", f"{node.output[0]}.units"
        self.add("Mul", [node.input[i] for i in scales], units, units)
        return [self.add("DequantizeLinear", [node.input[at], units], name, name, axis=0)]

    def finish(
        self, node: onnx.NodeProto, op: str, inputs: list[str], to: int, **attrs: Any
    ) -> None:
        """Add the float operator, and what rounds its value by the inputs from `to` on."""
        out, name = node.output[0], self.title(node)
        scale = node.input[to] if to < len(node.input) else ""
        if not scale:
            self.add(op, inputs, out, name, **attrs)
            return
        sums = self.add(op, inputs, f"{out}{_SUMS}", name, **attrs)
        zero = node.input[to + 1] if to + 1 < len(node.input) else ""
        rest = [scale, *([zero] if zero else [])]
        self.add("QuantizeLinear", [sums, *rest], out, f"{name}.rounded")


_Rule = Callable[[_Written, "onnx.NodeProto"], None]


def _rule(node: onnx.NodeProto) -> _Rule | None:
    return _RULES.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))


def _attributes(node: onnx.NodeProto, *left_out: str) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name not in left_out}


def _conv(made: _Written, node: onnx.NodeProto) -> None:
    inputs = [made.numbers(node, 0), made.numbers(node, 3, axis=0)]
    attrs = _attributes(node)
    if attrs.pop("channels_last", 0):
        raise _refused(node, "takes channels last")
    made.finish(node, "Conv", [*inputs, *made.bias(node, 8, (1, 4))], 6, **attrs)


def _gemm(made: _Written, node: onnx.NodeProto) -> None:
    attrs = _attributes(node)
    axis = 0 if attrs.get("transB", 0) else 1
    if attrs.get("alpha", 1.0) != 1.0:
        raise _refused(node, f"has alpha {attrs['alpha']:g}")
    inputs = [made.numbers(node, 0), made.numbers(node, 3, axis=axis)]
    made.finish(node, "Gemm", [*inputs, *made.bias(node, 6, (1, 4))], 7, **attrs)


def _matmul(made: _Written, node: onnx.NodeProto) -> None:
    made.finish(node, "MatMul", [made.numbers(node, 0), made.numbers(node, 3, axis=1)], 6)


def _of_two(op: str) -> _Rule:
    def rule(made: _Written, node: onnx.NodeProto) -> None:
        made.finish(node, op, [made.numbers(node, 0), made.numbers(node, 3)], 6)

    return rule


def _of_one(op: str, *left_out: str) -> _Rule:
    def rule(made: _Written, node: onnx.NodeProto) -> None:
        attrs = _attributes(node, *left_out)
        if attrs.pop("channels_last", 0):
            raise _refused(node, "takes channels last")
        made.finish(node, op, [made.numbers(node, 0)], 3, **attrs)

    return rule


def _concat(made: _Written, node: onnx.NodeProto) -> None:
    parts = [made.numbers(node, at) for at in range(2, len(node.input), 3)]
    made.finish(node, "Concat", parts, 0, **_attributes(node))


def _refused(node: onnx.NodeProto, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"the node {_Written.title(node)!r}, {node.op_type}, {why}",
        "quantise the model with QuantizeLinear and DequantizeLinear: quant_format=QuantFormat.QDQ",
    )


_RULES: dict[tuple[str, str], _Rule] = {
    ("", "QLinearConv"): _conv,
    (DOMAIN, "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (DOMAIN, "QGemm"): _gemm,
    (DOMAIN, "QLinearAdd"): _of_two("Add"),
    (DOMAIN, "QLinearMul"): _of_two("Mul"),
    (DOMAIN, "QLinearGlobalAveragePool"): _of_one("GlobalAveragePool"),
    (DOMAIN, "QLinearAveragePool"): _of_one("AveragePool"),
    (DOMAIN, "QLinearSigmoid"): _of_one("Sigmoid"),
    (DOMAIN, "QLinearLeakyRelu"): _of_one("LeakyRelu"),
    (DOMAIN, "QLinearSoftmax"): _of_one("Softmax", "opset"),
    (DOMAIN, "QLinearConcat"): _concat,
}

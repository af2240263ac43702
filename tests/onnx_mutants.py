"""ONNX files that are nearly right: bytes and fields of good ones changed at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net
from onnx_random import RandomGraph

_NUMBERS = [0, 1, -1, 2, 3, 7, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63)]
_REALS = [0.0, -1.0, 1e38, float("inf"), float("-inf"), float("nan")]
_WORDS = [
    "",
    "image",
    "x",
    "\n",
    "é",
    "../w.bin",
    "/dev/zero",
    "ai.onnx.ml",
    "NOTSET",
    "SAME_UPPER",
]
_OPERATORS = [
    "Relu", "Conv", "Concat", "Loop", "Transpose", "NonZero", "Range", "Cast", "Gather", "Softmax",
    "Mul", "Add", "Squeeze", "Unsqueeze", "Flatten", "Clip", "Pad", "MatMul", "Gemm", "Reshape",
    "Shape", "Size", "Identity", "Dropout", "Expand", "Tile", "Split", "Slice", "Resize", "Sum",
    "ReduceMax", "ReduceMean", "AveragePool", "GlobalAveragePool", "MaxPool", "PRelu", "Constant",
    "ConstantOfShape", "BatchNormalization", "HardSigmoid", "HardSwish", "Max", "Min", "Div", "Pow",
    "SequenceEmpty", "If", "Einsum", "ConvTranspose", "TopK", "ArgMax", "LpPool", "Unique",
]  # fmt: skip


def classifier() -> onnx.ModelProto:
    """A trunk with squeeze-and-excite, a residual and a head, its batch open."""
    net = Net(("N", 3, 8, 8), opset=13)
    y = net.act(net.norm(net.conv("image", 8, 3, strides=[2, 2])), "hardswish", "late")
    y = net.add(y, net.excite(net.norm(net.depthwise(y)), 4))
    y = net.op("Reshape", net.op("GlobalAveragePool", y), net.const([0, -1], np.int64))
    y = net.op("Gemm", y, net.const(net.weight(5, 8)), net.const(np.ones(5)), transB=1)
    return net.model(net.op("Softmax", y))


def pixels_last() -> onnx.ModelProto:
    """NHWC in bytes, with what exporters put around convolutions, and constants computed."""
    net = Net((1, 6, 6, 3), opset=18, dtype=TensorProto.UINT8)
    y = net.op("Sub", net.op("Cast", "image", to=TensorProto.FLOAT), net.const([1.0, 2.0, 3.0]))
    y = net.op("Transpose", y, perm=[0, 3, 1, 2])
    net.channels[y] = 3
    y = net.op("Transpose", net.conv(y, 4, 3, auto_pad="SAME_UPPER"), perm=[0, 2, 3, 1])
    tiled = net.op("Tile", net.const(net.weight(1, 1, 1, 2)), net.const([1, 1, 1, 2], np.int64))
    y = net.op("Add", y, tiled)
    y = net.op("Pad", y, net.const([0, 1, 1, 0, 0, 1, 1, 0], np.int64), net.const(0.0))
    y, z = net.op("Split", y, net.const([1, 3], np.int64), axis=3, outputs=2)
    y = net.op("Concat", z, y, axis=-1)
    y = net.op("Slice", y, *(net.const([number], np.int64) for number in (0, 4, 1)))
    return net.model(net.op("ReduceMean", y, net.const([1, 2], np.int64), keepdims=0))


def halves() -> onnx.ModelProto:
    """In half precision from input to output, with a function."""
    net = Net((1, 3, 6, 6), opset=17, dtype=TensorProto.FLOAT16)
    y = net.conv("image", 4, 3)
    y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Resize", y, "", net.const([1, 1, 2, 2]), mode="nearest")
    model = net.model()
    model.graph.node.append(helper.make_node("Twice", [y], ["z"], "called", domain="mine"))
    for tensor in (t for t in model.graph.initializer if t.dims[:1] == [4] and len(t.dims) > 1):
        halved = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, None))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


GOOD = (classifier, pixels_last, halves)


def mutant(seed: int) -> bytes:
    """Return the content of a file that was good before a few changes."""
    rng = np.random.default_rng(seed)
    some = [*GOOD, RandomGraph(seed).model]
    model, how = some[seed % len(some)](), rng.integers(8)
    if how == 0:
        return _bytes_changed(rng, model.SerializeToString())
    change = _change if how < 4 else _change_meaning
    for _ in range(rng.integers(1, 4)):
        change(rng, model)
    return bytes(model.SerializeToString())


def _bytes_changed(rng: np.random.Generator, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(found)))
        length = int(rng.integers(1, 9))
        how = rng.integers(4)
        if how == 0:
            found[at] = int(rng.integers(256))
        elif how == 1:
            del found[at : at + length]
        elif how == 2:
            found[at:at] = rng.bytes(length)
        else:
            found[at:at] = found[at : at + length]
    return bytes(found[: rng.integers(1, len(found))] if rng.random() < 0.1 else found)


def _change_meaning(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Change what a node does, reads or is given, so that the file still looks like one."""
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    how = rng.integers(5)
    tensors = [
        "",
        "image",
        *(t.name for t in graph.initializer),
        *(n.output[0] for n in graph.node),
    ]
    if how == 0 and node.attribute:
        attribute = node.attribute[rng.integers(len(node.attribute))]
        if rng.random() < 0.2:
            node.attribute.remove(attribute)
        elif attribute.ints:
            _change_list(rng, attribute.ints, attribute.DESCRIPTOR.fields_by_name["ints"])
        else:
            _change(rng, attribute)
    elif how == 1 and node.input:
        if rng.random() < 0.2:
            del node.input[int(rng.integers(len(node.input)))]
        else:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice(tensors))
    elif how == 2:
        graph.output[0].name = str(rng.choice(tensors))
    elif how == 3:
        node.op_type = str(rng.choice(_OPERATORS))
    elif graph.initializer:
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        tensor.CopyFrom(numpy_helper.from_array(_other_values(rng, tensor), tensor.name))


def _other_values(rng: np.random.Generator, tensor: onnx.TensorProto) -> NDArray[Any]:
    """Return other numbers for a constant: of other type, shape, size or kind."""
    values = np.array(numpy_helper.to_array(tensor))
    how = rng.integers(7)
    if how == 0:
        with np.errstate(all="ignore"):
            return values.astype(str(rng.choice(["float32", "int64", "float64", "bool", "int32"])))
    if how == 1:
        return values.reshape(-1)[: rng.integers(values.size + 1)]
    if how == 2:
        return values[None]
    if how == 3:
        return values.reshape(-1, 1)
    if how == 4:
        return np.asarray(values.reshape(-1)[:1].sum(dtype=values.dtype))
    flat = values.reshape(-1)
    if flat.size:
        some = _REALS if values.dtype.kind == "f" else _NUMBERS
        with np.errstate(all="ignore"):
            flat[rng.integers(flat.size)] = np.array(rng.choice(some)).astype(values.dtype)
    return values


def _change(rng: np.random.Generator, message: Any) -> None:
    """Change one field of a message, or of one inside, chosen on the way down from the top."""
    while True:
        fields = [field for field, _ in message.ListFields()]
        if not fields:
            return
        # The versions of a model are soon tried: most of the time it is the graph.
        deep = isinstance(message, onnx.ModelProto) and message.HasField("graph")
        if deep and rng.random() < 0.95:
            fields = [field for field in fields if field.name == "graph"]
        field = fields[rng.integers(len(fields))]
        value = getattr(message, field.name)
        if field.type != FieldDescriptor.TYPE_MESSAGE or rng.random() < 0.08:
            break
        message = value[rng.integers(len(value))] if field.is_repeated else value
    if field.is_repeated:
        _change_list(rng, value, field)
    elif rng.random() < 0.1 or field.type == FieldDescriptor.TYPE_MESSAGE:
        message.ClearField(field.name)
    else:
        try:
            setattr(message, field.name, _other(rng, field, value))
        except ValueError:  # a number that the field cannot hold
            message.ClearField(field.name)


def _change_list(rng: np.random.Generator, values: Any, field: FieldDescriptor) -> None:
    at, how = int(rng.integers(len(values))), rng.integers(3)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if how == 0:
            del values[at]
        elif how == 1:
            values.append(values[at])
        else:
            values[at].CopyFrom(values[int(rng.integers(len(values)))])
    elif how == 0:
        del values[at]
    elif how == 1:
        values.insert(at, values[int(rng.integers(len(values)))])
    else:
        try:
            values[at] = _other(rng, field, values[at])
        except ValueError:
            del values[at]


def _other(rng: np.random.Generator, field: FieldDescriptor, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return str(rng.choice([*_WORDS, *_OPERATORS, "t0", "t1", "t2", "c1", "c2"]))
    if field.type == FieldDescriptor.TYPE_BYTES:
        cut = int(rng.integers(len(value) + 1))
        return value[:cut] if rng.random() < 0.5 else value + rng.bytes(4)
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return float(rng.choice(_REALS))
    near = int(value) + int(rng.choice([-1, 1]))
    return near if rng.random() < 0.4 else int(_NUMBERS[rng.integers(len(_NUMBERS))])

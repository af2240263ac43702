"""What an ONNX file asks for is looked at before it is done: sizes, other files, functions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net

from tvm_mobilenet.errors import InvalidModelError, OnnxFileError, UnsupportedOperatorError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.spec import Dense, Operator

QUICK_S = 5.0


def saved(net: Net, output: str, folder: Path) -> Path:
    """Write a network without asking onnx for its shapes, which would take the memory itself."""
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("image", net.dtype, net.shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        net.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", net.opset)], ir_version=8
    )
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def whole(net: Net, *numbers: int) -> str:
    return net.const(list(numbers), np.int64)


def concatenated(net: Net) -> str:
    """Four times as long with every node: no single one is much larger than what it reads."""
    y = net.const([1.0] * 64)
    for _ in range(18):
        y = net.op("Concat", y, y, y, y, axis=0)
    return y


CONSTANTS: dict[str, Callable[[Net], str]] = {
    "Tile": lambda net: net.op("Tile", net.const(net.weight(3, 8)), whole(net, 2**20, 48)),
    "Expand": lambda net: net.op("Expand", net.const([1.0]), whole(net, 2**20, 1200)),
    "ConstantOfShape": lambda net: net.op("ConstantOfShape", whole(net, 2**40)),
    "Range": lambda net: net.op(
        "Cast", net.op("Range", *(net.const(n, np.int64) for n in (0, 2**40, 1))), to=1
    ),
    "Pad": lambda net: net.op("Pad", net.const([1.0]), whole(net, 2**40, 0)),
    "Resize": lambda net: net.op(
        "Resize", net.const(net.weight(1, 1, 2, 2)), "", net.const([1, 1, 2e4, 2e4])
    ),
    "Concat": concatenated,
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_constants_that_nothing_holds_are_not_computed(kind: str, tmp_path: Path) -> None:
    net = Net()
    y = net.op("Mul", "image", net.op("ReduceMean", CONSTANTS[kind](net), keepdims=0))
    path, begin = saved(net, y, tmp_path), time.perf_counter()
    with pytest.raises(UnsupportedOperatorError, match=rf"'{kind}_\d+', {kind}, makes.*MiB"):
        import_onnx(path)
    assert time.perf_counter() - begin < 4 * QUICK_S


MAPS: dict[str, Callable[[Net], str]] = {
    "Tile": lambda net: net.op("Tile", "image", whole(net, 1, 1, 10**4, 10**3)),
    "Expand": lambda net: net.op(
        "Expand", net.op("GlobalAveragePool", "image"), whole(net, 1, 3, 10**5, 10**5)
    ),
    "Pad": lambda net: net.op("Pad", "image", whole(net, 0, 0, 2**40, 0, 0, 0, 0, 0)),
    "Slice": lambda net: net.op("Slice", "image", whole(net, 0), whole(net, 0), whole(net, 1)),
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_that_are_too_large_or_empty_are_named(kind: str, tmp_path: Path) -> None:
    net = Net()
    path = saved(net, MAPS[kind](net), tmp_path)
    with pytest.raises(OnnxFileError, match=rf"{kind}, gives a tensor of 1x.* bytes, of 1 to"):
        import_onnx(path)


def test_constants_of_a_common_size_are_still_computed(tmp_path: Path) -> None:
    """The weights transposed, cast and tiled, as exporters leave them."""
    net = Net()
    weight = net.op("Transpose", net.const(net.weight(3, 300), np.float64), perm=[1, 0])
    weight = net.op("Tile", net.op("Cast", weight, to=TensorProto.FLOAT), whole(net, 2, 1))
    y = net.op("Gemm", net.op("Flatten", net.op("GlobalAveragePool", "image")), weight, transB=1)
    layer = import_onnx(saved(net, y, tmp_path)).model.layers[-1]
    assert isinstance(layer, Dense)
    assert layer.out_features == 600


@pytest.mark.parametrize(
    ("shape", "asked", "said"),
    [
        ((1, 3, 2**40, 2**40), {}, "numbers"),
        (("N", 3, 8, 8), {"batch": 10**8}, "19200000000 numbers"),
        (("N", 3, "H", "W"), {"resolution": 100000}, "30000000000 numbers"),
        (("N", 3, 8, 8), {"batch": 0}, "above 0"),
        (("N", 3, 8, 8), {"batch": 2.5}, "above 0"),
        ((1, 3, "H", "W"), {"resolution": -4}, "above 0"),
    ],
)
def test_sizes_of_the_input(shape: tuple, asked: dict, said: str, tmp_path: Path) -> None:
    path = saved(net := Net(shape), net.op("Relu", "image"), tmp_path)
    with pytest.raises(InvalidModelError, match=said):
        import_onnx(path, **asked)


@pytest.mark.parametrize("size", [0, -1, -(2**60)])
def test_a_size_that_is_none_is_open(size: int, tmp_path: Path) -> None:
    path = saved(net := Net((size, 3, 8, size)), net.op("Relu", "image"), tmp_path)
    with pytest.raises(InvalidModelError, match="no fixed size"):
        import_onnx(path)
    assert import_onnx(path, input_shape=(2, 3, 8, 5)).model.output_shape == (2, 3, 8, 5)


@pytest.mark.parametrize("as_nodes", [False, True])
def test_a_batch_that_is_written_into_a_reshape_is_named(as_nodes: bool, tmp_path: Path) -> None:
    net = Net(("N", 3, 8, 8))
    net.as_nodes = as_nodes
    flat = net.op("Reshape", net.op("GlobalAveragePool", "image"), whole(net, 1, -1))
    path = saved(net, net.op("Gemm", flat, net.const(net.weight(3, 5))), tmp_path)
    assert import_onnx(path).model.output_shape == (1, 5)
    with pytest.raises(OnnxFileError, match=r"8 images.*'Reshape_\d', a Reshape to \(1, -1\)"):
        import_onnx(path, batch=8)


def test_a_batch_that_the_shape_is_asked_for_is_not_baked(tmp_path: Path) -> None:
    net = Net(("N", 3, 8, 8))
    pooled = net.op("GlobalAveragePool", "image")
    count = net.op("Gather", net.op("Shape", pooled), net.const([0], np.int64))
    flat = net.op("Reshape", pooled, net.op("Concat", count, whole(net, -1), axis=0))
    path = saved(net, net.op("Gemm", flat, net.const(net.weight(3, 5))), tmp_path)
    assert import_onnx(path, batch=8).model.output_shape == (8, 5)
    wrong = net.op("Gemm", flat, net.const(net.weight(4, 5)))
    with pytest.raises(OnnxFileError, match="contradict"):
        import_onnx(saved(net, wrong, tmp_path), batch=8)


def test_minus_infinity_is_a_mask_and_no_weight(tmp_path: Path) -> None:
    net = Net()
    mask = net.const([0.0, -np.inf, 0.0, 0.0])
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv("image", 4)))
    masked = net.op("Gemm", net.op("Add", flat, mask), net.const(np.eye(4)), mask)
    padded = net.op("Pad", "image", whole(net, 0, 0, 1, 1, 0, 0, 1, 1), net.const(-np.inf))
    pooled = net.op("MaxPool", padded, kernel_shape=[10, 10])
    path = net.save(tmp_path / "net.onnx", net.op("Softmax", net.op("Add", flat, mask)), pooled)
    found = import_onnx(path)
    ours = reference.run(found.model, found.weights, np.ones((1, 3, 16, 16)), keep_layers=True)
    assert ours[found.model.outputs[0]][0, 1] == 0.0
    assert np.isfinite(ours[found.model.outputs[1]]).all()
    assert not found.weights.keys() & {"t0.w1", "t3.w0"}
    layers = import_onnx(net.save(path, masked)).model.layers
    assert [layer.operator for layer in layers if isinstance(layer, Operator)] == ["Add", "Gemm"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_have_to_be_finite(value: float, tmp_path: Path) -> None:
    net = Net()
    y = net.op("Conv", "image", net.const(np.full((2, 3, 1, 1), value)))
    with pytest.raises(OnnxFileError, match="weight has numbers that are not finite"):
        import_onnx(saved(net, y, tmp_path))


def test_parameters_have_to_have_their_sizes(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Conv", "image", net.const(net.weight(4, 3, 1, 1)), net.const(np.ones(3)))
    with pytest.raises(OnnxFileError, match=r"bias is \(3,\), and should be \(4,\)"):
        import_onnx(saved(net, y, tmp_path))


@pytest.mark.parametrize("perm", [[0, 0, 2, 3], [0, 1, 2, 7], [-1, 1, 2, 0]])
def test_an_order_of_axes_has_each_once(perm: list[int], tmp_path: Path) -> None:
    net = Net()
    y = net.op("Relu", net.op("Transpose", "image", perm=perm))
    with pytest.raises(OnnxFileError):
        import_onnx(saved(net, y, tmp_path))


@pytest.mark.parametrize("text", [b"Relu_1", b"image"])
def test_names_have_to_be_text(text: bytes, tmp_path: Path) -> None:
    net = Net()
    path = saved(net, net.op("Relu", net.op("Relu", "image")), tmp_path)
    path.write_bytes(path.read_bytes().replace(text, b"\xca" * len(text)))
    with pytest.raises(OnnxFileError, match=r"UTF-8|rules"):
        import_onnx(path)


def test_types_have_to_go_together(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Add", "image", net.const(2.0, np.float64))
    with pytest.raises(OnnxFileError, match=r"'Add_\d', Add, reads .* tensor\(double\)"):
        import_onnx(saved(net, y, tmp_path))


def broken(model: onnx.ModelProto, how: str) -> None:
    graph, (tensor, *_) = model.graph, model.graph.initializer
    if how == "short":
        tensor.raw_data = tensor.raw_data[:-4]
    elif how == "dims":
        tensor.dims[0] = 2**40
    elif how == "negative":
        tensor.dims[0], tensor.dims[1] = -1, -1
    elif how == "type":
        tensor.data_type = 99
    elif how == "twice":
        graph.initializer.append(tensor)
    elif how == "ssa":
        graph.node[1].output[0] = graph.node[0].output[0]
    elif how == "cycle":
        graph.node[0].input[0] = graph.node[1].output[0]
    elif how == "sparse":
        values = numpy_helper.from_array(np.ones(1, np.float32), "some")
        places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
        graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 3]))
    elif how == "nothing":
        del graph.node[0].output[:]
    elif how == "loose":
        graph.output[0].name = "nobody makes this"


@pytest.mark.parametrize(
    "how",
    ["short", "dims", "negative", "type", "twice", "ssa", "cycle", "sparse", "nothing", "loose"],
)
def test_a_graph_that_contradicts_itself_is_named(how: str, tmp_path: Path) -> None:
    net = Net()
    model = net.model(net.op("Relu", net.conv("image", 4, 3)))
    broken(model, how)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises((OnnxFileError, UnsupportedOperatorError)):
        import_onnx(tmp_path / "net.onnx")


def with_weights_in(folder: Path, location: str, **said: int) -> Path:
    """Write a network whose weights lie in another file of 48 numbers."""
    (folder / "w.bin").write_bytes(np.arange(48, dtype=np.float32).tobytes())
    net = Net()
    model = net.model(net.op("Conv", "image", net.const(net.weight(4, 3, 1, 1))))
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | said).items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("said", [{}, {"length": 48}, {"offset": 96, "length": 48}])
def test_weights_in_another_file(said: dict[str, int], tmp_path: Path) -> None:
    found = import_onnx(with_weights_in(tmp_path, "w.bin", **said))
    (weight,) = found.weights.values()
    first = said.get("offset", 0) / 4
    np.testing.assert_array_equal(weight.ravel(), np.arange(first, first + 12))


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("w.bin", {"length": 2**60}),
        ("w.bin", {"offset": 2**60}),
        ("w.bin", {"offset": 180, "length": 48}),
        ("w.bin", {"offset": -4, "length": 48}),
        ("w.bin", {"length": 44}),
        ("../w.bin", {}),
        ("/dev/zero", {}),
        ("sub/../../w.bin", {}),
        ("pipe", {}),
        ("link", {}),
        (".", {}),
        ("", {}),
        ("gone", {}),
    ],
)
def test_weights_that_are_no_part_of_the_model(
    location: str, said: dict[str, int], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(192))
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/dev/zero")
    with pytest.raises(OnnxFileError, match=r"another file|other data"):
        import_onnx(with_weights_in(folder, location, **said))


def test_a_cache_of_links_is_one_folder(tmp_path: Path) -> None:
    """As huggingface_hub keeps models: names are links to files that lie together elsewhere."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "names").mkdir()
    path = with_weights_in(tmp_path / "blobs", "weights")
    for name, blob in (("net.onnx", path.name), ("weights", "w.bin")):
        (tmp_path / "names" / name).symlink_to(Path("../blobs") / blob)
    assert len(import_onnx(tmp_path / "names" / "net.onnx").weights) == 1


@pytest.mark.parametrize("kind", ["pipe", "folder", "null"])
def test_a_model_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(OnnxFileError, match="cannot read"):
        import_onnx("a\0b.onnx" if kind == "null" else path)


def function(name: str, *called: str) -> onnx.FunctionProto:
    steps, body = ["a", *(f"{name}{i}" for i in range(1, len(called))), "b"], []
    for at, op in enumerate(called):
        domain = "" if op in {"Relu", "Frobnicate"} else "mine"
        body.append(helper.make_node(op, [steps[at]], [steps[at + 1]], domain=domain))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["a"], ["b"], body, opsets)


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ([function("F", "F")], "'F' .* calls itself"),
        ([function("F", "G"), function("G", "H"), function("H", "Relu", "F")], "calls itself"),
        (
            [function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(40)]
            + [function("F40", "Relu")],
            "more than 1000000 nodes",
        ),
    ],
)
def test_functions_that_never_end(
    functions: list[onnx.FunctionProto], said: str, tmp_path: Path
) -> None:
    net = Net()
    model = net.model(net.op("Relu", "image"))
    model.graph.node[0].op_type, model.graph.node[0].domain = functions[0].name, "mine"
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.extend(functions)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OnnxFileError, match=said):
        import_onnx(tmp_path / "net.onnx")


def test_functions_are_written_out(tmp_path: Path) -> None:
    net = Net()
    model = net.model(net.op("Relu", "image"))
    model.graph.node[0].op_type, model.graph.node[0].domain = "F", "mine"
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.extend([function("F", "G", "G"), function("G", "Relu")])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert import_onnx(tmp_path / "net.onnx").model.output_shape == (1, 3, 16, 16)

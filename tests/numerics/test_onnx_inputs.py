"""What an ONNX file takes and gives stays: bytes, half precision, images that are not square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net
from PIL import Image

import tvm_mobilenet as tm
from tvm_mobilenet.cli.classifying import classify
from tvm_mobilenet.cli.output import Form
from tvm_mobilenet.errors import InputError, InvalidModelError, PreprocessError
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.spec import Operator
from tvm_mobilenet.runtime import load_image
from tvm_mobilenet.verify.artifact import sample_input


def bytes_first(folder: Path, *, nhwc: bool) -> Path:
    """Bytes in, cast and normalised inside, as detection models take them."""
    net = Net((1, 12, 20, 3) if nhwc else (1, 3, 12, 20), dtype=TensorProto.UINT8)
    shape = (3,) if nhwc else (3, 1, 1)
    y = net.op("Cast", "image", to=TensorProto.FLOAT)
    y = net.op("Sub", y, net.const(np.reshape([123.7, 116.3, 103.5], shape)))
    y = net.op("Div", y, net.const(np.reshape([58.4, 57.1, 57.4], shape)))
    y = net.op("Transpose", y, perm=[0, 3, 1, 2]) if nhwc else y
    net.channels[y] = 3
    return saved(net, head(net, y), folder, TensorProto.FLOAT)


def head(net: Net, x: str) -> str:
    y = net.act(net.norm(net.conv(x, 8, 3, strides=[2, 2])), "relu6", "clip")
    y = net.op("Flatten", net.op("GlobalAveragePool", net.conv(net.depthwise(y), 12)))
    return str(net.op("Gemm", y, net.const(net.weight(5, 12)), net.const(np.ones(5)), transB=1))


def saved(net: Net, output: str, folder: Path, kind: int) -> Path:
    """Write it with the type of its output, its constants in half precision if that is it."""
    if TensorProto.FLOAT16 in {net.dtype, kind}:
        for tensor in (t for t in net.constants if t.data_type == TensorProto.FLOAT):
            halved = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("image", net.dtype, net.shape)],
        [helper.make_tensor_value_info(output, kind, None)],
        net.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", net.opset)], ir_version=8
    )
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def by_onnxruntime(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"image": x})[0]
    return found


def foreign(imported: Imported) -> list[str]:
    return [la.operator for la in imported.model.layers if isinstance(la, Operator)]


@pytest.mark.parametrize("nhwc", [False, True])
def test_bytes_go_in_as_bytes(nhwc: bool, tmp_path: Path) -> None:
    path = bytes_first(tmp_path, nhwc=nhwc)
    made = tm.compile(path)
    (source,) = made.manifest["inputs"]
    assert (source["dtype"], source["layout"]) == ("uint8", "NHWC" if nhwc else "NCHW")
    x = np.random.default_rng(0).integers(0, 256, source["shape"]).astype(np.uint8)
    np.testing.assert_allclose(made.module(x), by_onnxruntime(path, x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="uint8"):
        made.module(x.astype(np.float32))
    assert tm.verify(made.path).passed
    assert made.report.rows


def test_a_photograph_goes_in_as_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pixels, cut to an image that is not square, and not normalised: the network does."""
    path, photograph = bytes_first(tmp_path, nhwc=False), tmp_path / "photograph.png"
    pixels = np.random.default_rng(1).integers(0, 256, (40, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photograph)
    artifact = tm.compile(path, verify=False).export(tmp_path / "net.so")
    module = tm.load(artifact)
    recipe = module.manifest["preprocess"]
    assert (recipe["crop"], recipe["resize"], recipe["dtype"]) == ([12, 20], [14, 23], "uint8")
    x = load_image(photograph, recipe)
    assert (x.shape, x.dtype) == ((1, 3, 12, 20), np.uint8)
    assert x.max() > 100
    np.testing.assert_allclose(module(x), by_onnxruntime(path, x), rtol=1e-4, atol=1e-5)
    assert classify(module, [str(photograph)], 3, batch=None, save=None, form=Form.csv)
    assert len(capsys.readouterr().out.splitlines()) == 4
    with pytest.raises(PreprocessError, match="takes bytes"):
        tm.compile(path, preprocess="tf")


def test_half_precision_from_input_to_output(tmp_path: Path) -> None:
    net = Net((2, 3, 16, 16), opset=13, dtype=TensorProto.FLOAT16)
    path = saved(net, head(net, "image"), tmp_path, TensorProto.FLOAT16)
    imported = tm.import_onnx(path)
    assert foreign(imported) == ["Cast", "Cast"]
    made = tm.compile(imported)
    ends = (*made.manifest["inputs"], *made.manifest["outputs"])
    assert [end["dtype"] for end in ends] == ["float16", "float16"]
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float16)
    found = made.module(x)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, by_onnxruntime(path, x), rtol=2e-3, atol=2e-3)
    with pytest.raises(InputError, match="float16"):
        made.module(x.astype(np.float32))
    assert tm.verify(made.path).passed


def test_half_precision_between_two_casts_is_float32(tmp_path: Path) -> None:
    """As onnxconverter-common writes it with keep_io_types; the weights are exactly the file's."""
    net = Net((1, 3, 16, 16), opset=13)
    inside = net.op("Cast", "image", to=TensorProto.FLOAT16)
    net.channels[inside] = 3
    y = head(net, inside)
    for tensor in net.constants:
        halved = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    out = net.op("Cast", y, to=TensorProto.FLOAT)
    net.dtype = TensorProto.FLOAT
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, net.shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        net.constants,
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    imported = tm.import_onnx(path)
    assert foreign(imported) == []
    made = tm.compile(imported)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(made.module(x), by_onnxruntime(path, x), rtol=5e-3, atol=5e-3)


def test_an_island_of_half_precision(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16), opset=17)
    y = net.conv("image", 8, 3)
    y = net.op("Cast", net.act(y, "relu"), to=TensorProto.FLOAT16)
    weight = net.const(net.weight(4, 8, 1, 1), np.float16)
    y = net.op("Relu", net.op("Conv", y, weight, kernel_shape=[1, 1]))
    y = net.op("Cast", y, to=TensorProto.FLOAT)
    net.channels[y] = 4
    path = saved(net, net.conv(y, 2), tmp_path, TensorProto.FLOAT)
    imported = tm.import_onnx(path)
    assert foreign(imported) == []
    assert tm.compile(imported).manifest["verification"]["relative"] < 1e-5


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BFLOAT16])
def test_other_types_are_refused_by_name(kind: int, tmp_path: Path) -> None:
    net = Net(dtype=kind)
    y = net.op("Cast", "image", to=TensorProto.FLOAT)
    with pytest.raises(InvalidModelError, match=TensorProto.DataType.Name(kind)):
        tm.import_onnx(net.save(tmp_path / "net.onnx", net.op("Relu", y)))


GIVEN = [
    (2, 3, 10, 26),
    {"image": [2, 3, 10, 26]},
    "image:2,3,10,26",
    "2,3,10,26",
    np.array([2, 3, 10, 26]),
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_shape_that_is_open_can_be_given(given, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    net = Net(("N", 3, "H", "W"))
    imported = tm.import_onnx(
        net.save(tmp_path / "net.onnx", head(net, "image")), input_shape=given
    )
    assert imported.model.input_shape == (2, 3, 10, 26)
    assert imported.model.options["input_shape"] == [2, 3, 10, 26]


def test_an_image_that_is_not_square_is_compiled_and_verified(tmp_path: Path) -> None:
    net = Net(("N", 3, "H", "W"), opset=13)
    path = net.save(tmp_path / "net.onnx", head(net, "image"))
    made = tm.compile(tm.import_onnx(path, input_shape=(1, 3, 10, 26)))
    assert made.manifest["preprocess"]["crop"] == [10, 26]
    x = sample_input((1, 3, 10, 26), seed=3)
    np.testing.assert_allclose(made.module(x), by_onnxruntime(path, x), rtol=1e-4, atol=1e-5)
    assert tm.verify(made.path).passed  # which imports the file with that shape again


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("photo:1,3,8,8", "is not called 'photo'"),
        ("1,3,8", "four sizes"),
        ("1,3,8,x", "above 0"),
        ((1, 3, 8, 0), "above 0"),
        ({"image": (1, 3, 8, 8), "more": (1,)}, "four sizes"),
        (7, "four sizes"),
        ((1, 4, 8, 8), "is Nx3xHxW, not 1x4x8x8"),
        ((1, 3, 2**20, 2**20), "numbers"),
    ],
)
def test_shapes_that_do_not_fit(given, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    net = Net(("N", 3, "H", "W"))
    path = net.save(tmp_path / "net.onnx", net.op("Relu", "image"))
    with pytest.raises(InvalidModelError, match=said):
        tm.import_onnx(path, input_shape=given)
    with pytest.raises(InvalidModelError, match="--input-shape"):
        tm.import_onnx(path, input_shape=(1, 3, 8, 8), batch=1)

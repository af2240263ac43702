"""ONNX files on the command line: what a user meets when one cannot be taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net
from typer.testing import CliRunner

from tvm_mobilenet.cli.app import app
from tvm_mobilenet.emit.relax.foreign import import_operator
from tvm_mobilenet.errors import (
    InvalidModelError,
    OnnxError,
    OnnxFileError,
    OpsetError,
    TvmMobilenetError,
    UnsupportedOperatorError,
)
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.spec import Operator


def plain() -> Net:
    net = Net()
    net.conv("image", 4, 3)
    return net


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def too_new(folder: Path) -> Path:
    model = plain().model("t0")
    model.opset_import[0].version = 99
    return saved(model, folder)


def too_old(folder: Path) -> Path:
    model = plain().model("t0")
    model.opset_import[0].version = 6
    return saved(model, folder)


def cut(folder: Path) -> Path:
    path = plain().save(folder / "net.onnx", "t0")
    path.write_bytes(path.read_bytes()[:300])
    return path


def empty(folder: Path) -> Path:
    return saved(onnx.ModelProto(), folder)


def not_there(folder: Path) -> Path:
    return folder / "other.onnx"


def external(folder: Path) -> Path:
    path = folder / "net.onnx"
    net = Net()
    net.conv("image", 64, 3)
    onnx.save(net.model("t0"), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (folder / "w.bin").unlink()
    return path


def unknown(folder: Path) -> Path:
    net = Net()
    net.nodes.append(helper.make_node("Frobnicate", ["image"], ["t0"], "odd"))
    return saved(net.model("t0"), folder)


def foreign(folder: Path) -> Path:
    net = Net()
    model = net.model(net.op("Relu", "image"))
    model.graph.node[0].op_type, model.graph.node[0].domain = "FusedConv", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return saved(model, folder)


def quantized(folder: Path) -> Path:
    net = Net()
    made = helper.make_node("DynamicQuantizeLinear", ["image"], ["t0", "t1", "t2"], "odd")
    net.nodes.append(made)
    return saved(net.model("t0"), folder)


def unsized(folder: Path) -> Path:
    net = Net((1, 3, "h", "w"))
    return net.save(folder / "net.onnx", net.conv("image", 4, 3))


def two_inputs(folder: Path) -> Path:
    model = plain().model("t0")
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    return saved(model, folder)


def double(folder: Path) -> Path:
    net = Net(dtype=TensorProto.DOUBLE)
    net.nodes.append(helper.make_node("Relu", ["image"], ["t0"]))
    return saved(net.model("t0"), folder)


def by_value(folder: Path) -> Path:
    """Shapes that depend on the numbers of the image."""
    net = Net()
    return net.save(folder / "net.onnx", net.op("NonZero", "image"))


def contradiction(folder: Path) -> Path:
    """A batch of its own in the middle."""
    net = Net(("N", 3, 4, 4))
    shaped = net.op("Reshape", "image", net.const([5, 48], np.int64))
    return net.save(folder / "net.onnx", shaped)


CASES = {
    too_new: (OpsetError, "opset 99"),
    too_old: (OpsetError, "opset 6"),
    cut: (OnnxFileError, "damaged"),
    empty: (OnnxFileError, "no network"),
    not_there: (OnnxFileError, "No such file"),
    external: (OnnxFileError, "another file"),
    unknown: (UnsupportedOperatorError, "'odd'.*Frobnicate"),
    foreign: (UnsupportedOperatorError, "'Relu_0'.*com.microsoft.FusedConv"),
    quantized: (UnsupportedOperatorError, "'odd'.*DynamicQuantizeLinear"),
    unsized: (InvalidModelError, "1x3xhxw"),
    two_inputs: (InvalidModelError, "2 inputs"),
    double: (InvalidModelError, "DOUBLE"),
    by_value: (UnsupportedOperatorError, "NonZero"),
    contradiction: (OnnxFileError, "contradict"),
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_what_cannot_be_taken_is_named(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kind, words = CASES[make]
    path = make(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        import_onnx(path)
    assert isinstance(caught.value, OnnxError | InvalidModelError)
    assert caught.value.remedy
    assert caught.value.exit_status == 2


def test_an_operator_that_tvm_does_not_know_is_named(tmp_path: Path) -> None:
    net = Net()
    path = net.save(tmp_path / "net.onnx", net.op("Det", "image"))
    (layer,) = import_onnx(path).model.layers
    assert isinstance(layer, Operator)
    with pytest.raises(UnsupportedOperatorError, match=r"Det of 't0'"):
        import_operator(layer, {})


def test_a_size_that_is_open_can_be_given(tmp_path: Path) -> None:
    path = unsized(tmp_path)
    assert import_onnx(path, resolution=20).model.output_shape == (1, 4, 20, 20)


def test_options_that_a_file_does_not_leave_open(tmp_path: Path) -> None:
    path = plain().save(tmp_path / "net.onnx", "t0")
    for options in ({"batch": 2}, {"resolution": 20}, {"input_shape": (1, 3, 16, 20)}):
        with pytest.raises(InvalidModelError):
            import_onnx(path, **options)
    runner = CliRunner()
    for arguments in (["--alpha", "0.5"], ["--classes", "10"]):
        result = runner.invoke(app, ["explain", str(path), *arguments])
        assert isinstance(result.exception, TvmMobilenetError)


def test_models_and_explain_take_a_file(tmp_path: Path) -> None:
    net = Net(("N", 3, 16, 16))
    y = net.conv(net.conv("image", 8, 3), 8)
    path = net.save(tmp_path / "net.onnx", net.op("Sin", y))
    runner = CliRunner()
    shown = runner.invoke(app, ["models", str(path), "--batch", "2"])
    assert shown.exit_code == 0, shown.output
    assert "2x8x16x16" in shown.output
    explained = runner.invoke(app, ["explain", str(path)])
    assert explained.exit_code == 0, explained.output
    assert "Not predicted" in explained.output


def test_a_whole_shape_on_the_command_line(tmp_path: Path) -> None:
    net = Net(("N", 3, "H", "W"))
    path = str(net.save(tmp_path / "net.onnx", net.conv("image", 4, 3)))
    runner = CliRunner()
    shown = runner.invoke(app, ["models", path, "--input-shape", "image:2,3,6,10"])
    assert shown.exit_code == 0, shown.output
    assert "2x4x6x10" in shown.output
    for command in (["explain", path], ["explain", "v1"], ["models"]):
        result = runner.invoke(app, [*command, "--input-shape", "photo:2,3,6,10"])
        assert isinstance(result.exception, InvalidModelError), command


def test_a_built_in_network_goes_out_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "v3.onnx"
    options = ["--alpha", "0.5", "--resolution", "32", "--classes", "10"]
    done = CliRunner().invoke(app, ["export", "v3-small", *options, "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "MobileNet V3-Small" in done.output
    assert import_onnx(path).model.output_shape == (1, 10)


def test_no_traceback_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tvm_mobilenet", "compile", str(unknown(tmp_path))]
    command += ["-o", str(tmp_path / "x.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Frobnicate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.so").exists()


def test_half_weights_are_read_as_float32(tmp_path: Path) -> None:
    """Weights stored in half precision and cast: constants like any other."""
    net = Net()
    weight = net.const(net.weight(4, 3, 3, 3), np.float16)
    y = net.op("Conv", "image", net.op("Cast", weight, to=TensorProto.FLOAT), pads=[1] * 4)
    found = import_onnx(net.save(tmp_path / "net.onnx", y))
    (name,) = found.weights
    stored = numpy_helper.to_array(net.constants[0])
    assert np.array_equal(found.weights[name], stored.astype(np.float32))

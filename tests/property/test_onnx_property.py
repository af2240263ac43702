"""Generated MobileNet-like networks: imported, compiled, and right by onnx's evaluator."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx_nets import SPELLINGS, Net

import tvm_mobilenet as tm
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.spec import Operator

KINDS = st.sampled_from(sorted(SPELLINGS))


def activated(draw: st.DrawFn, net: Net, x: str) -> str:
    kind = draw(KINDS)
    return net.act(x, kind, draw(st.sampled_from(SPELLINGS[kind])))


def block(draw: st.DrawFn, net: Net, x: str, size: int) -> tuple[str, int]:
    """Append an inverted residual: all that can vary does."""
    channels, stride = net.channels[x], draw(st.sampled_from([1, 1, 2])) if size > 4 else 1
    kernel = draw(st.sampled_from([3, 5]))
    norms = st.sampled_from(["op", "affine", "short"])
    y = x
    if draw(st.booleans()):
        expanded = draw(st.integers(1, 20))
        y = activated(draw, net, net.norm(net.conv(y, expanded, bias=draw(st.booleans()))))
    where = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER"]))
    padding = {} if where == "pads" else {"auto_pad": where}
    y = net.depthwise(y, kernel, strides=[stride, stride], **padding)
    y = activated(draw, net, net.norm(y, draw(norms)))
    if draw(st.booleans()):
        spelling = draw(st.sampled_from(SPELLINGS["hardsigmoid"]))
        y = net.excite(y, draw(st.integers(1, 6)), spelling)
    keep = stride == 1 and draw(st.booleans())
    y = net.norm(net.conv(y, channels if keep else draw(st.integers(1, 20))), draw(norms))
    if keep:
        y = net.add(y, x) if draw(st.booleans()) else net.add(x, y)
    if draw(st.booleans()):
        y = activated(draw, net, y)
    return y, -(-size // stride)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Net, str]:
    opset = draw(st.sampled_from([14, 17, 20]))
    net = Net((draw(st.integers(1, 2)), 3, 10, 10), opset, seed=draw(st.integers(0, 99)))
    net.as_nodes = draw(st.booleans())
    y = net.conv("image", draw(st.integers(3, 18)), 3, strides=[2, 2], bias=draw(st.booleans()))
    y, size = activated(draw, net, net.norm(y)), 5
    for _ in range(draw(st.integers(1, 2))):
        y, size = block(draw, net, y, size)
    if draw(st.booleans()):
        channels = net.channels[y]
        y = str(net.op("Flatten", net.op("GlobalAveragePool", y)))
        weight = net.const(net.weight(channels, 7))
        y = net.op("Softmax", net.op("Gemm", y, weight, net.const(np.ones(7))), axis=1)
    return net, y


def imported(net: Net, output: str) -> Imported:
    with tempfile.TemporaryDirectory() as folder:
        return tm.import_onnx(net.save(Path(folder) / "net.onnx", output))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(networks())
def test_layers_compute_what_the_file_says_and_are_ours(drawn: tuple[Net, str]) -> None:
    found = imported(*drawn)
    x = np.random.default_rng(3).standard_normal(found.model.input_shape)
    ours = reference.run(found.model, found.weights, x, keep_layers=True)
    for name, want in found.expected(x).items():
        np.testing.assert_allclose(ours[name], want, rtol=1e-5, atol=1e-6)
    assert not [layer for layer in found.model.layers if isinstance(layer, Operator)]


# Without shrinking: a failure would compile for minutes.
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(networks())
def test_they_compile_and_are_verified(drawn: tuple[Net, str]) -> None:
    found = imported(*drawn)
    made = tm.compile(found)  # which verifies each kernel, and the whole by onnx's evaluator
    x = np.random.default_rng(4).standard_normal(found.model.input_shape).astype(np.float32)
    want = found.expected(x)[found.model.outputs[0]]
    np.testing.assert_allclose(made.module(x), want, rtol=1e-4, atol=1e-5)
    assert all(call["source"] != "fallback" for call in made.manifest["calls"] if call["macs"])

"""What ``explain`` says without compiling is what compiling does: layers, kernels, MACs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.spec import Operator


def grouped(net: Net) -> list[str]:
    """Groups that mix some channels, and a multiplier of two, between layers of ours."""
    x = net.act(net.norm(net.conv("image", 16, 3, strides=[2, 2])), "relu")
    x = net.act(net.conv(x, 32, 3, groups=4), "relu6")
    y = net.conv(x, 64, 3, groups=32)
    y = net.conv(net.act(net.depthwise(y), "relu"), 16)
    return [net.op("GlobalAveragePool", y)]


def dilated(net: Net) -> list[str]:
    x = net.conv("image", 8, 3)
    x = net.conv(x, 8, 3, dilations=[2, 2], pads=[2] * 4)
    x = net.depthwise(x, 3, dilations=[2, 2], pads=[2] * 4)
    return [net.conv(net.depthwise(x), 24)]


def one_channel(net: Net) -> list[str]:
    """A lone channel: every kernel's group is all there is, 1 x 1 and larger."""
    x = net.conv("image", 1, 3)
    x = net.act(net.conv(x, 1, 3), "relu")
    x = net.conv(x, 1, 1)
    x = net.conv(net.conv(x, 1, 3, strides=[2, 2]), 8)
    return [net.depthwise(x)]


def several_outputs(net: Net) -> list[str]:
    """Outputs in the middle: of a depthwise layer, and of what another one adds to."""
    x = net.act(net.conv("image", 8, 3), "relu")
    first = net.depthwise(x)
    second = net.conv(first, 16)
    third = net.conv(net.depthwise(second), 16)
    return [net.add(third, second), first, second]


def residuals(net: Net) -> list[str]:
    """Sums with activations, of two branches, of a layer and its own input."""
    x = net.act(net.conv("image", 16, 3), "relu6")
    one = net.conv(net.act(net.depthwise(x), "relu"), 16)
    other = net.conv(x, 16)
    y = net.act(net.add(other, one), "relu")
    net.channels[y] = 16
    z = net.add(net.conv(y, 16), y)
    net.channels[z] = 16
    w = net.add(net.conv(z, 16), net.conv(net.depthwise(z), 16))
    net.channels[w] = 16
    return [net.act(w, "hardswish")]


def excited(net: Net) -> list[str]:
    """Squeeze-and-excite, a dense tail, and one dense layer that is read twice."""
    x = net.act(net.conv("image", 16, 3), "hardswish")
    x = net.excite(net.act(net.depthwise(x), "relu"), 8)
    x = net.conv(x, 24)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    hidden = net.op("Gemm", pooled, net.const(net.weight(24, 10)))
    y = net.op("Gemm", hidden, net.const(net.weight(10, 7)))
    z = net.op("Gemm", hidden, net.const(net.weight(10, 5)))
    return [net.op("Softmax", y), z]


def generated(seed: int) -> Callable[[Net], list[str]]:
    """A network drawn by chance: any layer may read any before it, several are outputs."""

    def build(net: Net) -> list[str]:
        rng = np.random.default_rng(seed)
        maps = [net.conv("image", 8, 3)]
        for _ in range(9):
            x = maps[-1] if rng.random() < 0.7 else str(rng.choice(maps))
            kind = rng.choice(["pw", "dw", "grouped", "dilated", "add", "act", "full", "one"])
            if kind == "pw":
                x = net.conv(x, int(rng.choice([1, 8, 16])))
            elif kind == "dw":
                x = net.depthwise(x)
            elif kind == "grouped" and net.channels[x] % 4 == 0:
                x = net.conv(x, 16, 3, groups=4)
            elif kind == "dilated":
                x = net.conv(x, 8, 3, dilations=[2, 2], pads=[2] * 4)
            elif kind == "add":
                same = [y for y in maps if net.channels[y] == net.channels[x] and y != x]
                x = net.add(x, str(rng.choice(same))) if same else net.conv(x, 8)
                net.channels[x] = net.channels.get(x) or 8
            elif kind == "act":
                x = net.act(x, str(rng.choice(["relu", "relu6", "hardswish"])))
            elif kind == "full":
                x = net.conv(x, 16, 3)
            else:
                x = net.conv(net.conv(x, 1), 1, 3)
            maps.append(x)
        read = {name for node in net.nodes for name in node.input}
        return [*(x for x in dict.fromkeys(maps) if x not in read), maps[4]]

    return build


def imported(build: Callable[[Net], list[str]], folder: Path) -> Imported:
    net = Net((1, 3, 8, 8))
    outputs = build(net)
    return tm.import_onnx(net.save(folder / "net.onnx", *dict.fromkeys(outputs)))


NETWORKS = [grouped, dilated, one_channel, several_outputs, residuals, excited]
NETWORKS += [generated(seed) for seed in range(6)]


@pytest.mark.parametrize("fusion", ["auto", "all"])
@pytest.mark.parametrize("build", NETWORKS)
def test_explain_is_what_compiling_does(
    build: Callable[[Net], list[str]], fusion: str, tmp_path: Path
) -> None:
    found = imported(build, tmp_path)
    model = found.model
    options = {"target": "x86-64-v3", "fusion": fusion, "records": False}
    told = tm.explain(found, **options)
    made = tm.compile(found, **options, verify=False).manifest
    foreign = {layer.name for layer in model.layers if isinstance(layer, Operator)}
    calls = {
        # A view of what a kernel reads is counted to that kernel.
        tuple(name for name in call["layers"] if name not in foreign): (
            call["operator"],
            call["macs"],
            call["knobs"],
            call["source"],
        )
        for call in made["calls"]
        if call["source"] != "fallback" and not set(call["layers"]) <= foreign
    }
    kernels = [kernel for step in told.steps for kernel in step.kernels]
    assert {kernel.layers: kernel[1:] for kernel in kernels} == calls
    assert len(kernels) == len(calls)
    theirs = [call for call in made["calls"] if call["source"] == "fallback"]
    rest = model.macs - sum(kernel.macs for kernel in kernels)
    assert rest == sum(call["macs"] for call in theirs)
    assert {name for call in theirs for name in call["layers"]} <= set(told.unpredicted)
    assert told.macs == made["macs"]


@pytest.mark.parametrize("name", ["v1", "v2", "v3-large", "v3-small"])
def test_explain_is_what_compiling_does_to_built_in_networks(name: str) -> None:
    model = tm.build(name, alpha=0.5, resolution=32, classes=10)
    options = {"target": "x86-64-v3", "records": False}
    told = tm.explain(model, **options)
    made = tm.compile(model, **options, verify=False).manifest
    assert [kernel for step in told.steps for kernel in step.kernels] == [
        (tuple(c["layers"]), c["operator"], c["macs"], c["knobs"], c["source"])
        for c in made["calls"]
    ]
    assert told.memory is not None
    assert told.memory.to_dict({}) == made["memory"]

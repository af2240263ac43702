"""Checkpoints of torchvision and timm: their names, what they imply, what does not fit."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_save
from safetensors.numpy import save_file

from tvm_mobilenet.errors import InvalidModelError, WeightsError
from tvm_mobilenet.models import Model, build, model_from_manifest
from tvm_mobilenet.models.checkpoints.names import NAMES
from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.models.weights import Weights, digest, initialize, load, trained

SMALL = {"resolution": 32, "classes": 10}
SOURCES = [(source, name) for source, models in NAMES.items() for name in models]
LARGE = re.compile("(large|medium|lite[1-4]|_s[1-4])$")
"""Networks whose names are a smaller one's, by :func:`test_counts_of_the_sources` and what follows;
they would take seconds each."""
sources = pytest.mark.parametrize(
    ("source", "name"),
    [pair for pair in SOURCES if "v3" in pair[1] or not LARGE.search(pair[1])],
)


@functools.cache
def made(name: str) -> tuple[Model, Weights]:
    """A small model and its weights, drawn once; to be left as they are."""
    model = build(name, **SMALL)
    return model, initialize(model)


def renamed(source: str, model: Model, weights: Weights) -> dict[str, Any]:
    """Weights under the names of a source, with what its batch norms hold besides."""
    names = NAMES[source][model.name].of(model)
    found: dict[str, Any] = {
        theirs: weights[ours].reshape(shape) for ours, (theirs, shape) in names.items()
    }
    norms = [name for name in found if name.endswith("running_mean")]
    return found | {n.replace("running_mean", "num_batches_tracked"): np.array(9) for n in norms}


def epsilons(model: Model) -> set[float | None]:
    return {layer.batch_norm for layer in model.layers if isinstance(layer, Conv2d)} - {None}


@sources
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_back_under_our_names(
    tmp_path: Path, source: str, name: str, suffix: str
) -> None:
    model, weights = made(name)
    path = tmp_path / f"w{suffix}"
    arrays = renamed(source, model, weights)
    if suffix == ".pth":
        path.write_bytes(torch_save.zipped(torch_save.state_dict(arrays)))
    else:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
    found = trained(str(path), model)
    assert digest(found.weights) == digest(weights)
    assert list(found.weights) == list(model.parameters)
    large = "v3" in name and source == "torchvision"
    normed = set() if "mobileone" in name else {1e-3 if large else 1e-5}
    assert epsilons(found.model) == normed
    assert found.model.options["padding"] == "symmetric"
    # The manifest describes the network as it was trained.
    assert model_from_manifest(found.model.describe()) == found.model


def test_counts_of_the_sources() -> None:
    """Tensors of each state dict: torchvision 0.29 and timm 1.0.31, less num_batches_tracked.

    Those of MobileOne are of the network that ``reparameterize_model`` leaves.
    """
    counts = {
        ("torchvision", "mobilenet_v2"): 262,
        ("torchvision", "mobilenet_v3_large"): 266,
        ("torchvision", "mobilenet_v3_small"): 210,
        ("timm", "mobilenet_v1"): 137,
        ("timm", "mobilenet_v2"): 262,
        ("timm", "mobilenet_v3_large"): 266,
        ("timm", "mobilenet_v3_small"): 210,
        ("timm", "mobilenet_v4_conv_small"): 232,
        ("timm", "mobilenet_v4_conv_medium"): 387,
        ("timm", "mobilenet_v4_conv_large"): 512,
        ("timm", "efficientnet_lite0"): 247,
        ("timm", "efficientnet_lite1"): 322,
        ("timm", "efficientnet_lite2"): 322,
        ("timm", "efficientnet_lite3"): 367,
        ("timm", "efficientnet_lite4"): 457,
        ("timm", "mnasnet_a1"): 279,
        ("timm", "mnasnet_b1"): 262,
        **{("timm", f"mobileone_s{number}"): 88 for number in range(4)},
        ("timm", "mobileone_s4"): 136,
    }
    for source, name in SOURCES:
        theirs = [found for found, _ in NAMES[source][name].of(build(name)).values()]
        assert len(set(theirs)) == len(theirs) == counts[source, name]


KNOWN = """
torchvision v2       block1.project.bn.mean   features.1.conv.2.running_mean   16
torchvision v2       block17.expand.weight    features.17.conv.0.0.weight      960x160x1x1
torchvision v3-large block4.se.reduce.bias    features.4.block.2.fc1.bias      24
torchvision v3-small block1.se.expand.weight  features.1.block.1.fc2.weight    16x8x1x1
torchvision v3-small hidden.weight            classifier.0.weight              1024x576
timm        v1       block6.pw.weight         blocks.3.0.conv_pw.weight        512x256x1x1
timm        v2       block17.project.bn.beta  blocks.6.0.bn3.bias              320
timm        v2       block1.project.weight    blocks.0.0.conv_pw.weight        16x32x1x1
timm        v3-large last.bn.gamma            blocks.6.0.bn1.weight            960
timm        v3-large hidden.weight            conv_head.weight                 1280x960x1x1
timm        v3-small block4.se.reduce.weight  blocks.2.0.se.conv_reduce.weight 24x96x1x1
timm v4-conv-medium block1.fused.weight blocks.0.0.conv_exp.weight 128x32x3x3
timm v4-conv-medium block1.project.bn.mean blocks.0.0.bn2.running_mean 48
timm v4-conv-medium block2.start.weight blocks.1.0.dw_start.conv.weight 48x1x3x3
timm v4-conv-medium block10.expand.bn.gamma blocks.2.6.pw_exp.bn.weight 320
timm v4-conv-large block27.project.weight blocks.3.12.pw_proj.conv.weight 512x2048x1x1
timm v4-conv-small block4.conv.weight blocks.1.1.conv.weight 64x96x1x1
timm v4-conv-small last.bn.beta blocks.4.0.bn1.bias 960
timm v4-conv-small hidden.weight conv_head.weight 1280x960x1x1
timm v4-conv-small hidden.bn.variance norm_head.running_var 1280
timm efficientnet-lite0 block1.project.weight blocks.0.0.conv_pw.weight 16x32x1x1
timm efficientnet-lite4 block30.project.bn.mean blocks.6.0.bn3.running_mean 448
timm mnasnet-a1 block4.se.expand.bias blocks.2.0.se.conv_expand.bias 72
timm mnasnet-b1 block17.project.weight blocks.6.0.conv_pwl.weight 320x1152x1x1
timm mobileone-s0 conv1.bias stem.reparam_conv.bias 48
timm mobileone-s0 block21.pw.weight stages.3.1.reparam_conv.weight 1024x256x1x1
timm mobileone-s4 block16.dw_se.reduce.bias stages.2.10.attn.fc1.bias 56
timm mobileone-s4 block21.pw_se.expand.weight stages.3.1.attn.fc2.weight 2048x128x1x1
timm mobileone-s1 classifier.weight head.fc.weight 1000x1280
"""


@pytest.mark.parametrize("line", KNOWN.strip().splitlines())
def test_names_that_the_sources_are_known_by(line: str) -> None:
    source, name, ours, theirs, shape = line.split()
    model = build(name)
    expected = (theirs, tuple(map(int, shape.split("x"))))
    assert NAMES[source][model.name].of(model)[ours] == expected


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("v3-small", "tf_mobilenetv3_small_100.safetensors"),
        ("v3-small", "plain.safetensors"),
        ("efficientnet-lite0", "tf_efficientnet_lite0.safetensors"),
        ("efficientnet-lite0", "efficientnet_lite0.safetensors"),
    ],
)
def test_what_was_tensorflows_keeps_its_padding_and_epsilon(
    tmp_path: Path, name: str, file: str
) -> None:
    model = build(name, **SMALL)
    path = tmp_path / file
    arrays = renamed("timm", model, initialize(model))
    save_file(arrays, path)
    found = trained(str(path), model)
    ported = file.startswith("tf_")
    assert found.model.options["padding"] == ("same" if ported else "symmetric")
    assert epsilons(found.model) == {1e-3 if ported else 1e-5}
    assert found.preprocess.get("mean") == ([0.5] * 3 if ported else None)


def test_what_was_asked_for_stays(tmp_path: Path) -> None:
    model = build("v3-small", **SMALL, padding="same", epsilon=2e-3)
    save_file(renamed("timm", model, initialize(model)), tmp_path / "w.safetensors")
    found = trained(str(tmp_path / "w.safetensors"), model).model
    assert found == model
    assert epsilons(found) == {2e-3}


@pytest.mark.parametrize("epsilon", [0, -1e-3, 1, "small", True])
def test_an_epsilon_that_makes_no_sense(epsilon: Any) -> None:
    with pytest.raises(InvalidModelError, match="epsilon must be"):
        build("v2", epsilon=epsilon)


@pytest.mark.parametrize(("source", "name"), SOURCES[:7])
def test_misfits_are_listed_by_the_sources_names(tmp_path: Path, source: str, name: str) -> None:
    model, weights = made(name)
    arrays = renamed(source, model, weights)
    classifier = NAMES[source][model.name].of(model)["classifier.bias"][0]
    variance = NAMES[source][model.name].of(model)["conv1.bn.variance"][0]
    missing = NAMES[source][model.name].of(model)["block2.dw.weight"][0]
    del arrays[missing]
    arrays["extra.weight"] = np.zeros(3, np.float32)
    arrays[classifier] = np.zeros(11, np.float32)
    arrays[variance] = -arrays[variance]
    path = tmp_path / "w.pth"
    path.write_bytes(torch_save.legacy(torch_save.state_dict(arrays)))
    with pytest.raises(WeightsError) as caught:
        load(path, model)
    message = str(caught.value)
    assert f"missing: {missing}" in message
    assert "unexpected: extra.weight" in message
    assert f"wrong shape: {classifier} is (11,), not (10,)" in message
    assert f"negative: {variance}" in message


def test_a_source_without_the_network(tmp_path: Path) -> None:
    other = build("v2", **SMALL)
    save_file(renamed("torchvision", other, initialize(other)), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="torchvision, which has no MobileNet V1"):
        load(tmp_path / "w.safetensors", build("v1", **SMALL))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v1", {}),
        ("v3-large", {}),
        ("v3-small", {}),
        ("efficientnet-lite0", {}),
        ("v2", {"alpha": 0.5}),
        ("v2", {"classes": 2}),
    ],
)
def test_no_pretrained_weights(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=r"no pretrained weights .*\n.*known: v2 at alpha 1\.0"):
        trained("pretrained", build(name, **options))

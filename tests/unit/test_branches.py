"""Checkpoints of MobileOne as timm publishes them: branches become the convolutions that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models import build, reference
from tvm_mobilenet.models.checkpoints.branches import without_branches
from tvm_mobilenet.models.checkpoints.names import NAMES
from tvm_mobilenet.models.spec import INPUT, Conv2d
from tvm_mobilenet.models.weights import trained

EPSILON = 1e-5
RNG = np.random.default_rng(0)
Arrays = dict[str, Any]


def norm(name: str, channels: int) -> Arrays:
    values = RNG.uniform(0.5, 1.5, (4, channels)).astype(np.float32)
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": value for part, value in zip(parts, values, strict=True)}


def branch(name: str, shape: tuple[int, ...]) -> Arrays:
    weight = RNG.standard_normal(shape).astype(np.float32)
    return {f"{name}.conv.weight": weight, **norm(f"{name}.bn", shape[0])}


def block(name: str, shape: tuple[int, ...], copies: int, *, identity: bool) -> Arrays:
    """A block as ``byobnet.MobileOneBlock`` registers it."""
    found: Arrays = norm(f"{name}.identity", shape[0]) if identity else {}
    for copy in range(copies):
        found |= branch(f"{name}.conv_kxk.{copy}", shape)
    if shape[2] > 1:
        found |= branch(f"{name}.conv_scale", (*shape[:2], 1, 1))
    return found


def applied(arrays: Arrays, name: str, x: Any, layer: Conv2d) -> Any:
    """The sum of a block's branches, one by one."""
    total = 0.0
    for part in sorted({key.rpartition(".conv.")[0] for key in arrays if ".conv." in key}):
        taps = arrays[f"{part}.conv.weight"].shape[2]
        own = Conv2d(
            "a", (INPUT,), layer.in_shape, layer.out_channels, (taps, taps), layer.strides,
            (taps // 2,) * 4, layer.groups, batch_norm=EPSILON,
        )  # fmt: skip
        weights = {"a.weight": arrays[f"{part}.conv.weight"], **ours(arrays, f"{part}.bn")}
        total += reference.run_layer(own, weights, x)
    if f"{name}.identity.weight" in arrays:
        found = ours(arrays, f"{name}.identity")
        scale = found["a.bn.gamma"] / np.sqrt(found["a.bn.variance"].astype(float) + EPSILON)
        moved = (x - found["a.bn.mean"][:, None, None]) * scale[:, None, None]
        total += moved + found["a.bn.beta"][:, None, None]
    return total


def ours(arrays: Arrays, name: str) -> Arrays:
    parts = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    return {f"a.bn.{part}": arrays[f"{name}.{theirs}"] for part, theirs in parts.items()}


@pytest.mark.parametrize(
    ("shape", "groups", "stride", "identity"),
    [
        ((6, 1, 3, 3), 6, 1, True),
        ((6, 1, 3, 3), 6, 2, False),
        ((6, 6, 1, 1), 1, 1, True),
        ((8, 6, 1, 1), 1, 1, False),
        ((6, 3, 3, 3), 2, 1, True),
        ((5, 3, 3, 3), 1, 2, False),
    ],
)
@pytest.mark.parametrize("copies", [1, 4])
def test_branches_are_one_convolution(
    shape: tuple[int, ...], groups: int, stride: int, identity: bool, copies: int
) -> None:
    arrays = block("stages.0.1", shape, copies, identity=identity)
    taps, channels = shape[2], shape[1] * groups
    layer = Conv2d(
        "a", (INPUT,), (2, channels, 7, 7), shape[0], (taps, taps), (stride, stride),
        (taps // 2,) * 4, groups, bias=True,
    )  # fmt: skip
    x = RNG.standard_normal(layer.in_shape)
    merged = without_branches(arrays, EPSILON, "a file")
    assert set(merged) == {"stages.0.1.reparam_conv.weight", "stages.0.1.reparam_conv.bias"}
    weights = {f"a.{name.rpartition('.')[2]}": array for name, array in merged.items()}
    assert all(array.dtype == np.float32 for array in weights.values())
    found = reference.run_layer(layer, weights, x)
    np.testing.assert_allclose(found, applied(arrays, "stages.0.1", x, layer), atol=1e-5)


def published(name: str, copies: int) -> tuple[Any, Arrays]:
    """A network, and a state dict of it in the branches in which timm keeps it."""
    model = build(name, resolution=32, classes=10)
    found: Arrays = {}
    for ours_name, (theirs, shape) in NAMES["timm"][model.name].of(model).items():
        if not theirs.endswith("reparam_conv.weight"):
            if "reparam_conv" not in theirs:
                found[theirs] = RNG.standard_normal(shape).astype(np.float32)
            continue
        layer = model.layer(ours_name.removesuffix(".weight"))
        assert isinstance(layer, Conv2d)
        same = layer.in_channels == layer.out_channels and layer.strides == (1, 1)
        place = theirs.removesuffix(".reparam_conv.weight")
        found |= block(place, shape, 1 if place == "stem" else copies, identity=same)
    return model, found


@pytest.mark.parametrize(
    ("name", "copies", "count"), [("mobileone-s0", 4, 1097), ("mobileone-s1", 1, 463)]
)
def test_a_published_checkpoint(tmp_path: Path, name: str, copies: int, count: int) -> None:
    model, arrays = published(name, copies)
    assert len(arrays) == count  # of timm's state dict, less num_batches_tracked
    save_file(arrays, tmp_path / "w.safetensors")
    found = trained(str(tmp_path / "w.safetensors"), model)
    expected = without_branches(arrays, EPSILON, "a file")
    np.testing.assert_array_equal(
        found.weights["block3.pw.weight"], expected["stages.1.1.reparam_conv.weight"]
    )
    assert list(found.weights) == list(model.parameters)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("stages.0.1.identity.running_mean", "'stages.0.1.identity.running_mean'"),
        ("stem.conv_scale.bn.bias", "branches of 'stem' do not make one convolution"),
        ("stages.2.0.conv_kxk.0.conv.weight", "missing: stages.2.0.reparam_conv.weight"),
    ],
)
def test_a_branch_that_is_not_whole(tmp_path: Path, gone: str, message: str) -> None:
    model, arrays = published("mobileone-s0", 2)
    del arrays[gone]
    save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=message):
        trained(str(tmp_path / "w.safetensors"), model)


def test_a_branch_of_another_shape() -> None:
    arrays = block("stem", (4, 3, 3, 3), 2, identity=False)
    arrays["stem.conv_kxk.1.conv.weight"] = np.zeros((4, 3, 5, 5), np.float32)
    with pytest.raises(WeightsError, match="branches of 'stem'"):
        without_branches(arrays, EPSILON, "a file")


def test_other_files_are_left_as_they_are() -> None:
    arrays = norm("blocks.0.0.bn1", 4)
    assert without_branches(arrays, EPSILON, "a file") == arrays

"""What tests of Relay's and of Relax's modules share: data, networks, the comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tvm_mobilenet as tm
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.reference import run

Array = NDArray[Any]
RNG = np.random.default_rng(0)
SHAPE = (2, 6, 9, 11)

MODELS = {
    "v1": lambda: tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10),
    "v2": lambda: tm.mobilenet_v2(alpha=0.35, resolution=32, classes=10),
    "v3-small": lambda: tm.mobilenet_v3_small(alpha=0.75, resolution=64, classes=10, batch=2),
}


def grouped(
    groups: Mapping[str, Mapping[str, Callable[[Any], Any]]],
) -> dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]]:
    """Cases of all groups by their names, each with the shape of its input."""
    return {
        f"{group}: {name}": (build, (2, 9, 7, 11) if group == "NHWC" else SHAPE)
        for group, cases in groups.items()
        for name, build in cases.items()
    }


def reference_says(imported: Imported, x: Array) -> list[Array]:
    values: dict[str, Array] = run(imported.model, imported.weights, x, keep_layers=True)
    return [values[name] for name in imported.model.outputs]


def compare(
    imported: Imported,
    tvm_says: Callable[[Array], list[Array]],
    x: Array | None = None,
    tolerance: float = 2e-6,
) -> Imported:
    """Compare what we make of a module with what TVM does; return it."""
    shape, dtype = imported.model.input_shape, imported.model.input_dtype
    x = RNG.standard_normal(shape).astype(dtype) if x is None else x
    ours, theirs = reference_says(imported, x), tvm_says(x)
    assert len(ours) == len(theirs)
    for got, want in zip(ours, theirs, strict=True):
        assert got.shape == want.shape
        scale = np.abs(want).max() or 1.0
        np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=tolerance)
    return imported


def kinds(model: tm.Model) -> list[str]:
    return [getattr(layer, "operator", type(layer).__name__) for layer in model.layers]

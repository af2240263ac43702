"""Rows of tokens: products with weights, with each other, normalisations, and what moves them."""

from __future__ import annotations

import dataclasses

import pytest
from kernels import check_kernel, compiled, use_threads

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.spec import INPUT, Dense, Softmax
from tvm_mobilenet.models.views import Copy, View, whole
from tvm_mobilenet.operators.copies import COPIES
from tvm_mobilenet.operators.facts import OTHER
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload

X86 = ["x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def work_of(layer: Layer, spec: TargetSpec) -> Workload:
    work = workload_of_layer(layer, spec)
    assert work is not None
    return work


def check_all(works: list[Workload], spec: TargetSpec) -> None:
    found = {work.key: work for work in works}
    assert len(found) == len(works)
    kernels = compiled(works, spec).jit()
    use_threads(2)
    for key, work in found.items():
        check_kernel(work, kernels[key])


ROWS = [(12, 5, 1), (13, 7, 3), (50, 24, 33), (197, 48, 144), (64, 33, 16), (31, 1, 40)]


@pytest.mark.parametrize("name", X86)
def test_rows_times_weights(name: str) -> None:
    spec = here(name)
    works = [work_of(Dense("a", (INPUT,), (n, i), o), spec) for n, i, o in ROWS]
    assert {work.operator for work in works} == {"linear"}
    ends = ("relu", "gelu", "silu", "hardswish")
    works += [dataclasses.replace(works[2], activation=end) for end in ends]
    works += [dataclasses.replace(works[at], residual=True) for at in (1, 3)]
    works.append(dataclasses.replace(works[2], residual=True, activation="silu"))
    check_all(works, spec)


@pytest.mark.parametrize("name", X86)
def test_many_softmaxes(name: str) -> None:
    spec = here(name)
    works = [work_of(Softmax("a", (INPUT,), (30, n)), spec) for n in (1, 2, 3, 15, 16, 17, 50, 256)]
    assert {work.operator for work in works} == {"softmax_rows"}
    check_all(works, spec)


@pytest.mark.parametrize("name", ["x86-64", *X86])
def test_layer_norms(name: str) -> None:
    spec = here(name)
    shapes = [(1, 1), (3, 2), (1, 7), (2, 16), (5, 17), (70, 100), (3, 513)]
    check_all([work_of(LayerNorm("a", (INPUT,), shape, 1e-5), spec) for shape in shapes], spec)


def stacked(shape: tuple[int, ...], order: tuple[int, ...] | None = None) -> View:
    """A view of a tensor whose axes change places."""
    view = whole(shape)
    if order is None:
        return view
    return dataclasses.replace(view, axes=tuple(view.axes[axis] for axis in order))


def lying(source: tuple[int, ...], *axes: tuple[int, int], offset: int = 0) -> View:
    """A view of axes of so many elements, so far apart."""
    return View(source, tuple((axis,) for axis in axes), offset)


PRODUCTS = {
    "side by side": (stacked((3, 17, 9)), stacked((3, 9, 21))),
    "columns apart": (stacked((3, 17, 24)), stacked((3, 37, 24), (0, 2, 1))),
    "few steps": (stacked((2, 50, 3)), stacked((2, 33, 3), (0, 2, 1))),
    "heads": (stacked((2, 19, 4, 8), (0, 2, 1, 3)), stacked((2, 19, 4, 8), (0, 2, 3, 1))),
    "rows apart": (stacked((2, 16, 30), (0, 2, 1)), stacked((2, 16, 5))),
    "one matrix": (stacked((14, 6)), stacked((2, 3, 6, 40))),
    "steps apart": (stacked((4, 7, 11)), stacked((11, 4, 18), (1, 0, 2))),
    "all apart": (stacked((4, 7, 11)), stacked((18, 4, 11, 2), (1, 2, 0, 3))),
    "a column": (stacked((20, 33)), stacked((33, 1))),
    "a row": (stacked((5, 1, 20)), stacked((5, 20, 3))),
}


def products() -> dict[str, Product]:
    one, other = PRODUCTS["all apart"]
    cut = dataclasses.replace(other, axes=other.axes[:3], offset=1)
    found = PRODUCTS | {"all apart": (one, cut)}
    made = {
        name: Product("a", (INPUT, OTHER), one.source, one, other)
        for name, (one, other) in found.items()
    }
    one, other = PRODUCTS["heads"]
    scaled = dataclasses.replace(one, factor=0.25)
    made["scaled"] = Product("a", (INPUT, OTHER), one.source, scaled, other)
    made["swapped"] = Product("a", (INPUT, OTHER), other.source, one, other, swapped=True)
    return made


@pytest.mark.parametrize("name", X86)
def test_tensors_times_tensors(name: str) -> None:
    spec = here(name)
    check_all([work_of(layer, spec) for layer in products().values()], spec)


COPIED = {
    "transposed": stacked((2, 37, 50), (0, 2, 1)),
    "small": stacked((5, 2, 3), (2, 1, 0)),
    "heads": stacked((2, 19, 4, 8), (0, 2, 1, 3)),
    "heads back": stacked((2, 8, 30, 5), (0, 2, 3, 1)),
    "every other": lying((4, 10, 6), (4, 60), (5, 12), (6, 1), offset=6),
    "a part of rows": lying((9, 40), (9, 40), (17, 1), offset=11),
    "spread": lying((1, 7), (5, 0), (7, 1)),
    "apart": lying((6, 4), (6, 4), (2, 2)),
    "a row": lying((3, 40), (40, 1), offset=40),
    "windows": View((8, 6, 5), (((2, 30), (2, 5)), ((4, 60), (3, 10)), ((5, 1),))),
}


@pytest.mark.parametrize("name", X86)
def test_views_become_tensors(name: str) -> None:
    spec = here(name)
    works = [work_of(Copy("a", (INPUT,), view.source, view), spec) for view in COPIED.values()]
    tokens = stacked((2, 48, 5, 7), (0, 2, 3, 1))
    maps = stacked((2, 5, 7, 48), (0, 3, 1, 2))
    out, into = COPIES["copies_out"].of_view(tokens, spec), COPIES["copies_in"].of_view(maps, spec)
    assert out is not None
    assert into is not None
    check_all([*works, out, into], spec)

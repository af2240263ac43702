"""Rows of tokens: products with weights, with each other, normalisations, and what moves them."""

from __future__ import annotations

import dataclasses

import pytest
from kernels import check_kernel, compiled, use_threads

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.spec import INPUT, Dense
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


@pytest.mark.parametrize("name", ["x86-64", *X86])
def test_layer_norms(name: str) -> None:
    spec = here(name)
    shapes = [(1, 1), (3, 2), (1, 7), (2, 16), (5, 17), (70, 100), (3, 513)]
    check_all([work_of(LayerNorm("a", (INPUT,), shape, 1e-5), spec) for shape in shapes], spec)

"""What a GPU of NVIDIA's is taken for, and which machine code it runs."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from tvm_mobilenet.errors import NoGpuError, TargetError
from tvm_mobilenet.machine import GPUS, parse
from tvm_mobilenet.machine.driver import Gpu, runs, spec_of

PARSE = "tvm_mobilenet.machine.parse"  # the package has a function of that name
H200 = Gpu(
    "NVIDIA H200",
    (9, 0),
    False,
    140 << 30,
    units=132,
    l2_bytes=60 << 20,
    clock_mhz=1980,
    memory_gbs=4814,
)


def gpu(arch: str, name: str = "a card", integrated: bool = False) -> Gpu:
    number = int(arch.removeprefix("sm_"))
    capability = (number // 10, number % 10)
    return dataclasses.replace(H200, name=name, capability=capability, integrated=integrated)


@pytest.mark.parametrize(
    ("arch", "on", "integrated", "works"),
    [
        ("sm_80", "sm_80", False, True),
        ("sm_80", "sm_86", False, True),  # a later minor revision
        ("sm_86", "sm_80", False, False),
        ("sm_75", "sm_80", False, False),  # another major one
        ("sm_90", "sm_100", False, False),
        ("sm_87", "sm_87", True, True),
        ("sm_86", "sm_87", True, False),  # a Jetson takes a Jetson's only
        ("sm_87", "sm_89", False, False),
    ],
)
def test_machine_code_runs_on_its_own_and_later_minor_revisions(
    arch: str, on: str, integrated: bool, works: bool
) -> None:
    assert runs(arch, gpu(on, integrated=integrated)) is works


@pytest.mark.parametrize(
    ("card", "name"),
    [
        (H200, "h200"),
        (gpu("sm_90", "NVIDIA H100 80GB HBM3"), "sm_90"),
        (gpu("sm_86", "NVIDIA GeForce RTX 3090"), "sm_86"),
        (gpu("sm_89", "NVIDIA L4"), "sm_89"),
        (gpu("sm_87", "Orin", integrated=True), "sm_87"),
    ],
)
def test_the_gpu_here_is_the_newest_that_it_is_compatible_with(card: Gpu, name: str) -> None:
    found, spec = spec_of(card)
    assert found == name
    assert (spec.units, spec.clock_mhz, spec.memory_gbs) == (132, 1980, 4814)
    assert spec.unit_threads == GPUS[name].unit_threads


def test_what_the_driver_does_not_say_is_as_the_table_has_it() -> None:
    silent = dataclasses.replace(H200, l2_bytes=0, clock_mhz=0, memory_gbs=0)
    _, spec = spec_of(silent)
    assert dataclasses.replace(spec, chip="H200") == GPUS["h200"]


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(TargetError, match="a card is sm_70, of which nothing is known"):
        spec_of(gpu("sm_70"))


def test_cuda_is_the_gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[PARSE], "find_gpu", lambda: H200)
    spec = parse("cuda", dtype="float16")
    assert spec.gpu is not None
    assert (spec.name, spec.lanes, spec.gpu.l2_bytes) == ("h200", 8, 60 << 20)


def test_without_a_gpu_cuda_asks_for_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> Gpu:
        raise NoGpuError("no NVIDIA driver here", "…")

    monkeypatch.setattr(sys.modules[PARSE], "find_gpu", nothing)
    with pytest.raises(TargetError, match=r"no NVIDIA driver here\n.*sm_75.*sm_90"):
        parse("cuda")

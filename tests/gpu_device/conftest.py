"""What runs on an NVIDIA GPU only: `make test-gpu`. Nothing here is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_mobilenet.machine import GPUS
from tvm_mobilenet.machine.driver import Gpu, find_gpu


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The GPU of this machine; without one every test fails by name."""
    return find_gpu()


@pytest.fixture(scope="session")
def target_name(gpu: Gpu) -> str:
    """What to compile for to run on it: its architecture, or the newest that it runs."""
    major, minor = gpu.capability
    runs = [
        name
        for name, spec in GPUS.items()
        if spec.kind == "cuda" and spec.capability[0] == major and spec.capability[1] <= minor
    ]
    assert runs, f"no target here is for {gpu.name}, {gpu.arch}"
    return gpu.arch if gpu.arch in runs else runs[-1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)

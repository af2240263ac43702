"""The tiny network, once for all files, with and without the C interface."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_network import compile_network

from tvm_mobilenet.runtime import Loaded, load


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {door: tmp_path_factory.mktemp("runtime") / f"{door}.so" for door in ("c", "tvm")}
    for door, path in found.items():
        compile_network(path, door=door)
    return found


@pytest.fixture(scope="session", params=["c", "tvm"])
def path(request: pytest.FixtureRequest, paths: dict[str, Path]) -> Path:
    return paths[request.param]


@pytest.fixture(scope="session")
def module(path: Path) -> Loaded:
    return load(path)

"""The tiny network, once for all files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_network import compile_network

from tvm_mobilenet.runtime import load
from tvm_mobilenet.runtime.module import Module


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runtime") / "tiny.so"
    compile_network(path)
    return path


@pytest.fixture(scope="session")
def module(path: Path) -> Module:
    return load(path)

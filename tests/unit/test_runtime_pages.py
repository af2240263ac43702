"""Large pages for an artifact's private copy: the content stays, and nothing else does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tvm_mobilenet.runtime.pages import collapse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this machine has no memfd_create")


@pytest.mark.parametrize("size", [0, 1, 2 << 20, (4 << 20) + 4097])
def test_the_content_stays_and_no_map_does(size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    with os.fdopen(os.memfd_create("pages-test"), "w+b") as file:
        file.write(content)
        file.flush()
        done = collapse(file)
        assert done is False or size >= 2 << 20
        assert os.pread(file.fileno(), size + 1, 0) == content
        assert "pages-test" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_a_file_on_a_disk_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 << 20))
    with path.open("r+b") as file:
        collapse(file)
    assert path.read_bytes() == bytes(3 << 20)

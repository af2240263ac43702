"""A file of the classic stack: loaded as it is, unloaded when nobody holds it, on the caller."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tvm_mobilenet as tm


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two networks of the same shape."""
    folder = tmp_path_factory.mktemp("classic")
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    for seed in (1, 2):
        tm.compile(model, seed=seed).export(folder / f"{seed}.so")
    return folder / "1.so", folder / "2.so"


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def mapped() -> int:
    return sum("/memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_a_path_gives_the_network_that_is_there_now(files, x, tmp_path: Path) -> None:
    wanted = [tm.load(file)(x) for file in files]
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    path = tmp_path / "net.so"
    loaded = []
    for file in files:
        path.write_bytes(file.read_bytes())  # in place, the second time
        loaded.append(tm.load(path))
    path.unlink()
    for module, want in zip(loaded, wanted, strict=True):
        np.testing.assert_array_equal(module(x), want)
        assert len(module.trace(x)) == len(module.manifest["calls"])


def test_what_nobody_holds_is_unloaded_at_once(files, x) -> None:
    tm.load(files[0])  # which finds out that what other tests left is not loaded any more
    before = mapped(), len(os.listdir("/proc/self/fd"))
    for file in (*files, *files):
        module = tm.load(file, threads=1)
        module(x)
        kernels = module.kernels(x)
        kernels.replay()
        kernels.split(0, repeats=1)
        thread = threading.Thread(target=module, args=(x,))
        thread.start()
        thread.join()
        assert mapped() > before[0]
        del module, kernels, thread
    assert (mapped(), len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_ended_leave_no_pools(files, x, threads: int) -> None:
    """TVM 0.19 keeps the pool of a thread until the process ends."""
    module = tm.load(files[0], threads=threads)
    want = module(x)
    before = len(os.listdir("/proc/self/task"))
    answers: list[np.ndarray] = []
    for _ in range(20):
        thread = threading.Thread(target=lambda: answers.append(module(x)))
        thread.start()
        thread.join()
    assert len(os.listdir("/proc/self/task")) < before + 10  # the last may be about to end
    for answer in answers:
        np.testing.assert_array_equal(answer, want)

"""Random ONNX graphs and mutated files: none hangs, none is wrong, none ends without a name."""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_mutants import GOOD, mutant
from onnx_random import RandomGraph

from tvm_mobilenet.errors import InvalidModelError, OnnxError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.spec import INPUT

GRAPHS, MUTANTS, CHUNKS = 2000, 500, 10
_LIMIT_S = 20.0
"""Of one file, which takes a hundredth of a second when nothing else runs."""


@contextlib.contextmanager
def limited(what: str) -> Iterator[None]:
    """Fail where something takes longer than the limit."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{what} takes longer than {_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[np.ndarray] = session.run(None, {"image": x})
    return found


def check_graph(seed: int, path: Path) -> None:
    """Import a random graph; what its layers compute is what ONNX Runtime computes of it."""
    model = RandomGraph(seed).model()
    path.write_bytes(model.SerializeToString())
    with limited(f"graph {seed}"):
        imported = import_onnx(path)
    shape = imported.model.input_shape
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    ours = {INPUT: x, **reference.run(imported.model, imported.weights, x, keep_layers=True)}
    for name, want in zip(imported.model.outputs, by_onnxruntime(model, x), strict=True):
        largest = np.abs(want).max()
        np.testing.assert_allclose(
            ours[name], want, rtol=1e-4, atol=1e-5 * largest + 1e-6, err_msg=f"graph {seed}, {name}"
        )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_graphs_are_what_onnxruntime_says(chunk: int, tmp_path: Path) -> None:
    for seed in range(chunk, GRAPHS, CHUNKS):
        check_graph(seed, tmp_path / "random.onnx")


@pytest.mark.parametrize("chunk", range(2))
def test_mutated_files_are_taken_or_refused_by_name(chunk: int, tmp_path: Path) -> None:
    path, taken = tmp_path / "mutant.onnx", 0
    for seed in range(chunk, MUTANTS, 2):
        path.write_bytes(mutant(seed))
        try:
            with limited(f"mutant {seed}"), warnings.catch_warnings():
                # Constants of other numbers overflow when they are computed with.
                warnings.simplefilter("ignore", RuntimeWarning)
                import_onnx(path)
        except (OnnxError, InvalidModelError):
            continue
        except Exception as error:
            raise AssertionError(f"mutant {seed} ends without a name") from error
        taken += 1
    assert 0 < taken < MUTANTS / 4, "most mutants should be refused, and some taken"


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_what_is_mutated_was_good(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "good.onnx"
    path.write_bytes(make().SerializeToString())
    imported = import_onnx(path)
    x = np.ones(imported.model.input_shape, imported.model.input_dtype)
    ours = reference.run(imported.model, imported.weights, x)
    (want,) = by_onnxruntime(imported.source, x)
    np.testing.assert_allclose(ours, want, rtol=1e-3, atol=1e-3)

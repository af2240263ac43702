"""Options of any size: built, or refused with the bound in the message, before anything is made."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet.common.limits import LARGEST_TENSOR, MOST_CORES, MOST_THREADS, MOST_TRIALS
from tvm_mobilenet.errors import InputError, InvalidModelError, TargetError, TuningError
from tvm_mobilenet.machine import host, parse
from tvm_mobilenet.models import MODELS, build, model_from_manifest
from tvm_mobilenet.runtime.threads import thread_count
from tvm_mobilenet.tuning.task import Settings

FAMILIES = ["v1", "v2", "v3-large", "v3-small"]
HUGE = 10**5000
"""More digits than Python prints."""


def _type_of(value: Any) -> str:
    return type(value).__name__


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "alpha",
    [
        1e9, 1e300, 1e-400, 0, -1, math.nan, math.inf, -math.inf, HUGE, Fraction(HUGE), None, "x",
        "1e999999999", "1e-999999999", "nan", True, [1], {}, "9" * 10_000, np.float32("inf"),
    ],
    ids=_type_of,
)  # fmt: skip
def test_widths_that_cannot_be(family: str, alpha: Any) -> None:
    with pytest.raises(InvalidModelError, match="alpha must be a positive number up to") as caught:
        build(family, alpha=alpha)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("alpha", [0.5, "0.5", Fraction(1, 2), np.float64(0.5)])
def test_widths_of_any_type(alpha: Any) -> None:
    assert build("v1", alpha=alpha).params == build("v1", alpha=0.5).params


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("classes", 100_000_000), ("resolution", 100_000), ("batch", 100_000_000),
        ("classes", LARGEST_TENSOR), ("resolution", LARGEST_TENSOR), ("batch", LARGEST_TENSOR),
        ("alpha", 64), ("alpha", 45.0),
    ],
)  # fmt: skip
def test_what_tvm_cannot_index_is_refused(family: str, option: str, value: Any) -> None:
    with pytest.raises(InvalidModelError, match=rf"(index|can hold) {LARGEST_TENSOR}"):
        build(family, **{option: value})


@pytest.mark.parametrize("option", ["classes", "resolution", "batch"])
@pytest.mark.parametrize(
    "value", [0, -1, -HUGE, HUGE, LARGEST_TENSOR + 1, 1.5, "7", None, True], ids=_type_of
)
def test_counts_that_cannot_be(option: str, value: Any) -> None:
    with pytest.raises(InvalidModelError, match=f"^{option} must be") as caught:
        build("v1", **{option: value})
    assert len(str(caught.value)) < 300


def test_the_largest_that_can_be_are_built() -> None:
    """Just below the bounds: 2**31 - 1 numbers, and as many bytes of weights."""
    batch = LARGEST_TENSOR // (64 * 112 * 112)
    assert build("v1", batch=batch).input_shape[0] == batch
    with pytest.raises(InvalidModelError, match=r"'block1\.pw' of MobileNet V1"):
        build("v1", batch=batch + 1)
    rest = build("v1", classes=1)
    known = sum(math.prod(shape) for shape in rest.parameters.values()) - 1024 - 1
    classes = (LARGEST_TENSOR // 4 - known) // 1025
    assert build("v1", classes=classes).output_shape == (1, classes)
    with pytest.raises(InvalidModelError, match=r"weights of MobileNet V1 .* bytes"):
        build("v1", classes=classes + 1)


@pytest.mark.parametrize("family", MODELS)
def test_manifests_have_the_same_bounds(family: str) -> None:
    for options in ({"alpha": "1e999999999"}, {"batch": 2**40}, {"padding": "x" * 10**6}):
        with pytest.raises(InvalidModelError) as caught:
            model_from_manifest({"name": family, "options": options})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("cores", [0, -1, MOST_CORES + 1, 10**9])
def test_cores_that_cannot_be(cores: int) -> None:
    import dataclasses

    with pytest.raises(TargetError, match=f"{MOST_CORES}"):
        parse("native", cores=cores)
    with pytest.raises(TargetError, match=f"{MOST_CORES} cores"):
        dataclasses.replace(host(), cores=cores)


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 10**18, "x", 1.5, True])
def test_threads_that_cannot_be(threads: Any) -> None:
    with pytest.raises(InputError, match=f"1 to {MOST_THREADS}"):
        thread_count(threads)


@pytest.mark.parametrize(
    "settings",
    [
        {"trials": -1}, {"trials": MOST_TRIALS + 1}, {"trials": 1.5}, {"trials": True},
        {"trials": 1, "seed": -1}, {"trials": 1, "seed": 0.5},
        *({"trials": 1, "cool_down": seconds} for seconds in (-1, math.nan, math.inf)),
        *({"trials": 1, "measure_limit": seconds} for seconds in (-1, math.nan, math.inf)),
    ],
)  # fmt: skip
def test_settings_of_a_tuning_run_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(TuningError):
        Settings(**settings)

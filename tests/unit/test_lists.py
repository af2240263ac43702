"""Options of the functions: one, several, a text; words that are none are refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.common.lists import names, number, numbers
from tvm_mobilenet.errors import DeviceError, InputError, TargetError, TvmMobilenetError

MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (2, (2,)),
        ("2", (2,)),
        ("1,2, 1", (1, 2)),
        ((1, 2), (1, 2)),
        (["1", 2], (1, 2)),
        (np.array([1, 2]), (1, 2)),
        (np.int64(2), (2,)),
        (range(1, 3), (1, 2)),
        ("", ()),
    ],
)
def test_numbers(given: Any, found: tuple[int, ...]) -> None:
    assert numbers(given, "threads") == found


@pytest.mark.parametrize("given", ["one", "1,x", 1.5, True, None, [1.5], [None], object()])
def test_numbers_that_are_none(given: Any) -> None:
    with pytest.raises(InputError, match="threads"):
        numbers(given, "threads")


def test_one_number() -> None:
    assert number("2", "threads") == 2
    with pytest.raises(InputError, match="one number"):
        number("1,2", "threads")


def test_names() -> None:
    assert names("onnxruntime, ncnn,") == ("onnxruntime", "ncnn")
    assert names(["ncnn", "ncnn"]) == ("ncnn",)
    with pytest.raises(InputError):
        names([1])  # type: ignore[list-item]
    with pytest.raises(InputError):
        names(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: tm.compile(MODEL, fusion="al"), InputError, "did you mean 'all'.*auto, all, none"),
        (lambda: tm.explain(MODEL, fusion=None), InputError, "auto, all, none"),
        (lambda: tm.tune(MODEL, trials=1, fusion="some"), InputError, "auto, all, none"),
        (lambda: tm.compile(MODEL, device="gpu"), DeviceError, "tracker://HOST:PORT/KEY"),
        (lambda: tm.compile(MODEL, device=0), DeviceError, "0 is no device.*HOST:PORT"),
        (lambda: tm.tune(MODEL, trials=1, device=None), DeviceError, "no device"),
        (lambda: tm.open_device(3), DeviceError, "3 is no device"),
        (lambda: tm.compile(MODEL, target=None), TargetError, "None is no target"),
        (
            lambda: tm.compile(MODEL, target="sm_90", dtype="float64"),
            TargetError,
            "float32, float16",
        ),
        (lambda: tm.explain(MODEL, threads="two"), InputError, "threads"),
    ],
)
def test_words_that_are_none_are_refused_by_name(
    call: Any, kind: type[TvmMobilenetError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert re.search(words, f"{caught.value.what} {caught.value.remedy}")


def test_bench_takes_a_text_or_a_number(tmp_path: Path) -> None:
    """What is wrong with them is said before the file is looked at."""
    nothing = tmp_path / "none.so"
    for threads in ("one", None, [1.5]):
        with pytest.raises(InputError, match="threads"):
            tm.bench(nothing, threads=threads)
    with pytest.raises(TvmMobilenetError, match=r"none\.so"):
        tm.bench(nothing, threads="1", against="")

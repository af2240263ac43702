"""What can be asked of a compilation: checked at once, its target asked for once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tvm_mobilenet import device
from tvm_mobilenet.compilation.options import CompileOptions, PlanOptions
from tvm_mobilenet.compilation.relay import Relay
from tvm_mobilenet.compilation.stack import this_stack
from tvm_mobilenet.errors import InputError, StackError, TargetError, TvmMobilenetError
from tvm_mobilenet.machine import PRESETS


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"fusion": "magic"}, InputError, "there is no fusion 'magic'"),
        ({"target": PRESETS["rpi4"], "host": "native"}, TargetError, "says its host and dtype"),
        ({"target": PRESETS["rpi4"], "mattr": "+dotprod"}, TargetError, "says its host and dtype"),
        ({"stack": "tflite"}, StackError, "'tflite', which is unknown"),
        ({"stack": "relay"}, StackError, r"needs TVM 0\.19 \(stack 'relay'\)"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_written_down(
    wrong: dict[str, Any], error: type[TvmMobilenetError], message: str
) -> None:
    with pytest.raises(error, match=message):
        CompileOptions(**wrong)


def test_a_target_by_name_and_by_value() -> None:
    assert PlanOptions(target="rpi4", cores=2).spec.cores == 2
    assert PlanOptions(target=PRESETS["rpi4"], cores=2).spec.cores == 2
    assert PlanOptions(target="sm_90", dtype="float16").spec.dtype == "float16"
    with pytest.raises(TargetError, match="pdp11"):
        _ = PlanOptions(target="pdp11").spec


def test_a_device_says_what_it_is_once_and_only_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    @contextlib.contextmanager
    def open_device(text: str) -> Iterator[Any]:
        asked.append(text)
        board = SimpleNamespace(target=PRESETS["rpi4"], check_versions=lambda: None)
        yield SimpleNamespace(describe=lambda: board)

    monkeypatch.setattr(device, "open_device", open_device)
    options = CompileOptions(device="ssh://pi", cores=1)
    assert options.asks_device
    assert (options.spec.name, options.spec.cores) == ("rpi4", 1)
    assert options.spec is options.spec
    assert asked == ["ssh://pi"]
    for named in ({"target": "rpi2"}, {"mcpu": "x86-64-v3"}):
        assert CompileOptions(device="ssh://pi", **named).spec.name != "rpi4"
    assert asked == ["ssh://pi"]


def test_the_stack_of_an_environment_is_one_object() -> None:
    assert this_stack() is this_stack()
    assert this_stack().name == "relax"
    assert set(this_stack().versions()) == set(this_stack().packages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PlanOptions(target="sm_90"), "no generator of CUDA"),
        (PlanOptions(target="opencl", fusion="all"), "fused blocks"),
        (PlanOptions(target="opencl", dtype="float16"), "as float32, not float16"),
    ],
)
def test_what_the_classic_stack_has_not_is_refused(options: PlanOptions, message: str) -> None:
    with pytest.raises(StackError, match=message):
        Relay().check(options)

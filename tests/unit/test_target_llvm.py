"""Errors while code is generated: LLVM's are named, all others pass as they are."""

from __future__ import annotations

import dataclasses

import pytest

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.machine.llvm import generating

TARGET = PRESETS["x86-64-v3"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("no more memory"), KeyError(1)]
)
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, generating(TARGET):
        raise error
    assert raised.value is error


def test_a_target_that_llvm_refuses_is_named() -> None:
    """The error is LLVM's own, of code for an architecture that there is not."""
    import tvm
    from tvm import te

    unknown = tvm.target.Target({"kind": "llvm", "mtriple": "nowhere-linux-gnu"})
    data = te.placeholder((4,))
    function = te.create_prim_func([data, te.compute((4,), lambda i: data[i] + 1.0)])
    spec = dataclasses.replace(TARGET, name="nowhere")
    with pytest.raises(TargetError, match="nowhere"), generating(spec):
        tvm.compile(function, target=unknown)

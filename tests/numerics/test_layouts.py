"""Maps into blocks and out of them, whatever is left over of channels and pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from kernels import use_threads
from tvm_mobilenet.schedules.tensorir.cpu.layout import write_layout

from tvm_mobilenet.machine import parse
from tvm_mobilenet.operators.packing import blocked

TARGET = parse("native")
SHAPES = [
    (1, 64, 9, 11), (2, 24, 4, 4), (3, 19, 5, 7), (2, 3, 6, 6), (1, 1, 7, 7), (1, 33, 1, 1),
    (2, 40, 3, 1), (3, 21), (1, 16, 64, 64),
]  # fmt: skip


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_there_and_back(lanes: int) -> None:
    use_threads(2)
    for shape in SHAPES:
        block = min(lanes, 1 << (shape[1] - 1).bit_length())
        functions = {
            name: write_layout(shape, block, TARGET, blocks=blocks).with_attr("global_symbol", name)
            for name, blocks in (("there", True), ("back", False))
        }
        target = tvm.target.Target(TARGET.tvm_dict())
        kernels = tvm.compile(tvm.IRModule(functions), target=target).jit()
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        want = blocked(x, block)
        assert want.shape[2] == math.prod(shape[2:])
        inside = tvm.runtime.tensor(np.full(want.shape, np.nan, np.float32))
        again = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
        kernels["there"](tvm.runtime.tensor(x), inside)
        np.testing.assert_array_equal(inside.numpy(), want)
        kernels["back"](inside, again)
        np.testing.assert_array_equal(again.numpy(), x)

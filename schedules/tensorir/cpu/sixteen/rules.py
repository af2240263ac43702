"""Which kernel on maps of 16 bits an operator gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_mobilenet.schedules.tensorir.cpu.integer.depthwise import write_depthwise
from tvm_mobilenet.schedules.tensorir.cpu.integer.products import (
    write_conv,
    write_dense,
    write_pointwise,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.separable import write_separable
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.bfloat16 import BFLOAT16
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.float16 import FLOAT16
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.maps import write_pool, write_scale
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.numbers import Sixteen

NUMBERS: dict[str, Sixteen] = {"bfloat16": BFLOAT16, "float16": FLOAT16}
"""By type."""

WRITERS: dict[str, Callable[..., Any]] = {
    "conv": write_conv,
    "dense": write_dense,
    "depthwise": write_depthwise,
    "pointwise": write_pointwise,
    "pool": write_pool,
    "scale": write_scale,
    "separable": write_separable,
}
"""By operator: each takes a workload, its plan, a target and the type's :class:`Sixteen`."""

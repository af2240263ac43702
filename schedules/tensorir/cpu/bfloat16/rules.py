"""Which kernel on maps of bfloat16 an operator gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm_mobilenet.schedules.tensorir.cpu.bfloat16.maps import write_pool, write_scale
from tvm_mobilenet.schedules.tensorir.cpu.bfloat16.numbers import BFLOAT16
from tvm_mobilenet.schedules.tensorir.cpu.integer.depthwise import write_depthwise
from tvm_mobilenet.schedules.tensorir.cpu.integer.products import (
    write_conv,
    write_dense,
    write_pointwise,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.separable import write_separable

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

WRITERS: dict[str, Callable[[Workload, Any, TargetSpec], Any]] = {
    "conv": partial(write_conv, numbers=BFLOAT16),
    "dense": partial(write_dense, numbers=BFLOAT16),
    "depthwise": partial(write_depthwise, numbers=BFLOAT16),
    "pointwise": partial(write_pointwise, numbers=BFLOAT16),
    "pool": write_pool,
    "scale": write_scale,
    "separable": partial(write_separable, numbers=BFLOAT16),
}
"""By operator."""

"""Which kernel in integers an operator gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_mobilenet.schedules.tensorir.cpu.integer.blocks import (
    write_dequantize_blocks,
    write_quantize_blocks,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.concat import write_concat
from tvm_mobilenet.schedules.tensorir.cpu.integer.depthwise import write_depthwise
from tvm_mobilenet.schedules.tensorir.cpu.integer.maps import (
    write_add,
    write_dequantize,
    write_pool,
    write_quantize,
    write_scale,
    write_table,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.pools import write_largest, write_mean
from tvm_mobilenet.schedules.tensorir.cpu.integer.products import (
    write_conv,
    write_dense,
    write_pointwise,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.separable import write_separable
from tvm_mobilenet.schedules.tensorir.cpu.integer.softmax import write_softmax

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

WRITERS: dict[str, Callable[[Workload, Any, TargetSpec], Any]] = {
    "dequantize": write_dequantize,
    "dequantize_blocks": write_dequantize_blocks,
    "qadd": write_add,
    "qconcat": write_concat,
    "qconv": write_conv,
    "qdense": write_dense,
    "qdepthwise": write_depthwise,
    "qlargest": write_largest,
    "qmean": write_mean,
    "qpixels": write_conv,
    "qpointwise": write_pointwise,
    "qpool": write_pool,
    "qscale": write_scale,
    "qseparable": write_separable,
    "qsoftmax": write_softmax,
    "qtable": write_table,
    "quantize": write_quantize,
    "quantize_blocks": write_quantize_blocks,
}
"""By operator."""

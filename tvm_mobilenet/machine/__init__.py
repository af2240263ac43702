"""What a processor offers to a schedule, and how to name one.

Describing a preset or this machine takes no TVM and no compiler; only a
processor that no table here holds is looked up in LLVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.common.lazily import export

if TYPE_CHECKING:
    from tvm_mobilenet.machine.arithmetic import (
        ITEM_BYTES,
        LINE_BYTES,
        RANGES,
        Arithmetic,
        Dtype,
        Isa,
    )
    from tvm_mobilenet.machine.gpu import GPUS, GpuSpec
    from tvm_mobilenet.machine.host import host_cpu_features, host_machine
    from tvm_mobilenet.machine.llvm import validate_with_llvm
    from tvm_mobilenet.machine.parse import parse
    from tvm_mobilenet.machine.presets import PRESETS
    from tvm_mobilenet.machine.spec import TargetSpec
    from tvm_mobilenet.machine.this_machine import host

__all__ = [
    "GPUS",
    "ITEM_BYTES",
    "LINE_BYTES",
    "PRESETS",
    "RANGES",
    "Arithmetic",
    "Dtype",
    "GpuSpec",
    "Isa",
    "TargetSpec",
    "host",
    "host_cpu_features",
    "host_machine",
    "parse",
    "validate_with_llvm",
]

_HOMES = {
    "GPUS": "gpu",
    "ITEM_BYTES": "arithmetic",
    "LINE_BYTES": "arithmetic",
    "PRESETS": "presets",
    "RANGES": "arithmetic",
    "Arithmetic": "arithmetic",
    "Dtype": "arithmetic",
    "GpuSpec": "gpu",
    "Isa": "arithmetic",
    "TargetSpec": "spec",
    "host": "this_machine",
    "host_cpu_features": "host",
    "host_machine": "host",
    "parse": "parse",
    "validate_with_llvm": "llvm",
}
export(__name__, _HOMES)

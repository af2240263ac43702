"""What a processor offers to a schedule, and how to name one.

Describing a preset or this machine takes no TVM and no compiler; only a
processor that no table here holds is looked up in LLVM.
"""

from tvm_mobilenet.machine.arithmetic import ITEM_BYTES, LINE_BYTES, Arithmetic, Dtype, Isa
from tvm_mobilenet.machine.gpu import GPUS, GpuSpec
from tvm_mobilenet.machine.host import host, host_cpu_features, host_machine
from tvm_mobilenet.machine.llvm import validate_with_llvm
from tvm_mobilenet.machine.parse import parse
from tvm_mobilenet.machine.presets import PRESETS
from tvm_mobilenet.machine.spec import TargetSpec

__all__ = [
    "GPUS",
    "ITEM_BYTES",
    "LINE_BYTES",
    "PRESETS",
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

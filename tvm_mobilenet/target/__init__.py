"""What a processor offers to a schedule, and how to name one.

Describing a preset or this machine takes no TVM and no compiler; only a
processor that no table here holds is looked up in LLVM.
"""

from tvm_mobilenet.target.arithmetic import ITEM_BYTES, LINE_BYTES, Arithmetic, Dtype, Isa
from tvm_mobilenet.target.gpu import GPUS, GpuSpec
from tvm_mobilenet.target.host import host, host_cpu_features, host_machine
from tvm_mobilenet.target.llvm import validate_with_llvm
from tvm_mobilenet.target.parse import parse
from tvm_mobilenet.target.presets import PRESETS
from tvm_mobilenet.target.spec import TargetSpec

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

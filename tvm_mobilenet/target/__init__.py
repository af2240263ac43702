"""What a processor offers to a schedule, and how to name one.

Describing a preset or this machine takes no TVM and no compiler; only a
processor that no table here holds is looked up in LLVM.
"""

from tvm_mobilenet.target.gpu import GPUS, Dtype, GpuSpec
from tvm_mobilenet.target.host import host, host_cpu_features, host_machine
from tvm_mobilenet.target.llvm import validate_with_llvm
from tvm_mobilenet.target.parse import parse
from tvm_mobilenet.target.presets import PRESETS
from tvm_mobilenet.target.spec import Isa, TargetSpec

__all__ = [
    "GPUS",
    "PRESETS",
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

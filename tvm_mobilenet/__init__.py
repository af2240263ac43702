"""MobileNet on Apache TVM, compiled by our own schedules into one verified ``.so``.

>>> import tvm_mobilenet as tm
>>> tm.mobilenet_v1(alpha=0.5, resolution=160).macs
76524800
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.common.lazily import export

if TYPE_CHECKING:
    from tvm_mobilenet.api import (
        compile,  # noqa: A004  as in torch.compile and tvm.compile
        explain,
        tune,
    )
    from tvm_mobilenet.bench.comparison import BenchReport
    from tvm_mobilenet.compilation.compiled import Compiled
    from tvm_mobilenet.compilation.quantizing import quantize
    from tvm_mobilenet.compilation.report import CompileReport
    from tvm_mobilenet.compilation.using import bench, evaluate, profile, verify
    from tvm_mobilenet.device import Device, open_device
    from tvm_mobilenet.errors import TvmMobilenetError
    from tvm_mobilenet.evaluation.report import EvaluationReport
    from tvm_mobilenet.frontends.relax import from_relax
    from tvm_mobilenet.frontends.relay import from_relay
    from tvm_mobilenet.machine import TargetSpec
    from tvm_mobilenet.models import (
        MODELS,
        Model,
        build,
        efficientnet_lite,
        mnasnet,
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3_large,
        mobilenet_v3_small,
        mobilenet_v4,
        mobileone,
    )
    from tvm_mobilenet.models.importer import Imported, import_onnx
    from tvm_mobilenet.profile.breakdown import ProfileReport
    from tvm_mobilenet.runtime.loading import load
    from tvm_mobilenet.runtime.module import Module
    from tvm_mobilenet.tuning.tuning_report import TuningReport
    from tvm_mobilenet.verify.report import VerifyReport

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "BenchReport",
    "CompileReport",
    "Compiled",
    "Device",
    "EvaluationReport",
    "Imported",
    "Model",
    "Module",
    "ProfileReport",
    "TargetSpec",
    "TuningReport",
    "TvmMobilenetError",
    "VerifyReport",
    "__version__",
    "bench",
    "build",
    "compile",
    "efficientnet_lite",
    "evaluate",
    "explain",
    "from_relax",
    "from_relay",
    "import_onnx",
    "load",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v4",
    "mobileone",
    "open_device",
    "profile",
    "quantize",
    "tune",
    "verify",
]

_HOMES = {
    "MODELS": "models",
    "BenchReport": "bench.comparison",
    "CompileReport": "compilation.report",
    "Compiled": "compilation.compiled",
    "Device": "device",
    "EvaluationReport": "evaluation.report",
    "Imported": "models.importer",
    "Model": "models",
    "Module": "runtime.module",
    "ProfileReport": "profile.breakdown",
    "TargetSpec": "machine.spec",
    "TuningReport": "tuning.tuning_report",
    "TvmMobilenetError": "errors",
    "VerifyReport": "verify.report",
    "bench": "compilation.using",
    "build": "models",
    "compile": "api",
    "efficientnet_lite": "models",
    "evaluate": "compilation.using",
    "explain": "api",
    "from_relax": "frontends.relax",
    "from_relay": "frontends.relay",
    "import_onnx": "models.importer",
    "load": "runtime.loading",
    "mnasnet": "models",
    "mobilenet_v1": "models",
    "mobilenet_v2": "models",
    "mobilenet_v3_large": "models",
    "mobilenet_v3_small": "models",
    "mobilenet_v4": "models",
    "mobileone": "models",
    "open_device": "device",
    "profile": "compilation.using",
    "quantize": "compilation.quantizing",
    "tune": "api",
    "verify": "compilation.using",
}

export(__name__, _HOMES)

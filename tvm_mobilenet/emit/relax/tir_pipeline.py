"""How device code is lowered: by TVM's own passes, and so that NaN stays NaN."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.compilation_pipeline import register_tir_pipeline

from tvm_mobilenet.schedules.nan import GPU, keeping_nan

DEVICE = "tvm_mobilenet"
"""The pipeline's name."""

# Named: for Adreno TVM's default would be a pipeline that puts maps into textures.
_TVMS = "s_tir"


def _device_pipeline() -> tuple[Any, Any, Any]:
    """Return what TVM asks of a pipeline: its passes, and the last ones of host and device."""
    passes, last_on_host, last_on_device = tirx.get_tir_pipeline(_TVMS)

    def keep(func: Any, _mod: Any, _context: Any) -> Any:
        return keeping_nan(func, GPU)

    first = tirx.transform.prim_func_pass(keep, opt_level=0, name="tvm_mobilenet.keeping_nan")
    return passes, last_on_host, lambda: tvm.transform.Sequential([first, last_on_device()])


register_tir_pipeline(DEVICE, _device_pipeline)

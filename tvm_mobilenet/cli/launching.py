"""What ``inspect`` says of an artifact that is launched without host code: OpenCL, Metal."""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.cli.output import size


def launch_facts(manifest: dict[str, Any]) -> dict[str, str]:
    """Describe what a launch plan launches, and what a device needs for it.

    Parameters
    ----------
    manifest : dict
        With a ``plan``.
    """
    plan, target = manifest["plan"], manifest["target"]
    launches = [launch for call in plan["calls"] for launch in call["launches"]]
    sizes: dict[str, int] = {}
    for buffer in plan["buffers"]:
        sizes[buffer["kind"]] = sizes.get(buffer["kind"], 0) + buffer["bytes"]
    needs = [
        f"work-groups of {max(math.prod(launch['block']) for launch in launches)}",
        f"{max(launch['shared'] for launch in launches)} bytes of local memory",
    ]
    if target["dtype"] == "float16":
        needs.append("float16 (cl_khr_fp16)")
    return {
        "launches": f"{len(launches)} of {len({launch['kernel'] for launch in launches})} "
        f"{target['gpu']['kind']} kernels a call; no host code, any processor",
        "needs": ", ".join(needs),
        "on the device": ", ".join(f"{size(count)} of {kind}" for kind, count in sizes.items()),
    }

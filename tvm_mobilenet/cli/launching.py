"""What ``compile`` and ``inspect`` say of an artifact for a GPU: what it launches and needs."""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.cli.output import size
from tvm_mobilenet.machine.driver import JETSONS


def launch_facts(manifest: dict[str, Any]) -> dict[str, str]:
    """Describe what the ``plan`` of a manifest launches, and what a device needs for it."""
    plan, target = manifest["plan"], manifest["target"]
    launches = [launch for call in plan["calls"] for launch in call["launches"]]
    sizes: dict[str, int] = {}
    for buffer in plan["buffers"]:
        sizes[buffer["kind"]] = sizes.get(buffer["kind"], 0) + buffer["bytes"]
    needs = [
        f"work-groups of {max(math.prod(launch['block']) for launch in launches)}",
        f"{max(launch['shared'] for launch in launches)} bytes of local memory",
    ]
    if target.get("dtype") == "float16":
        needs.append("float16 (cl_khr_fp16)")
    return {
        "launches": f"{len(launches)} of {len({launch['kernel'] for launch in launches})} "
        f"{target['gpu']['kind']} kernels a call; no host code, any processor",
        "needs": ", ".join(needs),
        "on the device": ", ".join(f"{size(count)} of {kind}" for kind, count in sizes.items()),
    }


def cuda_facts(manifest: dict[str, Any]) -> dict[str, str]:
    """Describe what an artifact for CUDA launches, and what a GPU needs for it."""
    gpu, spec = manifest["gpu"], manifest["target"]["gpu"]
    used = gpu["kernels"].values()
    spilled = sum(kernel["spill_bytes"] > 0 for kernel in used)
    graphs = " and ".join(f"one graph of {count}" for count in gpu["graphs"])
    return {
        "launches": f"{graphs or 'no graph'}, {gpu['outside']} outside; {len(used)} kernels",
        "registers": f"at most {max(kernel['registers'] for kernel in used)} of a thread, "
        f"{max(kernel['shared_bytes'] for kernel in used)} bytes of shared memory of a block, "
        + (f"{spilled} kernels spill" if spilled else "no spill"),
        "needs GPU": spec["arch"]
        + ("" if spec["arch"] in JETSONS else f" or a later sm_{spec['arch'][3:-1]}x")
        + f", a driver of CUDA 13, {size(gpu['memory_bytes'])}",
    }

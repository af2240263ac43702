"""A candidate for a GPU as a file: its launches, and what the driver takes of its code.

Runs in a builder. What no GPU of the target's kind can launch is refused here, by name:
some drivers hang on it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.launches import Launch
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import GpuSpec

CONTROL_CHAINS, CONTROL_THREADS = 8, 256
"""The control kernel's: multiply-adds of a thread that wait for no other; threads of a block."""

_CONTROL_S = 5e-5
_BLOCKS_OF_A_UNIT = 4
_REMEDY = "other knobs, or a preset of such a device: see `tvm-mobilenet targets`"


def write_candidate(func: Any, name: str, target: TargetSpec, path: str) -> None:
    """Generate a scheduled function's code and write it down with its launches.

    Parameters
    ----------
    func : tirx.PrimFunc
        Bound to threads; the last parameter is its output.
    name : str
        For its kernels.
    target : TargetSpec
        With a GPU.
    path : str
        JSON: ``launches``, ``scratch`` (bytes of buffers), ``shape`` and ``dtype`` of the
        output; ``source``, or for CUDA ``cubin`` in base 64.

    Raises
    ------
    CodegenError
        It is not bound to threads, or no GPU of this kind launches it.
    ToolchainError
        There is no compiler for CUDA, or it refuses the source.
    """
    gpu = target.the_gpu
    code = device_code({name: func}, target)
    launches = code.kernels[name]
    check_launches(launches, gpu)
    out = func.params[-1].ty
    content: dict[str, Any] = {
        "launches": [_as_plan(launch) for launch in launches],
        "scratch": list(code.scratch[name]),
        "shape": [int(size) for size in out.shape],
        "dtype": str(out.dtype),
    }
    _write(path, content, code.source, gpu)


def write_control(target: TargetSpec, path: str) -> None:
    """Write the control kernel: multiply-adds in registers, on all units."""
    gpu = target.the_gpu
    blocks = gpu.units * _BLOCKS_OF_A_UNIT
    threads = min(CONTROL_THREADS, gpu.block_threads)
    launch = Launch("control", (0,), (blocks, 1, 1), (threads, 1, 1), 0)
    content = {
        "launches": [_as_plan(launch)],
        "scratch": [],
        "shape": [blocks * threads],
        "dtype": "float32",
    }
    _write(path, content, _control_source(gpu), gpu)


def control_operations(target: TargetSpec) -> int:
    """Return the floating-point operations of the control kernel, two per multiply-add."""
    gpu = target.the_gpu
    threads = gpu.units * _BLOCKS_OF_A_UNIT * min(CONTROL_THREADS, gpu.block_threads)
    return 2 * threads * CONTROL_CHAINS * _steps(gpu)


def check_launches(launches: Sequence[Launch], gpu: GpuSpec) -> None:
    """Refuse what a GPU cannot launch.

    Raises
    ------
    CodegenError
        Too many threads, or too much shared memory, in a block.
    """
    for launch in launches:
        if launch.threads > gpu.block_threads:
            raise CodegenError(
                f"a block of {launch.threads} threads; {gpu.chip} takes {gpu.block_threads}",
                _REMEDY,
            )
        most = gpu.block_shared or gpu.unit_shared
        if launch.shared_bytes > most:
            raise CodegenError(
                f"a block of {launch.shared_bytes} bytes of shared memory; {gpu.chip} has {most}",
                _REMEDY,
            )


def _as_plan(launch: Launch) -> dict[str, Any]:
    """Return a launch as launch plans have them."""
    fields = dataclasses.asdict(launch)
    fields["buffers"] = fields.pop("arguments")
    fields["shared"] = fields.pop("shared_bytes")
    return fields


def _write(path: str, content: dict[str, Any], source: str, gpu: GpuSpec) -> None:
    if gpu.kind == "cuda":
        content["cubin"] = base64.b64encode(_cubin(source, content["launches"], gpu)).decode()
    else:
        content["source"] = source
    Path(path).write_text(json.dumps(content))


def _cubin(source: str, launches: Sequence[dict[str, Any]], gpu: GpuSpec) -> bytes:
    from tvm_mobilenet.artifact.toolchain_cuda import find_nvcc

    made = find_nvcc().cubin(source, gpu.arch)
    for launch in launches:
        threads = launch["block"][0] * launch["block"][1] * launch["block"][2]
        registers = made.resources[launch["kernel"]].registers
        if not gpu.resident_blocks(threads, registers, launch["shared"]):
            raise CodegenError(
                f"a block of {threads} threads with {registers} registers each; {gpu.chip} has "
                f"{gpu.unit_registers} in a unit",
                _REMEDY,
            )
    return made.code


def _steps(gpu: GpuSpec) -> int:
    """Return the multiply-adds of a chain that take about as long as is wanted."""
    macs = gpu.fp32_macs * gpu.clock_mhz * 1e6 * _CONTROL_S  # of a unit
    return max(int(macs / (_BLOCKS_OF_A_UNIT * CONTROL_THREADS * CONTROL_CHAINS)), 16)


def _control_source(gpu: GpuSpec) -> str:
    chains = range(CONTROL_CHAINS)
    head, number = {
        "cuda": (
            'extern "C" __global__ void control(float* y)',
            "blockIdx.x * blockDim.x + threadIdx.x",
        ),
        "opencl": ("__kernel void control(__global float* y)", "get_global_id(0)"),
    }[gpu.kind]
    start = " ".join(f"float a{i} = y[at] + {i}.0f;" for i in chains)
    step = " ".join(f"a{i} = a{i} * x + 1e-6f;" for i in chains)
    total = " + ".join(f"a{i}" for i in chains)
    return (
        f"{head} {{\n  unsigned int at = {number};\n  float x = 0.999f + y[at];\n  {start}\n"
        f"  for (int i = 0; i < {_steps(gpu)}; ++i) {{ {step} }}\n"
        f"  y[at] = ({total}) * 1e-30f;\n}}\n"
    )

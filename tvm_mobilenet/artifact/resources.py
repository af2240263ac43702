"""What NVIDIA's assembler reports about a kernel: registers, shared memory, spills.

Values for which a thread has no register go to memory (a spill). Registers and shared memory
determine how many blocks a multiprocessor holds at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tvm_mobilenet.errors import ToolchainError
from tvm_mobilenet.machine import GpuSpec

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel uses of a multiprocessor.

    Attributes
    ----------
    registers : int
        32-bit registers of a thread.
    shared_bytes : int
        Static shared memory of a block, bytes.
    spill_bytes : int
        Bytes that a thread's code stores to memory and loads back for want of registers.
    stack_bytes : int
        Stack of a thread, bytes: arrays with indices that the compiler does not know, and spills.
    """

    registers: int
    shared_bytes: int
    spill_bytes: int
    stack_bytes: int

    def blocks(self, gpu: GpuSpec, threads: int) -> int:
        """Return how many blocks of `threads` threads a multiprocessor holds at a time."""
        return gpu.resident_blocks(threads, self.registers, self.shared_bytes)

    def occupancy(self, gpu: GpuSpec, threads: int) -> float:
        """Return the share of a multiprocessor's threads that blocks of this kernel fill."""
        return self.blocks(gpu, threads) * threads / gpu.unit_threads

    def to_dict(self) -> dict[str, int]:
        """Return the fields, for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Resources:
        """Rebuild what :meth:`to_dict` wrote."""
        return cls(**{name: int(value) for name, value in data.items()})


def read_report(text: str) -> dict[str, Resources]:
    """Read what ``ptxas -v`` printed.

    Parameters
    ----------
    text : str
        Three lines for each kernel: its name, its stack and spills, its registers and
        shared memory. All other lines are ignored.

    Returns
    -------
    dict of str to Resources
        Resources by the kernel's name, in the order of the report.

    Raises
    ------
    ToolchainError
        A kernel lacks a line, because the assembler is not the one that is known here.
    """
    parts = _ENTRY.split(text)
    found = {}
    for name, body in zip(parts[1::3], parts[3::3], strict=True):
        frame, used = _FRAME.search(body), _USED.search(body)
        if frame is None or used is None:
            raise ToolchainError(
                f"ptxas reports {name} in words that are not known here:\n{body.strip()}",
                "compile with nvcc 13",
            )
        stack, stores, loads = map(int, frame.groups())
        shared = _SHARED.search(body)
        found[name] = Resources(
            int(used.group(1)), int(shared.group(1)) if shared else 0, stores + loads, stack
        )
    return found

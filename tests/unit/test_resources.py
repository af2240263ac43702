"""nvcc's report, what of a multiprocessor a kernel takes, and machine code in TVM's packing."""

from __future__ import annotations

import struct

import pytest

from tvm_mobilenet.artifact.resources import Resources, read_report
from tvm_mobilenet.errors import ToolchainError
from tvm_mobilenet.machine import GPUS

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'pool_kernel' for 'sm_90'
ptxas info    : Function properties for pool_kernel
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Compile time = 2.198 ms
ptxas info    : Compiling entry function 'pointwise_kernel' for 'sm_90'
ptxas info    : Function properties for pointwise_kernel
    48 bytes stack frame, 44 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 16384 bytes smem, 8 bytes cmem[2]
ptxas info    : Compile time = 12.198 ms
"""


def test_the_report_is_read_kernel_by_kernel() -> None:
    assert read_report(REPORT) == {
        "pool_kernel": Resources(10, 0, 0, 0),
        "pointwise_kernel": Resources(128, 16384, 80, 48),
    }


def test_a_report_in_other_words_is_refused() -> None:
    with pytest.raises(ToolchainError, match="pool_kernel in words that are not known"):
        read_report(REPORT.replace("Used 10 registers", "10 registers used"))


@pytest.mark.parametrize(
    ("arch", "used", "threads", "blocks"),
    [
        ("sm_90", Resources(32, 0, 0, 0), 256, 8),  # threads: 2048
        ("sm_86", Resources(32, 0, 0, 0), 256, 6),  # threads: 1536
        ("sm_90", Resources(128, 0, 0, 0), 256, 2),  # registers: 65536
        ("sm_90", Resources(16, 0, 0, 0), 32, 32),  # blocks
        ("sm_90", Resources(32, 48 << 10, 0, 0), 128, 4),  # 228 KiB, of each block 1 KiB more
        ("sm_75", Resources(32, 32 << 10, 0, 0), 128, 2),  # 64 KiB
        ("sm_75", Resources(255, 0, 0, 0), 1024, 0),  # more registers than there are
    ],
)
def test_blocks_that_a_multiprocessor_holds(
    arch: str, used: Resources, threads: int, blocks: int
) -> None:
    assert used.blocks(GPUS[arch], threads) == blocks
    assert used.occupancy(GPUS[arch], threads) == blocks * threads / GPUS[arch].unit_threads


def test_resources_survive_a_manifest() -> None:
    used = Resources(128, 16384, 80, 48)
    assert Resources.from_dict(used.to_dict()) == used


def string(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def packed(kind: bytes, code: bytes) -> bytes:
    """A virtual machine's bytecode with "cuda" in it, host code, and a CUDA module."""
    content = string(kind) + string(b"[functions]") + string(code)
    modules = string(b"relax.VMExecutable") + string(b"bytecode " + string(b"cuda") + b" more")
    modules += string(b"_lib") + string(b"cuda") + string(content)
    modules += string(b"_import_tree") + b"\1\2\3"
    return string(modules)


def test_machine_code_takes_the_place_of_source() -> None:
    from tvm_mobilenet.emit.relax.codegen_cuda import with_binary

    source = b"__global__ void k() {}"
    assert with_binary(packed(b"cuda", source), source, b"\x7fELF") == packed(b"cubin", b"\x7fELF")

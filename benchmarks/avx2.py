"""MobileNet V1 as AVX2 code against ONNX Runtime restricted to AVX2, on a machine with more.

    python benchmarks/avx2.py --alpha 1.0 --resolution 224

ONNX Runtime has no option for it. MLAS, its kernel library, asks the processor once, and
takes one branch if it finds AVX-512 (the state that the operating system saves, XCR0 bits 5
to 7); a copy of the library in a temporary folder has that branch taken out. The copy is
loaded by bench's worker processes alone, and deleted.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import tvm_mobilenet as tm

_ASKS = bytes.fromhex("f7d0 a8e0 0f84")
"""not eax; test al, 0xe0; je (AVX-512's kernels)."""

_JUMP_BYTES = 6
_NOP = b"\x90"


def without_avx512(folder: Path) -> None:
    """Copy ONNX Runtime into a folder, restricted to AVX2.

    Raises
    ------
    SystemExit
        It is not installed, or this version asks in another way.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        sys.exit("onnxruntime is not installed: pip install onnxruntime")
    shutil.copytree(Path(spec.origin).parent, folder / "onnxruntime")
    (library,) = (folder / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so")
    code = bytearray(library.read_bytes())
    if code.count(_ASKS) != 1:
        sys.exit("this version of onnxruntime asks for AVX-512 in a way that is not known here")
    jump = code.index(_ASKS) + len(_ASKS) - 2
    code[jump : jump + _JUMP_BYTES] = _NOP * _JUMP_BYTES
    library.write_bytes(code)


def main() -> None:
    """Compile, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    model = tm.mobilenet_v1(alpha=options.alpha, resolution=options.resolution)
    compiled = tm.compile(model, target="x86-64-v3")
    with tempfile.TemporaryDirectory() as folder:
        without_avx512(Path(folder))
        sys.path.insert(0, folder)
        report = tm.bench(compiled.path, threads=options.threads, against=["onnxruntime"])
    print(f"{report.model}, AVX2 only\n")
    print("| threads | runtime | median ms | share of AVX2's peak |\n|---:|---|---:|---:|")
    for row in report.rows:
        bound = 2 * report.macs / report.peak_gflops[row.threads] / 1e6
        name = row.runtime + (" without AVX-512" if row.runtime == "onnxruntime" else "")
        print(f"| {row.threads} | {name} | {row.median_ms:.2f} | {bound / row.median_ms:.1%} |")


if __name__ == "__main__":
    main()

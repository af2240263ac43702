"""Where nvcc is looked for, and what is said where it is not, or fails."""

from __future__ import annotations

import ctypes
import stat
from pathlib import Path

import pytest

from tvm_mobilenet.artifact import toolchain_cuda
from tvm_mobilenet.artifact.toolchain_cuda import Nvcc, find_nvcc
from tvm_mobilenet.errors import RuntimeLibraryError, ToolchainError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without nvcc; the folder stands for pip's packages."""
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain_cuda, "_SYSTEM", tmp_path / "none")
    monkeypatch.setattr(toolchain_cuda, "cuda_packages", lambda: iter([tmp_path / "cu13"]))
    return tmp_path


def program(path: Path, script: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(stat.S_IRWXU)
    return path


def test_nowhere(bare: Path) -> None:
    with pytest.raises(ToolchainError, match=r"(?s)no CUDA compiler.*tvm-mobilenet\[cuda\]"):
        find_nvcc()


def test_the_order_of_places(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "none" / "bin" / "nvcc")
    assert find_nvcc().origin == "system"
    program(bare / "cu13" / "bin" / "nvcc")
    assert find_nvcc().origin == "pip"
    program(bare / "nvcc")
    assert find_nvcc().origin == "PATH"
    program(bare / "home" / "bin" / "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(bare / "home"))
    assert find_nvcc() == Nvcc(str(bare / "home" / "bin" / "nvcc"), "CUDA_HOME")


def test_a_wrong_home_is_not_passed_over(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(bare / "gone"))
    with pytest.raises(ToolchainError, match=r"CUDA_HOME is .*gone, which has no bin/nvcc"):
        find_nvcc()


def test_what_nvcc_says_is_told(tmp_path: Path) -> None:
    failing = program(tmp_path / "nvcc", "#!/bin/sh\necho \"Unsupported gpu '$2'\"\nexit 3\n")
    with pytest.raises(ToolchainError, match=r"(?s)status 3: .*Unsupported gpu '-arch=sm_10'"):
        Nvcc(str(failing), "PATH").cubin("", "sm_10")


def test_an_nvcc_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"cannot run .*gone: No such file"):
        Nvcc(str(tmp_path / "gone"), "PATH").cubin("", "sm_90")


def test_without_cudas_runtime_pips_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm_mobilenet.runtime import cuda
    from tvm_mobilenet.runtime.tvm_library import load_runtime

    def refuse(path: str, mode: int = 0) -> None:
        raise OSError(f"{path}: not found")

    ffi = load_runtime()
    if ffi.get_global_func("device_api.cuda", allow_missing=True) is not None:
        pytest.skip("this machine has CUDA's runtime, loaded already")
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(RuntimeLibraryError, match=r"(?s)no libcudart.so.13.*nvidia-cuda-runtime"):
        cuda.load_cuda_runtime(ffi)

"""One kernel as a library with the C interface: what is measured is called as what is shipped."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm

from tvm_mobilenet.artifact.calls import Buffer, KernelCall, NetworkCalls, View
from tvm_mobilenet.artifact.kernel_symbols import rename_for_two_doors
from tvm_mobilenet.artifact.native_header import NATIVE, PREFIX
from tvm_mobilenet.artifact.native_source import network_source
from tvm_mobilenet.artifact.sources import MANIFEST, WEIGHTS
from tvm_mobilenet.artifact.toolchain import Linker, find_linker
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.emit.relax.workspace import scratch_bytes
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.llvm import generating

_OPTIONS = ("-O2", "-std=gnu11", "-fvisibility=hidden", "-pthread", f"-I{NATIVE}")
_BESIDE = f"""
const char {MANIFEST}[] = "", {WEIGHTS}_data[1];

struct turn {{
  const void* const* inputs;
  void* const* outputs;
}};

TMN_PUBLIC tvm_mobilenet_status {PREFIX}_turns(tvm_mobilenet_context* context,
                                               const struct turn* turns, int32_t count,
                                               int32_t first, int32_t times) {{
  tvm_mobilenet_status status = TVM_MOBILENET_OK;
  for (int32_t i = 0; i < times && !status; i++) {{
    const struct turn* turn = &turns[(first + i) % count];
    status = tvm_mobilenet_run(context, turn->inputs, turn->outputs);
  }}
  return status;
}}
"""
"""Manifest and weights, which one kernel has not; a function that makes calls on sets of arguments
in turns, as a tuner times them."""


def write_kernel(mod: Any, target: TargetSpec, path: str | os.PathLike[str]) -> None:
    """Compile a kernel into a network of one call, whose inputs and output are the kernel's.

    Parameters
    ----------
    mod : IRModule
        One scheduled function, its output last.
    target : TargetSpec
        Without a GPU.
    path : path-like
        Shared object to write. Its C functions have the usual prefix.

    Raises
    ------
    ToolchainError, OutputError
        Nothing here links for the target, or not there.
    """
    ((variable, func),) = mod.functions.items()
    views = [_view(number, parameter) for number, parameter in enumerate(func.params)]
    last = len(views) - 1
    calls = NetworkCalls(
        tuple(Buffer("input" if v.buffer < last else "output", v.bytes) for v in views),
        (KernelCall(variable.name_hint, tuple(views)),),
        (views[-1],),
    )
    tensors = [_described(view) for view in views]
    manifest = {
        "inputs": tensors[:-1],
        "outputs": tensors[-1:],
        "needs": target.needs,
        "machine": target.machine,
    }
    source = network_source(calls, scratch_bytes(mod), manifest) + _BESIDE
    linker = find_linker(target)

    def link(output: str, objects: Sequence[str], *_: object, **__: object) -> None:
        for made in objects:
            rename_for_two_doors(made)
        with scratch() as folder:
            network = Path(folder) / "network.o"
            network.write_bytes(_network(linker, source))
            linker.link([*objects, network], output, ["-pthread", "-Wl,-Bsymbolic"])

    with generating(target):
        executable = tvm.compile(mod, target=tvm.target.Target(target.tvm_dict()))
    executable.export_library(os.fspath(path), fcompile=link)


@functools.lru_cache(maxsize=64)
def _network(linker: Linker, source: str) -> bytes:
    """Compile the C interface of a kernel: candidates of one workload have the same."""
    with scratch() as folder:
        network, native = Path(folder) / "network.c", Path(folder) / "native.o"
        network.write_text(source)
        native.write_bytes(_native(linker))
        return _object(linker, [network, native], Path(folder))


@functools.cache
def _native(linker: Linker) -> bytes:
    """Compile what is the same for every network, once for this process: that takes 0.25 s."""
    with scratch() as folder:
        return _object(linker, sorted(NATIVE.glob("*.c")), Path(folder))


def _object(linker: Linker, parts: Sequence[Path], folder: Path) -> bytes:
    made = folder / "made.o"
    linker.merge(parts, made, _OPTIONS)
    return made.read_bytes()


def _view(number: int, buffer: Any) -> View:
    return View(number, tuple(int(size) for size in buffer.shape), str(buffer.dtype))


def _described(view: View) -> dict[str, Any]:
    return {"name": f"{view.buffer}", "layout": "", "shape": view.shape, "dtype": view.dtype}

"""What the two generations of TVM do differently for a tuner: schedule, compile, load, call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.stacks import Stack, installed_stack, versions_of
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs

TUNERS = {"relax": ("template", "auto"), "relay": ("template", "autotvm", "ansor")}
"""By stack, who can propose. ``template``: evolution over the knobs of our own schedules;
``auto``: MetaSchedule's rules; ``autotvm``: AutoTVM over our schedules as its templates;
``ansor``: the auto scheduler over our definitions."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How a compiled kernel is loaded and called in this process.

    Attributes
    ----------
    from_dlpack : callable
        From an aligned array to a tensor over the same memory.
    load_module : callable
        From a path to a module with ``get_function``.
    get_global_func : callable
        From a name to a function of TVM's runtime.
    """

    from_dlpack: Callable[[Any], Any]
    load_module: Callable[[str], Any]
    get_global_func: Callable[[str], Any]


class _Relax:
    """apache-tvm."""

    stack: Stack = "relax"
    suffix: tuple[str, ...] = ()
    """End of a target's key: the other stack's kernels differ, whatever their knobs are called."""

    def calls(self) -> Calls:
        """Load TVM's runtime alone, without its compiler."""
        from tvm_mobilenet.runtime.tvm_library import load_runtime

        ffi = load_runtime()
        return Calls(ffi.from_dlpack, ffi.load_module, ffi.get_global_func)

    def build_kernel(self, work: Workload, target: TargetSpec, knobs: Knobs, path: str) -> None:
        """Compile a candidate into a shared object, its function named by the workload's key."""
        import tvm

        from tvm_mobilenet.compute.primfunc import prim_func
        from tvm_mobilenet.schedules.tensorir.rules import schedule
        from tvm_mobilenet.tuning.gpu_build import write_candidate

        done = schedule(prim_func(work), target, knobs)
        assert done is not None
        func = done.func.with_attr("global_symbol", work.key)
        if target.gpu is not None:
            write_candidate(func, work.key, target, path)
            return
        self._compile(tvm.IRModule({work.key: func}), target, path)

    def build_control(self, target: TargetSpec, steps: int, path: str) -> None:
        """Compile chains of so many multiply-adds in registers, on all threads or units."""
        from tvm_mobilenet.bench.peak import chains_module
        from tvm_mobilenet.tuning.gpu_build import write_control

        if target.gpu is not None:
            write_control(target, path)
            return
        self._compile(chains_module(target.cores, target.lanes, steps), target, path)

    @staticmethod
    def _compile(mod: Any, spec: TargetSpec, path: str) -> None:
        import tvm

        from tvm_mobilenet.artifact.toolchain import find_linker

        executable = tvm.compile(mod, target=tvm.target.Target(spec.tvm_dict()))
        executable.export_library(path, fcompile=find_linker(spec).fcompile)


class _Relay:
    """TVM 0.19."""

    stack: Stack = "relay"
    suffix: tuple[str, ...] = ("relay",)

    def calls(self) -> Calls:
        import tvm

        return Calls(tvm.nd.from_dlpack, tvm.runtime.load_module, tvm.get_global_func)

    def build_kernel(self, work: Workload, target: TargetSpec, knobs: Knobs, path: str) -> None:
        from tvm_mobilenet.emit.relay.kernels import export, lowered

        export(lowered(work, target, knobs), target, path)

    def build_control(self, target: TargetSpec, steps: int, path: str) -> None:
        from tvm_mobilenet.bench.peak import chains_module
        from tvm_mobilenet.emit.relay.kernels import export

        export(chains_module(target.cores, target.lanes, steps), target, path)


@functools.cache
def generation() -> _Relax | _Relay:
    """Return that of this environment; the tuner asks for the stack nowhere else."""
    return _Relay() if installed_stack() == "relay" else _Relax()


def tvm_version() -> str:
    """Return the version of this environment's TVM, as trials and records name it."""
    return next(iter(versions_of(generation().stack).values()))

"""What the two generations of TVM do differently for a tuner: schedule, compile, load, call."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.common.stacks import Stack, installed_stack, versions_of
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs

TUNERS = {"relax": ("template", "auto"), "relay": ("template", "autotvm", "ansor")}
"""By stack, who can propose. ``template``: evolution over the knobs of our own schedules;
``auto``: MetaSchedule's rules; ``autotvm``: AutoTVM over our schedules as its templates;
``ansor``: the auto scheduler over our definitions."""


Kernel = Callable[[Any, int, int], None]
"""Makes calls in a row: on which turns, beginning with which of them, how many."""


class _Relax:
    """apache-tvm."""

    stack: Stack = "relax"
    suffix: tuple[str, ...] = ()
    """End of a target's key: the other stack's kernels differ, whatever their knobs are called."""

    @staticmethod
    def turns(arrays: Sequence[Sequence[NDArray[Any]]]) -> Any:
        """Make arguments of a kernel, its output last, into what calls take in turns."""
        from tvm_mobilenet.runtime.kernel_library import Turns

        return Turns(arrays)

    @staticmethod
    def load(path: str, name: str, threads: int) -> Kernel:
        """Load a kernel that was built here."""
        from tvm_mobilenet.runtime.kernel_library import LoadedKernel

        return LoadedKernel(path, threads)

    def build_kernel(self, work: Workload, target: TargetSpec, knobs: Knobs, path: str) -> None:
        """Compile a candidate into a shared object, its function named by the workload's key."""
        import tvm

        from tvm_mobilenet.emit.relax.kernel_library import write_kernel
        from tvm_mobilenet.tuning.gpu_build import write_candidate

        func = _scheduled(work, target, knobs).with_attr("global_symbol", work.key)
        if target.gpu is not None:
            write_candidate(func, work.key, target, path)
            return
        write_kernel(tvm.IRModule({work.key: func}), target, path)

    def build_control(self, target: TargetSpec, steps: int, path: str) -> None:
        """Compile chains of so many multiply-adds in registers, on all threads or units."""
        from tvm_mobilenet.bench.peak import chains_module
        from tvm_mobilenet.emit.relax.kernel_library import write_kernel
        from tvm_mobilenet.tuning.gpu_build import write_control

        if target.gpu is not None:
            write_control(target, path)
            return
        write_kernel(chains_module(target.cores, target.lanes, steps), target, path)


def _scheduled(work: Workload, target: TargetSpec, knobs: Knobs) -> Any:
    """Return a kernel's function with its loops: written so, or scheduled."""
    from tvm_mobilenet.compute.primfunc import prim_func
    from tvm_mobilenet.schedules.tensorir.cpu.written import written
    from tvm_mobilenet.schedules.tensorir.rules import schedule

    if work.written:
        return written(work, knobs, target)
    done = schedule(prim_func(work), target, knobs)
    assert done is not None
    return done.func


class _Relay:
    """TVM 0.19."""

    stack: Stack = "relay"
    suffix: tuple[str, ...] = ("relay",)

    @staticmethod
    def turns(arrays: Sequence[Sequence[NDArray[Any]]]) -> Any:
        import tvm

        return [tuple(map(tvm.nd.from_dlpack, one)) for one in arrays]

    @staticmethod
    def load(path: str, name: str, threads: int) -> Kernel:
        import tvm

        from tvm_mobilenet.runtime.threads import use_threads

        use_threads(tvm, threads)
        function = tvm.runtime.load_module(path).get_function(name)

        def kernel(turns: Any, first: int, times: int) -> None:
            for arguments in itertools.islice(itertools.cycle(turns), first, first + times):
                function(*arguments)

        return kernel

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

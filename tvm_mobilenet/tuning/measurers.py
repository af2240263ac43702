"""Who measures candidates: picked once for a run, and refused where nobody can."""

from __future__ import annotations

from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.host import host_cpu_features, host_libc, host_machine
from tvm_mobilenet.machine.quota import usable_cores
from tvm_mobilenet.tuning.board_measurer import BoardMeasurer
from tvm_mobilenet.tuning.board_pool import BoardPool
from tvm_mobilenet.tuning.generation import generation
from tvm_mobilenet.tuning.local_measurer import LocalMeasurer
from tvm_mobilenet.tuning.measurer import Measurer
from tvm_mobilenet.tuning.task import Settings


def find_measurer(target: TargetSpec, settings: Settings, pool: BoardPool | None) -> Measurer:
    """Return who measures what is compiled for a target: this machine, or a pool of boards.

    Raises
    ------
    TuningError
        Nobody does.
    NoGpuError, GpuArchitectureError, GpuDriverError
        There is no such GPU here.
    """
    if target.gpu is not None:
        _check_gpu(target, pool)
    elif pool is None:
        _check_here(target)
    return LocalMeasurer(target, settings) if pool is None else BoardMeasurer(pool, settings)


def _check_gpu(target: TargetSpec, pool: BoardPool | None) -> None:
    """Refuse a GPU that nothing here runs code on."""
    if generation().stack == "relay":
        raise TuningError(
            f"the classic stack tunes for processors, not for {target.name}",
            "tune with the main stack; the classic one's schedules go by the same rules",
        )
    if pool is not None or target.the_gpu.kind == "metal":
        where = pool.address if pool else "this machine"
        raise TuningError(
            f"kernels for {target.name} cannot be measured on {where}",
            "tune on the machine that has the GPU, with --device local; Metal not at all",
        )


def _check_here(target: TargetSpec) -> None:
    """Refuse a target that this machine cannot run."""
    missing = sorted(set(target.needs) - host_cpu_features())
    if (target.machine, target.libc) != (host_machine(), host_libc()) or missing:
        lacks = f"this processor lacks {', '.join(missing)}" if missing else "this is another"
        raise TuningError(
            f"{target.name} cannot be measured here: {lacks}", "tune on a machine of that kind"
        )
    if target.cores > usable_cores():
        raise TuningError(
            f"{target.name} is planned for {target.cores} cores, and this process has "
            f"{usable_cores()}",
            "give --cores",
        )

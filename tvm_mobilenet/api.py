"""The package as functions: compile, tune, explain; load, verify, bench, profile.

The command line calls these. What is done with an artifact is in
:mod:`tvm_mobilenet.using`, whose functions are also this module's.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.compile_report import CompileReport
from tvm_mobilenet.compiled import Compiled
from tvm_mobilenet.compiling import compile  # noqa: A004  as in torch.compile
from tvm_mobilenet.errors import InputError, RecordsWarning, TuningError
from tvm_mobilenet.lists import check_one_of, number
from tvm_mobilenet.prediction.fusion import FUSIONS
from tvm_mobilenet.stacks import installed_stack
from tvm_mobilenet.target import TargetSpec, parse
from tvm_mobilenet.using import bench, load, profile, verify

if TYPE_CHECKING:
    from tvm_mobilenet.compiling import ModelLike
    from tvm_mobilenet.graph.explain import Explanation
    from tvm_mobilenet.prediction.fusion import Fusion
    from tvm_mobilenet.tuning.status import Status
    from tvm_mobilenet.tuning.store import RecordsLike
    from tvm_mobilenet.tuning.tuning_report import TuningReport

__all__ = [
    "CompileReport",
    "Compiled",
    "bench",
    "compile",
    "explain",
    "load",
    "profile",
    "tune",
    "verify",
]


def tune(
    model: ModelLike,
    *,
    trials: int,
    target: str | TargetSpec = "native",
    log_dir: str | os.PathLike[str] = "tuning",
    tuner: str = "template",
    device: str = "local",
    cores: int | None = None,
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    progress: Callable[[Status], object] = lambda _: None,
    **settings: Any,
) -> TuningReport:
    """Search the knobs of every kernel that compiling would call, and keep the best.

    What was measured is remembered, so that the same call continues where another
    ended, however it ended. ``compile(..., records=log_dir)`` uses the result.

    Parameters
    ----------
    model : Model, Imported or path-like
    trials : int
        Candidates to try, those of this tuner's earlier runs included, shared out by what
        each kernel costs the network; 0 keeps the best of what was tried.
    target : str or TargetSpec
        As for :func:`compile`; of what measures, which is what ``native`` stands for.
        Its cores are the threads.
    log_dir : path-like
        Folder of the history and the records; made if it is not there.
    tuner : {"template", "auto", "autotvm", "ansor"}
        Who proposes candidates: evolution over the knobs of our own schedules, or over what
        MetaSchedule's rules generate from the same definitions; on the classic stack
        AutoTVM over our schedules, or Ansor over the definitions. Each has its own budget.
    device : str
        Who measures: this machine, or as for :func:`tvm_mobilenet.open_device`. All
        boards under a tracker's key measure side by side.
    cores : int, optional
        Instead of the target's.
    fusion : {"auto", "all", "none"}
        As for :func:`compile`: which kernels there are.
    records : path-like or False, optional
        As for :func:`compile`; of these, only what they say about fusion, which is copied
        to `log_dir`.
    progress : callable
        Told a :class:`~tvm_mobilenet.tuning.status.Status` after every trial.
    **settings
        ``cool_down``, ``build_limit``, ``measure_limit``, ``search_limit``, ``open_limit``,
        ``board_limit``, ``quarantine``, ``seed``: see
        :class:`tvm_mobilenet.tuning.task.Settings`.

    Returns
    -------
    TuningReport

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, TargetError
        What was asked for makes no sense.
    TuningError
        A setting makes no sense; nothing here measures for the target, or nothing builds.
    DeviceError
        No board, or none for as long as ``board_limit``; what was measured is kept.
    InputError
        There is no such `fusion`.
    RecordsError, RecordsBusyError, OutputError
        The folder cannot be read, is being written by somebody else, or takes nothing.
    """
    from tvm_mobilenet.models.network import model_from
    from tvm_mobilenet.target import validate_with_llvm
    from tvm_mobilenet.tuning.board_pool import check_board, find_pool
    from tvm_mobilenet.tuning.generation import TUNERS
    from tvm_mobilenet.tuning.store import records_for
    from tvm_mobilenet.tuning.task import Settings
    from tvm_mobilenet.tuning.tune import tune as run

    check_one_of(fusion, FUSIONS, "fusion", InputError)
    model = model_from(model)
    spec = target if isinstance(target, TargetSpec) else parse(target)
    if tuner not in (known := TUNERS[installed_stack()]):
        raise TuningError(
            f"there is no tuner {tuner!r} on the {installed_stack()} stack",
            f"choose {' or '.join(known)}",
        )
    how = Settings(trials, tuner=tuner, **settings)
    pool = None
    if device != "local":
        pool, board = find_pool(device, how.open_limit)
        spec = board.target if target == "native" else spec
    if cores is not None:
        spec = dataclasses.replace(spec, cores=cores)
    if pool is not None:
        check_board(spec, board)
    validate_with_llvm(spec)
    return run(
        model,
        spec,
        Path(log_dir),
        how,
        fusion=fusion,
        found=records_for(spec, records),
        tell=progress,
        pool=pool,
    )


def explain(
    model: ModelLike,
    *,
    target: str | TargetSpec = "native",
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    threads: int | str | None = None,
    strassen: bool = False,
) -> Explanation:
    """Predict what compiling would choose and each kernel take; nothing is compiled.

    Parameters
    ----------
    model : Model, Imported or path-like
    target : str or TargetSpec
        As for :func:`compile`; need not be this machine.
    fusion : {"auto", "all", "none"}
        As for :func:`compile`.
    records : path-like or False, optional
        As for :func:`compile`; they decide about fusion, knobs are predicted by rule.
    threads : int or str, optional
        That run it, at most the target's cores; all of them by default.
    strassen : bool
        As for :func:`compile`.

    Returns
    -------
    Explanation

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, TargetError, RecordsError
        What was asked for makes no sense.
    InputError
        More threads than the target has cores, or none; no such `fusion`.
    """
    from tvm_mobilenet.graph.explain import explain as predict
    from tvm_mobilenet.models.network import model_from
    from tvm_mobilenet.tuning.store import records_for

    check_one_of(fusion, FUSIONS, "fusion", InputError)
    model = model_from(model)
    spec = target if isinstance(target, TargetSpec) else parse(target)
    threads = None if threads is None else number(threads, "threads")
    if threads is not None and not 1 <= threads <= spec.cores:
        raise InputError(
            f"{threads} threads asked for; {spec.name} has {spec.cores} cores",
            f"choose between 1 and {spec.cores}, or plan for others with --cores",
        )
    found = records_for(spec, records)
    for problem in found.problems:
        warnings.warn(RecordsWarning(problem), stacklevel=2)
    return predict(
        model,
        spec,
        fusion=fusion,
        fusion_for=found.fusion_for,
        threads=threads,
        strassen=strassen,
    )

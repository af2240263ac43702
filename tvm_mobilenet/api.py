"""The package as functions: compile, tune, explain; load, verify, bench, profile.

The command line calls these. What is done with an artifact is in
:mod:`tvm_mobilenet.compilation.using`, whose functions are also this module's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.artifact.emission import SHARED, Emit
from tvm_mobilenet.artifact.native_header import PREFIX
from tvm_mobilenet.common.lists import number
from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.compilation.compiled import Compiled
from tvm_mobilenet.compilation.options import CompileOptions, PlanOptions, tell
from tvm_mobilenet.compilation.report import CompileReport
from tvm_mobilenet.compilation.stack import this_stack
from tvm_mobilenet.compilation.using import bench, evaluate, load, profile, verify
from tvm_mobilenet.errors import InputError, TuningError
from tvm_mobilenet.machine import Dtype, TargetSpec, validate_with_llvm
from tvm_mobilenet.models.network import KeptAs, planned_from
from tvm_mobilenet.prediction.fusion import Fusion

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.options import ModelLike, WeightsLike
    from tvm_mobilenet.models.quantized.model import Quantization
    from tvm_mobilenet.models.spec import Model
    from tvm_mobilenet.network.explanation import Explanation
    from tvm_mobilenet.tuning.status import Status
    from tvm_mobilenet.tuning.store import RecordsLike
    from tvm_mobilenet.tuning.tuning_report import TuningReport

__all__ = [
    "CompileReport",
    "Compiled",
    "bench",
    "compile",
    "evaluate",
    "explain",
    "load",
    "profile",
    "tune",
    "verify",
]


def compile(  # noqa: A001  as in torch.compile and tvm.compile
    model: ModelLike,
    *,
    target: str | TargetSpec = "native",
    weights: WeightsLike | None = None,
    seed: int = 0,
    preprocess: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    verify: bool = True,
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    require_records: bool = False,
    host: str | None = None,
    dtype: Dtype | None = None,
    dump_ir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    stack: Stack | None = None,
    prefix: str = PREFIX,
    emit: Emit = SHARED,
    calibration: str | os.PathLike[str] | None = None,
    pixels: bool = False,
) -> Compiled:
    """Compile a model for a target.

    Parameters
    ----------
    model : Model, Imported or path-like
        From :func:`tvm_mobilenet.mobilenet_v1` or :func:`tvm_mobilenet.import_onnx`; or a
        model's name, or the path of an ``.onnx`` file.
    target : str or TargetSpec
        ``"native"``, a preset, an LLVM triple with ``--mcpu`` and ``--mattr``, TVM's
        JSON, or a GPU such as ``"sm_90"`` or ``"opencl"``.
    weights : path-like or mapping, optional
        ``"pretrained"``; ``"hf-hub:OWNER/NAME"``; an ``.npz``, ``.safetensors`` or
        ``torch.save`` file with our names, torchvision's or timm's; or arrays by our names.
        Without, they are random. From a checkpoint whose source is known the model also
        takes the epsilon and the padding, where it was not asked for others.
    seed : int
        What random weights are made from, where none are given.
    preprocess : str, path-like or mapping, optional
        What images go through before they are the input, for the manifest:
        ``"torchvision"``, ``"tf"``, ``"none"``, or a recipe, see
        :mod:`tvm_mobilenet.runtime.recipe`. By default what the weights say, else
        torchvision's.
    verify : bool
        Whether to check the artifact against the reference, if it runs here. Where it is not
        checked so, what was read from an ONNX file is still compared with onnx's own evaluator
        on this machine.
    fusion : {"auto", "all", "none"}
        Which layers share a kernel: those for which a record or else
        :mod:`tvm_mobilenet.prediction.fusion` says so, all that can, none.
    records : path-like or False, optional
        Folder of tuning records, instead of the package's own; False for rules only.
        A RecordsWarning names each that is there for this target and cannot be used.
    require_records : bool
        Whether every kernel that has knobs must find them in a record.
    host : str, optional
        The processor beside a GPU, which the host code is for; by default any of this
        machine's architecture.
    dtype : {"float32", "float16", "bfloat16", "int8"}, optional
        What maps and weights are stored as: float16 by GPUs and ARM's processors, bfloat16 by
        processors that multiply it (docs/bfloat16.md). Or int8 for a processor: the network
        computes in integers, by ranges that `calibration` gives.
    dump_ir : path-like, optional
        Folder for the module after each phase.
    device : str, optional
        A board to compile for, see :func:`tvm_mobilenet.open_device`: it says what
        ``native`` is there, and the artifact is checked there.
    stack : {"relax", "relay"}, optional
        The one of this environment by default, and no other can be had here. Relay has
        no CUDA and no float16.
    prefix : str
        What the names of the artifact's C functions begin with, see :attr:`Compiled.header`:
        two networks in one program need different ones.
    emit : {"so", "a", "object", "c-header"}
        What :meth:`Compiled.export` writes: a shared object, with TVM's interface and C's; a
        static archive or one relocatable object, which have C's only and show a program no
        other names; or the header alone, for which nothing is linked and verified. An archive
        or object is verified as a shared object of the same code.
    calibration : path-like, optional
        Folder of images to quantise by, where `dtype` is int8; :func:`tvm_mobilenet.quantize` has
        more to choose, and says what it cost.
    pixels : bool
        Whether that network shall take pixels as they are, uint8 from 0 to 255: mean and
        deviation of the preprocessing go into its first convolution.

    Returns
    -------
    Compiled
        Its file lies in a temporary folder that lives as long as this object.

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, WeightsError, PreprocessError, TargetError
        What was asked for makes no sense.
    RecordsError, MissingRecordsError
        The folder of records cannot be read; kernels without one, where required.
    ToolchainError
        Nothing here links, or compiles CUDA, for the target.
    VerificationError
        The compiled network is wrong; nothing is returned.
    DeviceError, AbiError
        The board cannot be reached, has another TVM, or failed.
    StackError
        This environment has the other stack.
    InputError
        There is no such `fusion` or `emit`; C names cannot begin with `prefix`.
    QuantizationError, ImageError
        The network cannot be quantised by these images, or there are none.
    CInterfaceError
        `prefix` or `emit` asks for C functions that the artifact cannot have.
    """
    from tvm_mobilenet.compilation.compile import compile_network

    options = CompileOptions(
        target=target,
        weights=weights,
        seed=seed,
        preprocess=preprocess,
        verify=verify,
        fusion=fusion,
        records=records,
        require_records=require_records,
        host=host,
        dtype=dtype,
        dump_ir=dump_ir,
        device=device,
        stack=stack,
        prefix=prefix,
        calibration=calibration,
        pixels=pixels,
        emit=emit,
    )
    return compile_network(model, options)


def tune(
    model: ModelLike,
    *,
    trials: int,
    target: str | TargetSpec = "native",
    log_dir: str | os.PathLike[str] = "tuning",
    tuner: str = "template",
    device: str = "local",
    cores: int | None = None,
    dtype: Dtype | None = None,
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
        As for :func:`compile`.
    trials : int
        Candidates to try, those of this tuner's earlier runs included, shared out by what
        each kernel costs the network; 0 keeps the best of what was tried.
    target : str or TargetSpec
        As for :func:`compile`; ``native`` is what measures. Its cores are the threads.
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
    dtype : {"float32", "float16", "bfloat16", "int8"}, optional
        As for :func:`compile`. In int8 the network needs no images: its kernels do not depend on
        ranges, and what is kept holds however it is calibrated.
    fusion : {"auto", "all", "none"}
        As for :func:`compile`: which kernels there are.
    records : path-like or False, optional
        As for :func:`compile`; only what they say about fusion counts, and is copied to
        `log_dir`.
    progress : callable
        Told a :class:`~tvm_mobilenet.tuning.status.Status` after every trial.
    **settings
        ``cool_down``, ``build_limit``, ``measure_limit``, ``search_limit``, ``open_limit``,
        ``board_limit``, ``quarantine``, ``seed``: see
        :class:`tvm_mobilenet.tuning.task.Settings`.

    Returns
    -------
    TuningReport
        What became of each kernel by all its trials, those of earlier runs included.

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
    from tvm_mobilenet.tuning.board_pool import check_board, find_pool
    from tvm_mobilenet.tuning.generation import TUNERS
    from tvm_mobilenet.tuning.task import Settings
    from tvm_mobilenet.tuning.tune import tune as run

    options = PlanOptions(target=target, cores=cores, dtype=dtype, fusion=fusion, records=records)
    (model, integers, kept_as), stack = _planned(model, dtype), this_stack().name
    if tuner not in TUNERS[stack]:
        raise TuningError(
            f"there is no tuner {tuner!r} on the {stack} stack",
            f"choose {' or '.join(TUNERS[stack])}",
        )
    how = Settings(trials, tuner=tuner, **settings)
    pool = None
    if device != "local":
        pool, board = find_pool(device, how.open_limit)
        if target == "native":
            stored = "float32" if dtype in (None, "int8") else dtype
            options = dataclasses.replace(options, target=board.target.storing(stored), dtype=None)
        check_board(options.spec, board)
    options = options.keeping(kept_as)
    spec = options.spec
    if spec.half_products:
        raise TuningError(
            f"kernels on {spec.dtype} have no tuner yet on processors",
            "compile it: their knobs are chosen by rule",
        )
    validate_with_llvm(spec)
    return run(
        model,
        spec,
        Path(log_dir),
        how,
        fusion=fusion,
        found=options.found,
        tell=progress,
        pool=pool,
        integers=integers,
    )


def _planned(
    model: ModelLike, dtype: Dtype | None
) -> tuple[Model, Mapping[str, Quantization], KeptAs]:
    """Return what a plan is made of: layers, which compute in integers, what the others are."""
    found, integers, kept_as = planned_from(model)
    if dtype != "int8" or integers:
        return found, integers, kept_as
    from tvm_mobilenet.quantization.made_up import made_up

    network = made_up(found)
    return network.model, network.records, kept_as


def explain(
    model: ModelLike,
    *,
    target: str | TargetSpec = "native",
    dtype: Dtype | None = None,
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    threads: int | str | None = None,
) -> Explanation:
    """Predict what compiling would choose and each kernel take; nothing is compiled.

    Parameters
    ----------
    model : Model, Imported or path-like
        As for :func:`compile`.
    target : str or TargetSpec
        As for :func:`compile`; need not be this machine.
    dtype : {"float32", "float16", "bfloat16", "int8"}, optional
        As for :func:`tune`.
    fusion : {"auto", "all", "none"}
        As for :func:`compile`.
    records : path-like or False, optional
        As for :func:`compile`; they decide about fusion and knobs.
    threads : int or str, optional
        How many threads run it, at most the target's cores; all of them by default.

    Returns
    -------
    Explanation
        Every kernel in the order of execution, and both ways where layers can share one.

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, TargetError, RecordsError
        What was asked for makes no sense.
    InputError
        More threads than the target has cores, or none; no such `fusion`.
    """
    from tvm_mobilenet.network.explain import explain as predict

    options = PlanOptions(target=target, dtype=dtype, fusion=fusion, records=records)
    model, integers, kept_as = _planned(model, dtype)
    options = options.keeping(kept_as)
    spec = options.spec
    threads = None if threads is None else number(threads, "threads")
    if threads is not None and not 1 <= threads <= spec.cores:
        raise InputError(
            f"{threads} threads asked for; {spec.name} has {spec.cores} cores",
            f"choose between 1 and {spec.cores}, or plan for others with --cores",
        )
    tell(options.found.problems, 2)
    return predict(options.plan(model, this_stack().name, integers), threads)

"""The package as functions: compile, tune, explain, load, verify, bench, profile.

The command line calls these.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.compiled import Compiled
from tvm_mobilenet.compiling import compile  # noqa: A004  as in torch.compile
from tvm_mobilenet.errors import InputError, RecordsWarning, TuningError
from tvm_mobilenet.lists import Names, Numbers, check_one_of, names, number, numbers
from tvm_mobilenet.prediction.fusion import FUSIONS
from tvm_mobilenet.report import CompileReport
from tvm_mobilenet.stacks import installed_stack
from tvm_mobilenet.target import TargetSpec, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.bench import BenchReport
    from tvm_mobilenet.bench.gpu_report import GpuReport
    from tvm_mobilenet.compiling import ModelLike, WeightsLike
    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.graph.explain import Explanation
    from tvm_mobilenet.prediction.fusion import Fusion
    from tvm_mobilenet.profile.report import ProfileReport
    from tvm_mobilenet.runtime import Loaded
    from tvm_mobilenet.tuning.report import Status, TuningReport
    from tvm_mobilenet.tuning.store import RecordsLike
    from tvm_mobilenet.verify_report import VerifyReport

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
        Told a :class:`~tvm_mobilenet.tuning.report.Status` after every trial.
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
        Nothing here measures for the target, or nothing builds.
    DeviceError
        No board, or none for as long as ``board_limit``; what was measured is kept.
    InputError
        There is no such `fusion`.
    RecordsError, RecordsBusyError, OutputError
        The folder cannot be read, is being written by somebody else, or takes nothing.
    """
    from tvm_mobilenet.models.network import model_from
    from tvm_mobilenet.target import validate_with_llvm
    from tvm_mobilenet.tuning.boards import check_board, find_place
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
    if trials < 0:
        raise TuningError(f"{trials} trials asked for", "give their number, 0 or more")
    how = Settings(trials, tuner=tuner, **settings)
    place = None
    if device != "local":
        place, board = find_place(device, how.open_limit)
        spec = board.target if target == "native" else spec
    if cores is not None:
        spec = dataclasses.replace(spec, cores=cores)
    if place is not None:
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
        place=place,
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


def load(
    path: str | os.PathLike[str], threads: int | None = None, device: str | int | None = None
) -> Loaded:
    """Load an artifact; see :func:`tvm_mobilenet.runtime.load`."""
    from tvm_mobilenet.runtime import load as load_module

    return load_module(path, threads, device)


def verify(
    artifact: str | os.PathLike[str] | Loaded | RemoteModule,
    weights: WeightsLike | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    inputs: str | os.PathLike[str] | NDArray[Any] | None = None,
    save: str | os.PathLike[str] | None = None,
) -> VerifyReport:
    """Check an artifact against the reference, kernel by kernel and end to end.

    The reference is NumPy in float64; of a network from an ONNX file, onnx's evaluator too.

    Parameters
    ----------
    artifact : path-like, Loaded or RemoteModule
    weights : path-like or mapping, optional
        Those that it was compiled with; by default where its manifest says.
    model : path-like, optional
        Likewise the ONNX file that it was compiled from.
    device : str, optional
        Where to run the file at that path, see :func:`tvm_mobilenet.open_device`.
    inputs : path-like or ndarray, optional
        What to compare on, of the artifact's shape; an ``.npy`` or ``.npz`` file. An image
        that is made up without.
    save : path-like, optional
        Where to write what the artifact makes of it: ``.npz``, or ``.npy`` of one output.

    Returns
    -------
    VerifyReport
        Its ``check`` raises VerificationError where something is wrong.

    Raises
    ------
    ArtifactError, WeightsError, OnnxError
    InputError, OutputError
        Inputs that do not fit; a file that cannot be written.
    DeviceError
        The device failed.
    """
    from tvm_mobilenet.models.network import network_of
    from tvm_mobilenet.runtime.arrays import check_savable, save_outputs
    from tvm_mobilenet.verify import verify as verify_module

    if not isinstance(artifact, str | os.PathLike):
        if device is not None:
            raise InputError("this module is loaded already", "give the path of its file")
        module = artifact
    elif device is None:
        module = load(artifact)
    else:
        from tvm_mobilenet.device import open_device

        with open_device(device) as opened, opened.session() as session:
            module = session.artifact(artifact)
            return verify(module, weights, model=model, inputs=inputs, save=save)
    if save is not None:
        check_savable(save, [output["name"] for output in module.outputs])
    x = None if inputs is None else _input_of(module, inputs)
    network = network_of(module.manifest, weights, model)
    report = verify_module(module, network.model, network.weights, x, expect=network.expect)
    if save is not None:
        from tvm_mobilenet.verify import sample_input

        found = module(sample_input(network.model.input_shape) if x is None else x)
        found = found if isinstance(found, tuple) else (found,)
        names_of = (output["name"] for output in module.outputs)
        save_outputs(save, dict(zip(names_of, found, strict=True)))
    return report


def _input_of(
    module: Loaded | RemoteModule, given: str | os.PathLike[str] | NDArray[Any]
) -> NDArray[Any]:
    """Return one whole call's input."""
    import numpy as np

    from tvm_mobilenet.runtime.arrays import examples
    from tvm_mobilenet.runtime.inputs import Expected

    expected = Expected(module.inputs[0])
    if isinstance(given, str | os.PathLike):
        room = expected.shape[0]
        found = [*itertools.islice(examples(given, expected), room + 1)]
        if len(found) > room:
            raise InputError(
                f"{os.fspath(given)} holds more than the {room} a call that the artifact takes",
                "verify looks at one call: give that many",
            )
        given = np.stack(found)
    x: NDArray[Any] = expected.array(given)
    return x


def bench(
    artifact: str | os.PathLike[str],
    *,
    threads: Numbers = (1,),
    against: Names = (),
    device: str | None = None,
    **options: Any,
) -> BenchReport | GpuReport:
    """Time an artifact against the machine's peak and other runtimes.

    Parameters
    ----------
    artifact : path-like
    threads : int, str or sequence of int
        Numbers of threads, one after another: ``2``, ``"1,2"`` or ``(1, 2)``.
    against : str or sequence of str
        Runtimes to compare with: ``"onnxruntime,ncnn"``.
    device : str, optional
        Where to run it, see :func:`tvm_mobilenet.open_device`; there are no other runtimes.
    **options
        ``rounds``, ``seconds``, ``warmup``, ``iterations``, ``contexts``, ``batch``,
        ``weights``, ``model``, ``progress``: see :func:`tvm_mobilenet.bench.bench`; of an
        artifact for a GPU :func:`tvm_mobilenet.bench.gpu.bench_on_gpu`; for a `device`
        :func:`tvm_mobilenet.bench.board.bench_on`.

    Returns
    -------
    BenchReport or GpuReport

    Raises
    ------
    InputError
        An option that makes no sense, or none where it is measured.
    ArtifactError, PeerError, WeightsError, DeviceError
    """
    threads, against = numbers(threads, "threads"), names(against)
    if device is not None:
        from tvm_mobilenet.bench.board import bench_on
        from tvm_mobilenet.device import open_device

        if against:
            raise InputError(
                f"{', '.join(against)} cannot be timed on a device",
                "only ours and the peak are measured there",
            )
        _refuse(options, ("contexts", "warmup", "weights", "model"), "a device")
        with open_device(device) as opened:
            return bench_on(opened, artifact, threads=threads, **options)
    from tvm_mobilenet.bench import bench as run
    from tvm_mobilenet.runtime.artifact import read_manifest

    manifest = read_manifest(artifact)
    if manifest["target"].get("gpu") is not None:
        from tvm_mobilenet.bench.gpu import bench_on_gpu

        _refuse(options, ("contexts", "warmup", "iterations", "model"), "a GPU")
        return bench_on_gpu(artifact, manifest, against=against, **options)
    return run(artifact, threads=threads, against=against, **options)


def _refuse(options: dict[str, Any], none: Sequence[str], where: str) -> None:
    """Take out of `options` what `where` has not; raise if somebody asked for it."""
    for name in none:
        asked = options.pop(name, None)
        if asked is not None and not (name == "contexts" and asked == 1):
            raise InputError(f"there is no {name!r} when {where} is timed", "leave it out")


def profile(
    artifact: str | os.PathLike[str] | Loaded,
    *,
    threads: int | None = None,
    **options: Any,
) -> ProfileReport:
    """Time every kernel of an artifact in the network, alone, and against its bound.

    See :func:`tvm_mobilenet.profile.profile`.
    """
    from tvm_mobilenet.profile import profile as run

    return run(artifact, threads=threads, **options)

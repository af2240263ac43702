"""The package as functions: compile, tune, explain, load, verify, bench, profile.

The command line calls these.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet import __version__
from tvm_mobilenet.errors import (
    ArtifactError,
    InputError,
    MissingRecordsError,
    RecordsWarning,
    TuningError,
)
from tvm_mobilenet.report import CompileReport, report_of
from tvm_mobilenet.target import TargetSpec, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tvm_mobilenet.bench import BenchReport
    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.graph.explain import Explanation
    from tvm_mobilenet.graph.fusion import Fusion
    from tvm_mobilenet.graph.pipeline import Lowered
    from tvm_mobilenet.graph.plan_memory import MemoryPlan
    from tvm_mobilenet.models.spec import Layer, Model
    from tvm_mobilenet.profile.report import ProfileReport
    from tvm_mobilenet.runtime import Module
    from tvm_mobilenet.tuning.report import Status, TuningReport
    from tvm_mobilenet.tuning.store import RecordsLike
    from tvm_mobilenet.verify import VerifyReport

    WeightsLike = str | os.PathLike[str] | Mapping[str, NDArray[np.float32]]

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

_ELEMENT, _VECTOR = 4, 64
"""Bytes: of a float32, and what TVM takes every buffer to be aligned to."""
_READS_ELEMENTS = {"cpu.conv"}
"""Schedules that read their input an element at a time."""
_BLOCKED = {
    "cpu.conv", "cpu.depthwise", "cpu.pointwise", "cpu.strassen", "cpu.separable", "cpu.pool",
    "cpu.scale",
}  # fmt: skip
"""Schedules that write blocked maps."""

_ROOM = 2
"""The manifest's section, in sizes of the manifest before verification."""


class Compiled:
    """A network compiled and, for this machine, verified; not yet in its place.

    Attributes
    ----------
    manifest : dict
        What the artifact says of itself.
    """

    def __init__(self, manifest: dict[str, Any], folder: tempfile.TemporaryDirectory[str]) -> None:
        self.manifest = manifest
        self._folder = folder
        # Left to itself, the folder would warn that nobody cleaned it up.
        weakref.finalize(self, folder.cleanup)
        self._module: Module | None = None

    @property
    def path(self) -> Path:
        """The artifact, in a temporary folder that lives as long as this object."""
        return _artifact_in(self._folder.name)

    @property
    def module(self) -> Module:
        """The artifact, loaded.

        Raises
        ------
        ArtifactError
            It is for another machine.
        """
        if self._module is None:
            self._module = load(self.path)
        return self._module

    @property
    def report(self) -> CompileReport:
        """Layer by layer; timed, if the artifact runs here."""
        from tvm_mobilenet.verify import sample_input

        if not _runs_here(self.manifest):
            return report_of(self.manifest)
        shape = tuple(self.manifest["inputs"][0]["shape"])
        return report_of(self.manifest, self.module.profile(sample_input(shape)))

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the artifact, whole or not at all.

        Parameters
        ----------
        path : path-like
            The ``.so``; one that is there is replaced.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from tvm_mobilenet.models.files import written_aside

        target = Path(path)
        with written_aside(target) as aside, self.path.open("rb") as source:
            shutil.copyfileobj(source, aside)
        target.chmod(0o755)
        return target


def compile(  # noqa: A001  as in torch.compile and tvm.compile
    model: Model | str,
    *,
    target: str | TargetSpec = "native",
    weights: WeightsLike | None = None,
    seed: int = 0,
    verify: bool = True,
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    require_records: bool = False,
    strassen: bool = False,
    dump_ir: str | os.PathLike[str] | None = None,
) -> Compiled:
    """Compile a model for a target.

    Parameters
    ----------
    model : Model or str
        From :func:`tvm_mobilenet.mobilenet_v1`, or a model's name.
    target : str or TargetSpec
        ``"native"``, a preset, an LLVM triple with ``--mcpu`` and ``--mattr``, or
        TVM's JSON.
    weights : path-like or mapping, optional
        ``.npz``, ``.safetensors``, or arrays by parameter name; seeded without.
    seed : int
        Of the weights, where none are given.
    verify : bool
        Whether to check the artifact against the reference, if it runs here.
    fusion : {"auto", "all", "none"}
        Which layers share a kernel: those for which a record or else
        :mod:`tvm_mobilenet.graph.fusion` says so, all that can, none.
    records : path-like or False, optional
        Folder of tuning records, instead of the package's own; False for rules only.
        A RecordsWarning names each that is there for this target and cannot be used.
    require_records : bool
        Whether every kernel that has knobs must find them in a record.
    strassen : bool
        Whether large pointwise layers take seven products for eight (one level of
        Strassen–Winograd): less arithmetic, more rounding; docs/adr/0008-strassen.md.
    dump_ir : path-like, optional
        Folder for the module after each phase.

    Returns
    -------
    Compiled

    Raises
    ------
    UnknownModelError, InvalidModelError, WeightsError, TargetError
        What was asked for makes no sense.
    RecordsError, MissingRecordsError
        The folder of records cannot be read; kernels without one, where required.
    ToolchainError
        Nothing here links for the target.
    VerificationError
        The compiled network is wrong; nothing is returned.
    """
    from tvm_mobilenet.models import build as build_model
    from tvm_mobilenet.models import weights as weight_files
    from tvm_mobilenet.target import validate_with_llvm
    from tvm_mobilenet.toolchain import find_linker

    model = build_model(model) if isinstance(model, str) else model
    spec = target if isinstance(target, TargetSpec) else parse(target)
    linker = find_linker(spec)
    validate_with_llvm(spec)
    if isinstance(weights, Mapping):
        source, arrays = "arrays", dict(weights)
        weight_files.validate(model, arrays)
    else:
        source = f"{weight_files.SEED}{seed}" if weights is None else os.path.abspath(weights)
        arrays = weight_files.from_source(source, model)

    from tvm_mobilenet.graph.codegen import generate
    from tvm_mobilenet.graph.pipeline import lower
    from tvm_mobilenet.runtime.artifact import write_manifest
    from tvm_mobilenet.tuning.store import records_for

    found = records_for(spec, records)
    folder_for_ir = Path(dump_ir) if dump_ir else None
    lowered = lower(
        model,
        arrays,
        spec,
        found.knobs_for,
        folder_for_ir,
        fusion=fusion,
        fusion_for=found.fusion_for,
        strassen=strassen,
    )
    notes = [f"the record of {k.name}: {k.note}" for k in lowered.kernels.values() if k.note]
    for problem in (*found.problems, *notes):
        warnings.warn(RecordsWarning(problem), stacklevel=2)
    if require_records:
        _check_recorded(lowered, spec)
    manifest = _manifest(model, spec, lowered, source, weight_files.digest(arrays))
    folder = tempfile.TemporaryDirectory(prefix="tvm_mobilenet-")
    compiled = Compiled(manifest, folder)
    room = _ROOM * len(str(manifest)) + 4096
    plan = generate(lowered, spec, linker, room, compiled.path)
    manifest["memory"] = _memory(model, plan)
    compiled.manifest = write_manifest(compiled.path, manifest)
    if verify and _runs_here(manifest):
        from tvm_mobilenet.verify import verify as verify_module

        checked = verify_module(compiled.module, model, arrays)
        checked.check()
        manifest["verification"] = checked.to_dict()
        compiled.manifest = write_manifest(compiled.path, manifest)
    return compiled


def tune(
    model: Model | str,
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
    model : Model or str
    trials : int
        Candidates to try, those of earlier runs included, shared out by what each kernel
        costs the network; 0 keeps the best of what was tried.
    target : str or TargetSpec
        As for :func:`compile`; of what measures, which is what ``native`` stands for.
        Its cores are the threads.
    log_dir : path-like
        Folder of the history and the records; made if it is not there.
    tuner : {"template"}
        The knobs of our own schedules.
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
        ``cool_down``, ``build_limit``, ``measure_limit``, ``open_limit``, ``board_limit``,
        ``seed``: see
        :class:`tvm_mobilenet.tuning.task.Settings`.

    Returns
    -------
    TuningReport

    Raises
    ------
    UnknownModelError, InvalidModelError, TargetError
        What was asked for makes no sense.
    TuningError
        Nothing here measures for the target, or nothing builds.
    DeviceError
        No board, or none for as long as ``board_limit``; what was measured is kept.
    RecordsError, RecordsBusyError, OutputError
        The folder cannot be read, is being written by somebody else, or takes nothing.
    """
    from tvm_mobilenet.models import build as build_model
    from tvm_mobilenet.target import validate_with_llvm
    from tvm_mobilenet.tuning.boards import check_board, find_place
    from tvm_mobilenet.tuning.store import records_for
    from tvm_mobilenet.tuning.task import Settings
    from tvm_mobilenet.tuning.tune import tune as run

    model = build_model(model) if isinstance(model, str) else model
    spec = target if isinstance(target, TargetSpec) else parse(target)
    if tuner != "template":
        raise TuningError(f"there is no tuner {tuner!r}", "choose template")
    if trials < 0:
        raise TuningError(f"{trials} trials asked for", "give their number, 0 or more")
    place = None
    if device != "local":
        place, board = find_place(device)
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
        Settings(trials, **settings),
        fusion=fusion,
        found=records_for(spec, records),
        tell=progress,
        place=place,
    )


def explain(
    model: Model | str,
    *,
    target: str | TargetSpec = "native",
    fusion: Fusion = "auto",
    records: RecordsLike = None,
    threads: int | None = None,
) -> Explanation:
    """Predict what compiling would choose and each kernel take; nothing is compiled.

    Parameters
    ----------
    model : Model or str
    target : str or TargetSpec
        As for :func:`compile`; need not be this machine.
    fusion : {"auto", "all", "none"}
        As for :func:`compile`.
    records : path-like or False, optional
        As for :func:`compile`; they decide about fusion, knobs are predicted by rule.
    threads : int, optional
        That run it, at most the target's cores; all of them by default.

    Returns
    -------
    Explanation

    Raises
    ------
    UnknownModelError, InvalidModelError, TargetError, RecordsError
        What was asked for makes no sense.
    InputError
        More threads than the target has cores, or none.
    """
    from tvm_mobilenet.graph.explain import explain as predict
    from tvm_mobilenet.models import build as build_model
    from tvm_mobilenet.tuning.store import records_for

    model = build_model(model) if isinstance(model, str) else model
    spec = target if isinstance(target, TargetSpec) else parse(target)
    if threads is not None and not 1 <= threads <= spec.cores:
        raise InputError(
            f"{threads} threads asked for; {spec.name} has {spec.cores} cores",
            f"choose between 1 and {spec.cores}, or plan for others with --cores",
        )
    found = records_for(spec, records)
    for problem in found.problems:
        warnings.warn(RecordsWarning(problem), stacklevel=2)
    return predict(model, spec, fusion=fusion, fusion_for=found.fusion_for, threads=threads)


def load(path: str | os.PathLike[str], threads: int | None = None) -> Module:
    """Load an artifact; see :func:`tvm_mobilenet.runtime.load`."""
    from tvm_mobilenet.runtime import load as load_module

    return load_module(path, threads)


def verify(
    artifact: str | os.PathLike[str] | Module | RemoteModule,
    weights: WeightsLike | None = None,
    *,
    device: str | None = None,
) -> VerifyReport:
    """Check an artifact against the NumPy reference, kernel by kernel and end to end.

    Parameters
    ----------
    artifact : path-like, Module or RemoteModule
    weights : path-like or mapping, optional
        Those that it was compiled with; by default where its manifest says.
    device : str, optional
        Where to run the file at that path, see :func:`tvm_mobilenet.open_device`.

    Returns
    -------
    VerifyReport
        Its ``check`` raises VerificationError where something is wrong.

    Raises
    ------
    ArtifactError, WeightsError
    DeviceError
        The device failed.
    """
    from tvm_mobilenet.models import model_from_manifest
    from tvm_mobilenet.models.weights import of_artifact
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
            return verify(session.artifact(artifact), weights)
    model = model_from_manifest(module.manifest["model"])
    return verify_module(module, model, of_artifact(module.manifest, model, weights))


def bench(
    artifact: str | os.PathLike[str],
    *,
    threads: Sequence[int] = (1,),
    against: Sequence[str] = (),
    device: str | None = None,
    **options: Any,
) -> BenchReport:
    """Time an artifact against the machine's peak and other runtimes.

    See :func:`tvm_mobilenet.bench.bench`, and for a `device`, where there are no
    other runtimes, :func:`tvm_mobilenet.bench.board.bench_on`.
    """
    if device is not None:
        from tvm_mobilenet.bench.board import bench_on
        from tvm_mobilenet.device import open_device

        if against:
            raise InputError(
                f"{', '.join(against)} cannot be timed on a device",
                "only ours and the peak are measured there",
            )
        with open_device(device) as opened:
            return bench_on(opened, artifact, threads=threads, **options)
    from tvm_mobilenet.bench import bench as run

    return run(artifact, threads=threads, against=against, **options)


def profile(
    artifact: str | os.PathLike[str] | Module, *, threads: int | None = None, **options: Any
) -> ProfileReport:
    """Time every kernel of an artifact in the network, alone, and against its bound.

    See :func:`tvm_mobilenet.profile.profile`.
    """
    from tvm_mobilenet.profile import profile as run

    return run(artifact, threads=threads, **options)


def _check_recorded(lowered: Lowered, spec: TargetSpec) -> None:
    ruled = [k.name for k in lowered.kernels.values() if k.knobs and k.source != "record"]
    if ruled:
        raise MissingRecordsError(
            f"{len(ruled)} kernels have no usable record for {spec.name} on {spec.cores} "
            f"threads: {', '.join(ruled)}",
            "tune for this target, name a folder that has them, or do not require records",
        )


def _artifact_in(folder: str) -> Path:
    return Path(folder) / "artifact.so"


def _runs_here(manifest: Mapping[str, Any]) -> bool:
    from tvm_mobilenet.runtime.artifact import check_here

    try:
        check_here(manifest)
    except ArtifactError:
        return False
    return True


def _manifest(
    model: Model, spec: TargetSpec, lowered: Lowered, source: str, digest: str
) -> dict[str, Any]:
    from tvm_mobilenet.runtime.artifact import FORMAT
    from tvm_mobilenet.runtime.preprocess import default_preprocess

    last = model.layers[-1]
    return {
        "format": FORMAT,
        "producer": f"tvm_mobilenet {__version__}",
        "stack": "relax",
        "tvm": importlib.metadata.version("apache-tvm"),
        "tvm_ffi": importlib.metadata.version("apache-tvm-ffi"),
        "model": model.describe(),
        "title": model.title,
        "macs": model.macs,
        "params": model.params,
        "inputs": [_tensor("x", model.input_shape) | {"alignment": _alignment(lowered)}],
        "outputs": [_tensor(last.name, model.output_shape)],
        "preprocess": default_preprocess(model.input_shape[2]),
        "target": spec.to_dict(),
        "machine": spec.machine,
        "os": spec.os,
        "needs": list(spec.needs),
        "weights": {"source": source, "sha256": digest},
        "calls": _calls(model, lowered, spec),
        "verification": None,
    }


def _tensor(name: str, shape: Sequence[int]) -> dict[str, Any]:
    layout = "NCHW" if len(shape) == 4 else "NC"
    return {"name": name, "shape": list(shape), "dtype": "float32", "layout": layout}


def _alignment(lowered: Lowered) -> int:
    """Return what the input's address must be a multiple of, bytes.

    Our first convolution reads its image an element at a time; other kernels load whole
    vectors, from addresses that TVM takes to be aligned.
    """
    first = lowered.kernels[lowered.calls[0].kernel]
    return _ELEMENT if first.schedule in _READS_ELEMENTS else _VECTOR


def _memory(model: Model, plan: MemoryPlan) -> dict[str, Any]:
    """Describe what one call allocates, and the tensors that need it, bytes."""
    from tvm_mobilenet.graph.build import symbol

    names = {symbol(layer.name): layer.name for layer in model.layers}
    return {
        "activations": plan.activation_bytes,
        "storages": plan.storages,
        "output": plan.output_bytes,
        "bound": plan.bound,
        "largest": {names.get(t.name, t.name): t.bytes for t in plan.largest},
    }


def _calls(model: Model, lowered: Lowered, spec: TargetSpec) -> list[dict[str, Any]]:
    """Describe each call and the layers that it computes."""
    from tvm_mobilenet.graph.build import ENTRY
    from tvm_mobilenet.graph.traffic import traffic
    from tvm_mobilenet.graph.workspace import workspaces

    calls = []
    workspace = workspaces(lowered.mod, spec.cores)
    moves = traffic(lowered.mod, ENTRY)
    groups = _layers_of(model, [call.value for call in lowered.calls])
    for call, layers, moved in zip(lowered.calls, groups, moves, strict=True):
        kernel = lowered.kernels[call.kernel]
        shape = list(layers[-1].out_shape)
        output: dict[str, Any] = {"layout": "NC" if len(shape) == 2 else "NCHW", "shape": shape}
        if kernel.schedule in _BLOCKED:
            output |= {"layout": "NCHWc", "block": call.shape[-1]}
        record = {
            "kernel": call.kernel,
            "layers": [layer.name for layer in layers],
            "operator": kernel.operator,
            "schedule": kernel.schedule,
            "knobs": kernel.knobs,
            "source": kernel.source,
            "macs": sum(layer.macs for layer in layers),
            "bytes": moved,
            "workspace": workspace[call.kernel],
            "output": output,
        }
        if call.value in lowered.fusions:
            choice = lowered.fusions[call.value]
            record["fusion"] = {
                "fused": choice.fused,
                "why": choice.why,
                "source": choice.source,
            }
        if call.value in lowered.gains:
            gain = lowered.gains[call.value]
            record["strassen"] = {"used": gain.used, "why": gain.why}
        calls.append(record)
    return calls


def _layers_of(model: Model, values: Sequence[str]) -> list[list[Layer]]:
    """Group the layers by call: each call ends with the layer whose value it computes.

    Layers are in their order of execution, and what shares a kernel stands together.
    """
    from tvm_mobilenet.graph.build import symbol

    groups: list[list[Layer]] = []
    rest = iter(model.layers)
    for value in values:
        group = []
        for layer in rest:
            group.append(layer)
            if symbol(layer.name) == value:
                break
        groups.append(group)
    return groups

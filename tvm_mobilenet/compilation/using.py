"""What is done with an artifact: load, verify, time it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.common.lists import Names, Numbers, names, numbers
from tvm_mobilenet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.bench import BenchReport
    from tvm_mobilenet.bench.gpu_comparison import GpuReport
    from tvm_mobilenet.compilation.options import WeightsLike
    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.evaluation.report import EvaluationReport
    from tvm_mobilenet.models.importer import Imported
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.profile.breakdown import ProfileReport
    from tvm_mobilenet.runtime import Loaded
    from tvm_mobilenet.verify.report import VerifyReport


def load(
    path: str | os.PathLike[str], threads: int | None = None, device: str | int | None = None
) -> Loaded:
    """Load an artifact; see :func:`tvm_mobilenet.runtime.load`."""
    from tvm_mobilenet.runtime import load as load_module

    return load_module(path, threads, device)


def evaluate(
    artifact: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, str], object] = lambda done, total, text: None,
) -> EvaluationReport:
    """Tell how good an artifact is on images: accuracy, and agreement with another network.

    Parameters
    ----------
    artifact : path-like
        A classifier that ``compile`` wrote; images are prepared as its manifest says.
    folder : path-like
        Images: in a subfolder for each class, named by the class's name, its number from 0, or
        its WordNet id (all 1000 of ImageNet); or flat, where no class is known.
    labels : path-like, optional
        CSV of two columns, a path below `folder` and a class; then subfolders say nothing.
    against : path-like, optional
        Another artifact, or an ``.onnx`` file for onnxruntime, which gets the same pixels.
    state : path-like, optional
        File that gets a line for every image, and from which the same call continues.
    threads : int, optional
        Threads a call uses, of this and the other network; see :func:`load`.
    progress : callable
        Told after every image how many are done, how many there are, and its name.

    Returns
    -------
    EvaluationReport
        Images that could not be read are in its ``skipped`` and do not count.

    Raises
    ------
    ArtifactError, OnnxFileError, NotInstalledError
        A network cannot be loaded, or there is no onnxruntime.
    InputError
        It does not classify images, or the other one has another number of classes.
    ImageError, LabelsError
        No folder, no image that can be read; labels of another task, or of several kinds.
    StateError, OutputError
        The state is of another evaluation, or cannot be written.
    VerificationError
        A network answers NaN or infinity.
    """
    from tvm_mobilenet.evaluation.evaluate import evaluate as run

    return run(
        Path(artifact),
        Path(folder),
        labels=None if labels is None else Path(labels),
        against=None if against is None else Path(against),
        state=None if state is None else Path(state),
        threads=threads,
        progress=progress,
    )


def verify(
    artifact: str | os.PathLike[str] | Loaded | RemoteModule,
    weights: WeightsLike | None = None,
    *,
    model: str | os.PathLike[str] | Imported | Network | None = None,
    device: str | None = None,
    inputs: str | os.PathLike[str] | NDArray[Any] | None = None,
    save: str | os.PathLike[str] | None = None,
) -> VerifyReport:
    """Check an artifact against the reference, kernel by kernel and end to end.

    The reference is NumPy in float64; of a network from an ONNX file, onnx's evaluator too. What
    computes in integers must equal NumPy's integers bit for bit.

    Parameters
    ----------
    artifact : path-like, Loaded or RemoteModule
        The file that ``compile`` wrote, or a module that is loaded here or on a device.
    weights : path-like or mapping, optional
        Those that it was compiled with, in float32; by default they are where its manifest says.
    model : path-like, Imported or Network, optional
        The ONNX file that it was compiled from, if that is not there any more; or what was
        imported, or quantised. A Relay or Relax module has to be given so.
    device : str, optional
        Where to run the file at that path, see :func:`tvm_mobilenet.open_device`.
    inputs : path-like or ndarray, optional
        What to compare on, of the artifact's shape; an ``.npy`` or ``.npz`` file. By default
        an image that is made up.
    save : path-like, optional
        Where to write what the artifact makes of it: ``.npz``, or ``.npy`` of one output.

    Returns
    -------
    VerifyReport
        Its ``check`` raises VerificationError where something is wrong.

    Raises
    ------
    ArtifactError, WeightsError, OnnxError
        It cannot be loaded; what it was compiled from is missing or has changed.
    InputError, OutputError
        Inputs that do not fit; a file that cannot be written.
    DeviceError
        The device failed.
    """
    from tvm_mobilenet.machine import TargetSpec
    from tvm_mobilenet.models.network import network_of
    from tvm_mobilenet.runtime.arrays import check_savable, one_call, save_outputs
    from tvm_mobilenet.runtime.inputs import Expected
    from tvm_mobilenet.verify.network import verify_network

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
    x = None if inputs is None else one_call(inputs, Expected(module.inputs[0]))
    network = network_of(module.manifest, weights, model)
    report = verify_network(module, network, TargetSpec.from_dict(module.manifest["target"]), x)
    if save is not None:
        from tvm_mobilenet.verify.artifact import sample_input

        layers = network.model
        made_up = sample_input(layers.input_shape, dtype=layers.input_dtype) if x is None else x
        found = module(made_up)
        found = found if isinstance(found, tuple) else (found,)
        names_of = (output["name"] for output in module.outputs)
        save_outputs(save, dict(zip(names_of, found, strict=True)))
    return report


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
        The file that ``compile`` wrote.
    threads : int, str or sequence of int
        Numbers of threads, one after another: ``2``, ``"1,2"`` or ``(1, 2)``.
    against : str or sequence of str
        Runtimes to compare with: ``"onnxruntime,litert"``.
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
        The latter of an artifact that runs on a GPU of this machine.

    Raises
    ------
    InputError
        An option that makes no sense, or none where it is measured.
    ArtifactError, PeerError, WeightsError, DeviceError
        It cannot be loaded; a peer failed; the weights are not its own; the device failed.
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

"""From a model to an artifact."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.compiled import Compiled, artifact_in, runs_here
from tvm_mobilenet.errors import (
    InputError,
    MissingRecordsError,
    RecordsWarning,
    StackError,
    TargetError,
)
from tvm_mobilenet.lists import check_one_of
from tvm_mobilenet.prediction.fusion import FUSIONS
from tvm_mobilenet.scratch import scratch_folder
from tvm_mobilenet.stacks import Stack, check_stack, installed_stack
from tvm_mobilenet.target import Dtype, TargetSpec, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tvm_mobilenet.models.importer import Imported
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.spec import Model
    from tvm_mobilenet.prediction.fusion import Fusion
    from tvm_mobilenet.tuning.store import RecordsLike
    from tvm_mobilenet.verify_report import VerifyReport

    ModelLike = Model | Imported | str | os.PathLike[str]
    WeightsLike = str | os.PathLike[str] | Mapping[str, NDArray[np.float32]]


_log = logging.getLogger(__name__)


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
    strassen: bool = False,
    host: str | None = None,
    dtype: Dtype | None = None,
    dump_ir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    stack: Stack | None = None,
) -> Compiled:
    """Compile a model for a target.

    Parameters
    ----------
    model : Model, Imported or path-like
        From :func:`tvm_mobilenet.mobilenet_v1`, :func:`tvm_mobilenet.import_onnx` or
        :func:`tvm_mobilenet.from_relax`; or a model's name, or the path of an ``.onnx`` file.
    target : str or TargetSpec
        ``"native"``, a preset, an LLVM triple with ``--mcpu`` and ``--mattr``, TVM's
        JSON, or a GPU such as ``"sm_90"`` or ``"opencl"``.
    weights : path-like or mapping, optional
        ``"pretrained"``; ``"hf-hub:OWNER/NAME"``; an ``.npz``, ``.safetensors`` or
        ``torch.save`` file with our names, torchvision's or timm's; or arrays by our names.
        Seeded without. Of a checkpoint whose source is known, the model takes the epsilon
        and the padding, where it was not asked for others.
    seed : int
        Of the weights, where none are given.
    preprocess : str, path-like or mapping, optional
        What images go through, for the manifest: ``"torchvision"``, ``"tf"``, ``"none"``, or
        a recipe, see :mod:`tvm_mobilenet.runtime.recipe`. By default what the weights say,
        else torchvision's.
    verify : bool
        Whether to check the artifact against the reference, if it runs here. Where it is not
        checked so, what was read of an ONNX file is still held against that on this machine.
    fusion : {"auto", "all", "none"}
        Which layers share a kernel: those for which a record or else
        :mod:`tvm_mobilenet.prediction.fusion` says so, all that can, none.
    records : path-like or False, optional
        Folder of tuning records, instead of the package's own; False for rules only.
        A RecordsWarning names each that is there for this target and cannot be used.
    require_records : bool
        Whether every kernel that has knobs must find them in a record.
    strassen : bool
        Whether large pointwise layers take seven products for eight (one level of
        Strassen–Winograd): less arithmetic, more rounding; docs/adr/0008-strassen.md.
    host : str, optional
        Of a GPU: the processor that the host code is for; this machine's architecture
        without.
    dtype : {"float32", "float16"}, optional
        Of a GPU: what maps and weights are stored as; sums are float32.
    dump_ir : path-like, optional
        Folder for the module after each phase.
    device : str, optional
        A board to compile for, see :func:`tvm_mobilenet.open_device`: it says what
        ``native`` is there, and the artifact is checked there.
    stack : {"relax", "relay"}, optional
        The one of this environment by default, and no other can be had here. Relay has
        no `strassen`, no CUDA and no float16.

    Returns
    -------
    Compiled

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
        There is no such `fusion`.
    """
    chosen = _chosen_stack(stack, fusion, strassen)
    from tvm_mobilenet.models.network import network_from
    from tvm_mobilenet.models.weights import digest
    from tvm_mobilenet.runtime.recipe import preprocess_for
    from tvm_mobilenet.target import validate_with_llvm
    from tvm_mobilenet.toolchain import find_linker
    from tvm_mobilenet.toolchain_cuda import find_nvcc
    from tvm_mobilenet.tuning.store import records_for

    network = network_from(model, weights, seed)
    if target == "native" and device is not None:
        spec = native_on(device)
    else:
        spec = _target(target, host, dtype)
    if chosen == "relay":
        from tvm_mobilenet.classic import check_classic_target

        check_classic_target(spec, fusion)
    if strassen and spec.gpu is not None:
        raise TargetError(
            f"there is no schedule of Strassen's products for {spec.name}", "leave it out"
        )
    linker = find_linker(spec)
    nvcc = find_nvcc() if spec.gpu is not None and spec.gpu.kind == "cuda" else None
    validate_with_llvm(spec)
    recipe = preprocess_for(
        network.model.image_size, preprocess, network.preprocess, dtype=network.model.input_dtype
    )
    found = records_for(spec, records)
    folder_for_ir = Path(dump_ir) if dump_ir else None
    if chosen == "relay":
        from tvm_mobilenet.classic import generate_classic, write_classic

        generated = generate_classic(
            network,
            spec,
            found.knobs_for,
            folder_for_ir,
            fusion=fusion,
            fusion_for=found.fusion_for,
        )
        _tell(found.problems, generated.choices.notes)
        if require_records:
            taken = generated.choices.taken.items()
            _check_recorded([key for key, k in taken if k.chosen and k.source != "record"], spec)
        folder = scratch_folder()
        path = artifact_in(folder.name)
        manifest = write_classic(network, spec, generated, linker, recipe, path)
        return _finished(manifest, folder, network, device, verify=verify)

    from tvm_mobilenet.graph.pipeline import lower
    from tvm_mobilenet.graph.write_artifact import write_artifact
    from tvm_mobilenet.manifest import describe, describe_memory

    lowered = lower(
        network.model,
        network.weights,
        spec,
        found.knobs_for,
        folder_for_ir,
        fusion=fusion,
        fusion_for=found.fusion_for,
        strassen=strassen,
    )
    notes = [f"the record of {k.name}: {k.note}" for k in lowered.kernels.values() if k.note]
    _tell(found.problems, notes)
    if require_records:
        kernels = lowered.kernels.values()
        _check_recorded([k.name for k in kernels if k.knobs and k.source != "record"], spec)
    manifest = describe(
        network.model,
        spec,
        lowered,
        source=network.source,
        digest=digest(network.weights),
        preprocess=recipe,
    )
    folder = scratch_folder()
    memory = write_artifact(manifest, lowered, spec, (linker, nvcc), artifact_in(folder.name))
    manifest["memory"] = describe_memory(network.model, memory)
    return _finished(manifest, folder, network, device, verify=verify)


def _finished(
    manifest: dict[str, Any],
    folder: tempfile.TemporaryDirectory[str],
    network: Network,
    device: str | None = None,
    *,
    verify: bool,
) -> Compiled:
    """Write the manifest into the artifact, and check it where it runs."""
    from tvm_mobilenet.runtime.artifact import write_manifest

    _log.info("weights: %s", network.source)
    compiled = Compiled(manifest, folder)
    compiled.manifest = write_manifest(compiled.path, manifest)
    if verify and (device is not None or runs_here(manifest)):
        checked = _checked(compiled, network, device)
        _log.info("verified: relative error %.1e", checked.relative)
        checked.check()
        manifest["verification"] = checked.to_dict()
    elif network.imported is not None:
        from tvm_mobilenet.host_check import check_on_host
        from tvm_mobilenet.verify import sample_input

        x = sample_input(network.model.input_shape, dtype=network.model.input_dtype)
        manifest["host_check"] = check_on_host(network, x, installed_stack())
    else:
        return compiled
    compiled.manifest = write_manifest(compiled.path, manifest)
    return compiled


def _chosen_stack(stack: Stack | None, fusion: Fusion, strassen: bool) -> Stack:
    """Return the stack to compile on; refuse what there is on none, or not on that one."""
    check_one_of(fusion, FUSIONS, "fusion", InputError)
    chosen = check_stack(stack or installed_stack(), "compiling so")
    if chosen == "relay" and strassen:
        raise StackError(
            "the classic stack has no Strassen's products", "leave --strassen out, or the stack"
        )
    return chosen


def _target(target: str | TargetSpec, host: str | None, dtype: Dtype | None) -> TargetSpec:
    if not isinstance(target, TargetSpec):
        return parse(target, host=host, dtype=dtype)
    if host is not None or dtype is not None:
        raise TargetError(
            "a TargetSpec says its host and dtype itself", "give them to parse, or a name here"
        )
    return target


def native_on(device: str) -> TargetSpec:
    """Ask a board what to compile for to use all of it.

    Raises
    ------
    DeviceError, AbiError
        It cannot be reached, or has another TVM.
    """
    from tvm_mobilenet.device import open_device

    with open_device(device) as opened:
        board = opened.describe()
    board.check_versions()
    return board.target


def _checked(compiled: Compiled, network: Network, device: str | None) -> VerifyReport:
    """Verify an artifact here, or on a board."""
    from tvm_mobilenet.device import open_device
    from tvm_mobilenet.verify import verify as verify_module

    model, weights, expect = network.model, network.weights, network.expect
    if device is None:
        return verify_module(compiled.module, model, weights, expect=expect)
    with open_device(device) as opened, opened.session() as session:
        return verify_module(session.artifact(compiled.path), model, weights, expect=expect)


def _tell(problems: Sequence[str], notes: Sequence[str]) -> None:
    """Warn of records that are not used, as if the caller of compile were told."""
    for problem in (*problems, *notes):
        warnings.warn(RecordsWarning(problem), stacklevel=3)


def _check_recorded(ruled: Sequence[str], spec: TargetSpec) -> None:
    if ruled:
        raise MissingRecordsError(
            f"{len(ruled)} kernels have no usable record for {spec.name} on {spec.cores} "
            f"threads: {', '.join(ruled)}",
            "tune for this target, name a folder that has them, or do not require records",
        )

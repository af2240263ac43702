"""From a model and options to an artifact, checked."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.artifact.emission import HEADER, STATIC, Emit
from tvm_mobilenet.artifact.native_header import prefix_of
from tvm_mobilenet.artifact.toolchain import find_linker
from tvm_mobilenet.artifact.toolchain_cuda import find_nvcc
from tvm_mobilenet.common.scratch import scratch_folder
from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.compilation.adapter import StackAdapter
from tvm_mobilenet.compilation.compiled import Compiled, artifact_in, runs_here
from tvm_mobilenet.compilation.options import CompileOptions, check_c_interface, tell
from tvm_mobilenet.compilation.stack import this_stack
from tvm_mobilenet.errors import MissingRecordsError, QuantizationError
from tvm_mobilenet.machine import TargetSpec, validate_with_llvm
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.network.planning import check_integers
from tvm_mobilenet.runtime.artifact import write_manifest
from tvm_mobilenet.runtime.recipe import preprocess_for

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.adapter import Tools
    from tvm_mobilenet.compilation.options import ModelLike
    from tvm_mobilenet.network.plan import NetworkPlan
    from tvm_mobilenet.verify.report import VerifyReport

_log = logging.getLogger(__name__)


def compile_network(model: ModelLike, options: CompileOptions) -> Compiled:
    """Compile a model; see :func:`tvm_mobilenet.compile`."""
    stack = this_stack()
    check_c_interface(options.spec, stack.name, options.of_c_interface)
    network = _network(model, options, stack.name)
    options = options.keeping(network.kept_as)
    spec = options.spec
    stack.check(options)
    tools = _tools(spec, options.emit)
    validate_with_llvm(spec)
    recipe = preprocess_for(
        network.model.image_size,
        None if options.pixels else options.preprocess,
        network.preprocess,
        dtype=network.model.input_dtype,
    )
    plan = options.plan(network.model, stack.name, network.records)
    lowered = stack.lower(network, plan, Path(options.dump_ir) if options.dump_ir else None)
    tell((*options.found.problems, *lowered.notes), 3)
    if options.require_records:
        _check_recorded(lowered.ruled, spec)
    folder = scratch_folder()
    with contextlib.ExitStack() as undo:
        undo.callback(folder.cleanup)
        path = artifact_in(folder.name)
        alone = artifact_in(folder.name, "object") if options.emit in STATIC else None
        manifest = lowered.write(recipe, tools, path, options.prefix, alone)
        _log.info("weights: %s", network.source)
        if options.of_c_interface:
            prefix_of(manifest)
        compiled = Compiled(manifest, folder, options.emit)
        linker, _ = tools
        if linker is None:
            artifact_in(folder.name, HEADER).write_text(compiled.header)
        else:
            compiled.manifest = write_manifest(path, manifest)
            if judged := _judged(compiled, network, plan, options, stack):
                compiled.manifest = write_manifest(path, manifest | judged)
            if alone is not None:
                write_manifest(alone, compiled.manifest)
                linker.archive([alone], artifact_in(folder.name, "a"))
        undo.pop_all()
    return compiled


def _network(model: ModelLike, options: CompileOptions, stack: Stack) -> Network:
    """Return what to compile, quantised if that is asked for."""
    network = network_from(model, options.weights, options.seed)
    if options.dtype != "int8" or network.records:
        return network
    check_integers(options.spec, stack)
    if options.calibration is None:
        raise QuantizationError(
            f"{network.model.title} is in float32, and there are no images to quantise it by",
            "give --calibration FOLDER, or quantise first: tvm-mobilenet quantize --help",
        )
    from tvm_mobilenet.compilation.quantizing import quantize

    found, report = quantize(
        network,
        options.calibration,
        seed=options.seed,
        preprocess=options.preprocess,
        pixels=options.pixels,
    )
    _log.info("%s", report.summary)
    return found


def _tools(spec: TargetSpec, emit: Emit) -> Tools:
    linker = None if emit == HEADER else find_linker(spec)
    return linker, find_nvcc() if spec.gpu is not None and spec.gpu.kind == "cuda" else None


def _check_recorded(ruled: Sequence[str], spec: TargetSpec) -> None:
    if ruled:
        raise MissingRecordsError(
            f"{len(ruled)} kernels have no usable record for {spec.name} on {spec.cores} "
            f"threads: {', '.join(ruled)}",
            "tune for this target, name a folder that has them, or do not require records",
        )


def _judged(
    compiled: Compiled,
    network: Network,
    plan: NetworkPlan,
    options: CompileOptions,
    stack: StackAdapter,
) -> dict[str, Any]:
    """Return what the manifest shall say of a check, as far as one can be made."""
    if options.verify and (options.device is not None or runs_here(compiled.manifest)):
        report = _verified(compiled, network, plan.target, options.device)
        _log.info("verified: relative error %.1e", report.relative)
        report.check()
        return {"verification": report.to_dict()}
    if network.imported is None or network.records:
        return {}
    from tvm_mobilenet.verify.artifact import sample_input
    from tvm_mobilenet.verify.host_check import check_on_host

    x = sample_input(network.model.input_shape, dtype=network.model.input_dtype)
    return {"host_check": check_on_host(network, x, stack)}


def _verified(
    compiled: Compiled, network: Network, target: TargetSpec, device: str | None
) -> VerifyReport:
    """Verify an artifact here, or on a board."""
    from tvm_mobilenet.device import open_device
    from tvm_mobilenet.verify.network import verify_network

    if device is None:
        return verify_network(compiled.module, network, target)
    with open_device(device) as opened, opened.session() as session:
        return verify_network(session.artifact(compiled.path), network, target)

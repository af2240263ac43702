"""The phases in their order, and the module after each if somebody wants to look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_mobilenet.graph.block_layout import block_layout
from tvm_mobilenet.graph.build import ENTRY, build
from tvm_mobilenet.graph.fetch_ahead import fetch_ahead
from tvm_mobilenet.graph.fold_batch_norm import fold_batch_norm
from tvm_mobilenet.graph.fuse_blocks import fuse_blocks
from tvm_mobilenet.graph.fuse_epilogue import fuse_epilogue
from tvm_mobilenet.graph.legalize_rest import legalize_rest
from tvm_mobilenet.graph.pack_weights import pack_weights
from tvm_mobilenet.graph.schedule_kernels import (
    Kernel,
    KernelCall,
    KnobsFor,
    calls_in_order,
    schedule_kernels,
)
from tvm_mobilenet.models.files import dump
from tvm_mobilenet.models.spec import Model, symbol
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Choice, Fusion, FusionFor
from tvm_mobilenet.target import TargetSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network ready for code generation.

    Attributes
    ----------
    mod : IRModule
        Relax calls of scheduled kernels.
    kernels : dict of str to Kernel
        By name.
    calls : list of KernelCall
        In the order of execution.
    fusions : dict of str to Choice
        What was decided about layers that could share a kernel, by the name of the
        variable that the last of them computes.
    works : dict of str to Workload
        What each kernel of ours computes, by its name.
    """

    mod: Any
    kernels: dict[str, Kernel]
    calls: list[KernelCall]
    fusions: dict[str, Choice]
    works: dict[str, Workload]


def lower(
    model: Model,
    weights: Mapping[str, NDArray[np.float32]],
    target: TargetSpec,
    knobs_for: KnobsFor,
    dump_ir: Path | None = None,
    *,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
) -> Lowered:
    """Take a model through every phase.

    Parameters
    ----------
    model : Model
    weights : mapping of str to ndarray
    target : TargetSpec
    knobs_for : callable
        Recorded knobs of a workload, or None.
    dump_ir : Path, optional
        Folder for the module after each phase, ``NN_phase.py`` in TVMScript.
    fusion : {"auto", "all", "none"}
        Which layers share a kernel: as measured or by rule, all that can, none.
    fusion_for : callable
        Measured answer for the workload of a shared kernel, or None.

    Returns
    -------
    Lowered

    Raises
    ------
    InvalidModelError, OutputError
    """
    tvm_target = tvm.target.Target(target.tvm_dict())
    fusions: dict[str, Choice] = {}
    works: dict[str, Workload] = {}

    def fuse(mod: Any) -> Any:
        mod, choices = fuse_blocks(mod, target, fusion, fusion_for)
        fusions.update(choices)
        return mod

    phases: list[tuple[str, Callable[[Any], Any]]] = [
        ("fold_batch_norm", fold_batch_norm),
        ("fuse_epilogue", fuse_epilogue),
        ("fuse_blocks", fuse),
        ("block_layout", lambda mod: block_layout(mod, target, works)),
        ("pack_weights", pack_weights),
        ("legalize_rest", lambda mod: legalize_rest(mod, tvm_target)),
    ]
    if target.gpu is None:
        phases.append(("fetch_ahead", lambda mod: fetch_ahead(mod, target, ENTRY, works)))
    begun = time.perf_counter()

    def told(phase: str, found: str = "") -> None:
        nonlocal begun
        now = time.perf_counter()
        _log.info("phase %s: %.2f s%s", phase, now - begun, found and f", {found}")
        begun = now

    mod = build(model, weights)
    told("build", f"{len(model.layers)} layers")
    dump(dump_ir, "00_build.py", partial(mod.script, show_meta=False))
    for number, (name, phase) in enumerate(phases, 1):
        mod = phase(mod)
        told(name)
        dump(dump_ir, f"{number:02d}_{name}.py", partial(mod.script, show_meta=False))
    mod, kernels = schedule_kernels(mod, target, knobs_for)
    told("schedule_kernels", f"{len(kernels)} different kernels")
    name = f"{len(phases) + 1:02d}_schedule_kernels.py"
    dump(dump_ir, name, partial(mod.script, show_meta=False))
    # What the function returns is bound to a name of its own.
    returned, last = str(mod[ENTRY].body.body.name), symbol(model.outputs[0])
    calls = calls_in_order(mod, ENTRY)
    if last not in {call.value for call in calls}:  # else that call only changes its layout
        calls = [replace(c, value=last) if c.value == returned else c for c in calls]
    return Lowered(mod, kernels, calls, fusions, works)

"""Who proposes candidates: picked once for a run."""

from __future__ import annotations

import random
from collections.abc import Callable

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.tuning.proposer import Ask, Proposer
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.template import TemplateProposer
from tvm_mobilenet.tuning.tvm_proposer import TvmProposer


def proposers(tuner: str, target: TargetSpec, seed: int, ask: Ask) -> Callable[[Space], Proposer]:
    """Return what makes a workload's proposer; `tuner` is one of ``generation.TUNERS``.

    All that is drawn at random follows `seed`; `ask` is for tuners that run in a worker process.
    """
    if tuner == "template":
        rng = random.Random(seed)
        return lambda space: TemplateProposer(space, rng)
    return lambda space: TvmProposer(space, target, seed, tuner, ask)

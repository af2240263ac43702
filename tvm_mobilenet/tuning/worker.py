"""A process of a worker pool: builds candidates, runs and times them, and searches.

Reads requests from standard input, one JSON object a line, and answers each with one on
what was standard output; whatever else is printed goes to standard error. A process that builds
never runs a candidate, and one that runs some here never loads TVM's compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tvm_mobilenet.errors import reason
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning import fixture
from tvm_mobilenet.tuning.generation import generation

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer requests until there are no more."""
    _die_with(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = REQUESTS[request.pop("do")](request)
        answers.write(json.dumps(answer).encode() + b"\n")


def _die_with(parent: int) -> None:
    """End when the tuner ends, however that ends, even in the middle of a candidate."""
    with contextlib.suppress(AttributeError):  # no prctl: not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()


def build(request: Mapping[str, Any]) -> dict[str, Any]:
    """Compile one candidate into a shared object.

    Parameters
    ----------
    request : mapping
        ``work``, ``target``: fields of Workload and TargetSpec; ``knobs``; ``path``.

    Returns
    -------
    dict
        Empty, or ``failed``: why there is no code.
    """
    from tvm_mobilenet.schedules.knobs import Knobs

    work, spec = Workload.from_dict(request["work"]), TargetSpec.from_dict(request["target"])
    try:
        generation().build_kernel(work, spec, Knobs(request["knobs"]), request["path"])
    # TVM raises what its C++ names: anything here is about this candidate.
    except Exception as error:
        return {"failed": reason(error)[:400]}
    return {}


def build_control(request: Mapping[str, Any]) -> dict[str, Any]:
    """Compile the control kernel: multiply-adds in registers, on all threads or units.

    Parameters
    ----------
    request : mapping
        ``target``, ``path``, ``steps``: multiply-adds of a chain.
    """
    spec = TargetSpec.from_dict(request["target"])
    generation().build_control(spec, request["steps"], request["path"])
    return {}


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check and time one candidate, on a board, on a GPU of this machine, or on its processor.

    Parameters
    ----------
    request : mapping
        ``work``: fields of its Workload; ``cold_bytes``: weights that pass between two uses of
        the same; ``path``: of the candidate; ``control``: path of the control kernel;
        ``threads``, ``lanes``; ``best``: seconds of the best known, or None. ``target``:
        fields of a TargetSpec with a GPU; ``device``, and what
        :func:`tvm_mobilenet.tuning.remote.measure` takes besides.

    Returns
    -------
    dict
        As from :func:`tvm_mobilenet.tuning.fixture.measured`.
    """
    if "device" in request:
        from tvm_mobilenet.tuning import remote

        return remote.measure(request)
    return fixture.measured(_fixture_of(request), request["path"], request["best"])


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time candidates in turns.

    Parameters
    ----------
    request : mapping
        As of :func:`measure`, with ``paths`` for ``path``, and ``rounds`` for ``best``.

    Returns
    -------
    dict
        ``samples``: seconds by candidate and round.
    """
    if "device" in request:
        from tvm_mobilenet.tuning import remote

        return remote.compare(request)
    return fixture.compared(_fixture_of(request), request["paths"], request["rounds"])


_OF_A_CANDIDATE = {"path", "paths", "best", "rounds"}


def _fixture_of(request: Mapping[str, Any]) -> fixture.Fixture:
    """Return the fixture of a request's workload: the last one, if that was the same."""
    about = {key: request[key] for key in sorted(request.keys() - _OF_A_CANDIDATE)}
    return _fixture(json.dumps(about))


@functools.lru_cache(maxsize=1)
def _fixture(about: str) -> fixture.Fixture:
    request = json.loads(about)
    if "target" in request:
        from tvm_mobilenet.tuning.gpu_fixture import GpuFixture

        return GpuFixture(request)
    from tvm_mobilenet.tuning.cpu_fixture import CpuFixture

    return CpuFixture(request)


def propose(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one of TVM's own tuners what to try; see :mod:`tvm_mobilenet.tuning.tvm_search`."""
    from tvm_mobilenet.tuning import tvm_search

    try:
        return tvm_search.propose(request)
    # TVM raises what its C++ names: this workload has no space there.
    except Exception as error:
        return {"failed": reason(error)[:400]}


REQUESTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "build": build,
    "build_control": build_control,
    "propose": propose,
    "measure": measure,
    "compare": compare,
}

if __name__ == "__main__":
    main()

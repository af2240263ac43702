"""A member of a :class:`~tvm_mobilenet.tuning.crew.Crew`: builds candidates, runs and times them.

Reads requests from standard input, one JSON object a line, and answers each with one on
what was standard output; whatever else is printed goes to standard error. A builder never
runs a candidate, and who runs one here never loads
TVM's compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning import generation

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
    from tvm_mobilenet.errors import reason
    from tvm_mobilenet.schedules.knobs import Knobs

    work, spec = Workload.from_dict(request["work"]), TargetSpec.from_dict(request["target"])
    try:
        generation.build_kernel(work, spec, Knobs(request["knobs"]), request["path"])
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
    generation.build_control(spec, request["steps"], request["path"])
    return {}


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check and time one candidate, on the device that is named, or here.

    See :func:`tvm_mobilenet.tuning.timing.measure`.
    """
    found: dict[str, Any] = _timing(request).measure(request)
    return found


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time candidates in turns; see :func:`tvm_mobilenet.tuning.timing.compare`."""
    found: dict[str, Any] = _timing(request).compare(request)
    return found


def _timing(request: Mapping[str, Any]) -> Any:
    """Return the module that times: on a board, on a GPU of this machine, or on its processor."""
    from tvm_mobilenet.tuning import gpu_timing, remote, timing

    if "device" in request:
        return remote
    return gpu_timing if "target" in request else timing


def traces(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask MetaSchedule what to try; see :func:`tvm_mobilenet.tuning.metaschedule.traces`."""
    from tvm_mobilenet.tuning import metaschedule

    return metaschedule.traces(request)


def classic(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask AutoTVM or Ansor what to try; see :func:`tvm_mobilenet.relay.proposing.classic`."""
    from tvm_mobilenet.relay import proposing

    return proposing.classic(request, Workload.from_dict(request["work"]))


REQUESTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "build": build,
    "build_control": build_control,
    "traces": traces,
    "classic": classic,
    "measure": measure,
    "compare": compare,
}

if __name__ == "__main__":
    main()

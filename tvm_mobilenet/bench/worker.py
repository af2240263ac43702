"""The process of one runtime: opened once, then timed in rounds.

Started by :mod:`tvm_mobilenet.bench.pool` with one JSON argument. It answers
one JSON line when ready, and one to every line that asks for a round; the end
of its input ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvm_mobilenet.bench.comparison import BANDWIDTH, OURS, PEAK
from tvm_mobilenet.bench.rounds import timed_round

_PR_SET_PDEATHSIG = 1
_LONGEST = 800


def open_runtime(request: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """Open what a request names.

    Returns
    -------
    callable, int
        One call, and where the caller cannot know them (what measures the
        machine) its floating-point operations or bytes, else 0.
    """
    runtime, threads = request["runtime"], request["threads"]
    if runtime in (PEAK, BANDWIDTH):
        from tvm_mobilenet.bench import bandwidth, peak
        from tvm_mobilenet.machine import TargetSpec

        spec = TargetSpec.from_dict(request["target"])
        if runtime == BANDWIDTH:
            return bandwidth.runner(spec, threads, request["footprint"])
        return peak.runner(spec, threads)

    import numpy as np

    x = np.load(request["input"])
    if runtime == OURS:
        from tvm_mobilenet.runtime import load

        module = load(request["artifact"], threads=threads)

        def call() -> Any:
            return module(x)
    else:
        from tvm_mobilenet.bench.peers import PEERS

        call = PEERS[runtime](Path(request["folder"]), threads, x)
    found = call()  # of several outputs the first, as of the peers
    np.save(request["output"], np.asarray(found[0] if isinstance(found, tuple) else found))
    return call, 0


def serve(request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    """Open the runtime, then time a round for every line on standard input."""
    if request.get("gpu"):
        _serve_gpu(request, answer)
        return
    call, operations = open_runtime(request)
    answer({"ready": True, "operations": operations})
    for line in sys.stdin:
        answer({"times": timed_round(call, **json.loads(line))})


def _serve_gpu(request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    import numpy as np

    from tvm_mobilenet.bench.gpu_worker import open_on_gpu, timed_rounds

    opened = open_on_gpu(request)
    np.save(request["output"], opened.call())
    answer({"ready": True, "operations": 0, "facts": opened.facts})
    for line in sys.stdin:
        answer(timed_rounds(opened, json.loads(line)["seconds"]))


def main() -> None:
    """Run the worker that the first argument describes."""
    if sys.platform == "linux":
        # A stopped process would outlive a parent that is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Runtimes print to standard output; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        serve(json.loads(sys.argv[1]), answer)
    except Exception as error:
        # The parent names the runtime and reports it; the traceback is in stderr.
        answer({"error": f"{type(error).__name__}: {error}"[:_LONGEST]})
        raise


if __name__ == "__main__":
    main()

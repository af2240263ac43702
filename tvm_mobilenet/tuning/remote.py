"""What :mod:`~tvm_mobilenet.tuning.timing` does here, done on a board, through a session there.

Runs in a member of the crew, which stays alive when a candidate takes its session down. A
session that ends under a candidate proves nothing yet: somebody may have pulled the plug. So
the candidate is run once more in a new session, and is to blame when that ends too while the
board still answers.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from tvm_mobilenet.errors import (
    DeviceCallError,
    DeviceLostError,
    DeviceTimeoutError,
    TvmMobilenetError,
    VerificationError,
)
from tvm_mobilenet.tuning import sampling
from tvm_mobilenet.tuning.visit import Stand, Visit

_TWICE, _THREE_TIMES = 2, 3

_MORE = 5
"""Samples by one call once the least are there: a round trip costs more than they do."""

Answer = dict[str, Any]


@functools.cache
def _visit(address: str, limit: float) -> Visit:
    return Visit(address, limit)


def measure(request: Mapping[str, Any]) -> Answer:
    """Check one candidate on a board, and time it.

    Parameters
    ----------
    request : mapping
        As of :func:`tvm_mobilenet.tuning.timing.measure`, and ``device``: its address;
        ``machine``: what it is; ``avoid``: boards in quarantine; ``open_limit``, ``run_limit``:
        seconds for a session to open and for what a candidate does; ``strikes``:
        sessions that the candidate has lost; ``rest``: seconds before it.

    Returns
    -------
    dict
        As from :func:`tvm_mobilenet.tuning.timing.measure`, with ``where`` it ran, and
        ``failed``: (where, why, whether it is of no use to try at once again) of boards that
        are to blame themselves; without an ``outcome`` none could be used, and ``strikes``
        and ``note`` say more.
    """
    return _tried(request, _measured)


def compare(request: Mapping[str, Any]) -> Answer:
    """Time candidates in turns, on one board; see :func:`measure`."""
    return _tried(request, _compared)


def _tried(request: Mapping[str, Any], do: Callable[[Visit, Mapping[str, Any]], Answer]) -> Answer:
    """Do it, once more if the session is lost; tell whose fault it was."""
    visit = _visit(request["device"], request["open_limit"])
    strikes: int = request["strikes"]
    failed: list[tuple[str, str, bool]] = []
    blamed: Answer | None = None
    while True:
        try:
            visit.open(request)
        except TvmMobilenetError as error:
            failed.append((visit.where, error.what, not isinstance(error, DeviceLostError)))
            return {"failed": failed, "strikes": strikes, "note": error.what}
        if blamed is not None and strikes >= _TWICE:
            return blamed  # the board is well, and not to blame
        where = visit.where
        try:
            time.sleep(request["rest"])
            return {**do(visit, request), "where": where, "failed": failed}
        except DeviceCallError as error:  # of the stand: no memory, no disk
            visit.drop()
            failed.append((where, error.what, False))
            return {"failed": failed, "strikes": strikes, "note": error.what}
        except (DeviceLostError, DeviceTimeoutError) as error:
            visit.drop()
            strikes += 1
            silent = isinstance(error, DeviceTimeoutError)
            outcome = "hung" if silent else "crashed"
            blamed = {"outcome": outcome, "note": error.what, "where": where, "failed": []}
            if strikes >= _THREE_TIMES:
                return blamed
            failed.append((where, error.what, silent))


def _measured(visit: Visit, request: Mapping[str, Any]) -> Answer:
    stand = visit.stand(request)
    name = stand.upload(request["path"])
    try:
        stand.use(name)
        error = stand.check()
        timed = sampling.beside(visit.control, lambda: _repeated(stand, request["best"]))
        stand.again()
        stand.check()
    except sampling.NotANumberError as found:
        return {"outcome": "nan", "note": found.what}
    except VerificationError as found:
        return {"outcome": "wrong", "note": found.what}
    except DeviceCallError as found:
        return {"outcome": "crashed", "note": found.what}
    return {"outcome": "ok", "error": error, **timed}


def _repeated(stand: Stand, best: float | None) -> tuple[float, int, float]:
    stand.again()  # the control was in between
    once, count = stand.warm()
    return sampling.repeated(functools.partial(stand.samples, count), once, best, _MORE)


def _compared(visit: Visit, request: Mapping[str, Any]) -> Answer:
    stand = visit.stand(request)
    names, counts = [], []
    for path in request["paths"]:
        names.append(stand.upload(path))
        stand.use(names[-1])
        counts.append(stand.warm()[1])
    samples: list[list[float]] = [[] for _ in names]
    for turn in range(request["rounds"]):
        for i in range(len(names)):
            at = (i + turn) % len(names)
            stand.again(names[at])
            # The call that the evaluator makes first, and the first sample, warm the caches.
            samples[at].append(stand.samples(counts[at], 2)[1])
    return {"outcome": "ok", "samples": samples}

"""Candidates measured on a board, and whose fault it is when the session there is lost.

Runs in a worker process, which stays alive when a candidate takes its session down. A
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
)
from tvm_mobilenet.tuning.board_session import BoardSession
from tvm_mobilenet.tuning.fixture import compared, measured

_TWICE, _THREE_TIMES = 2, 3

Answer = dict[str, Any]


@functools.cache
def _session(address: str, limit: float) -> BoardSession:
    return BoardSession(address, limit)


def measure(request: Mapping[str, Any]) -> Answer:
    """Check one candidate on a board, and time it.

    Parameters
    ----------
    request : mapping
        As of :func:`tvm_mobilenet.tuning.worker.measure`, and ``device``: its address;
        ``machine``: what it is; ``avoid``: boards in quarantine; ``open_limit``, ``run_limit``:
        seconds for a session to open and for what a candidate does; ``strikes``:
        sessions that the candidate has lost; ``rest``: seconds before it.

    Returns
    -------
    dict
        As from :func:`tvm_mobilenet.tuning.fixture.measured`, with ``where`` it ran, and
        ``failed``: (where, why, whether it is of no use to try at once again) of boards that
        are to blame themselves; without an ``outcome`` none could be used, and ``strikes``
        and ``note`` say more.
    """
    return _tried(request, _measured)


def compare(request: Mapping[str, Any]) -> Answer:
    """Time candidates in turns, on one board; see :func:`measure`."""
    return _tried(request, _compared)


def _tried(
    request: Mapping[str, Any], do: Callable[[BoardSession, Mapping[str, Any]], Answer]
) -> Answer:
    """Do it, once more if the session is lost; tell whose fault it was."""
    session = _session(request["device"], request["open_limit"])
    strikes: int = request["strikes"]
    failed: list[tuple[str, str, bool]] = []
    blamed: Answer | None = None
    while True:
        try:
            session.open(request)
        except TvmMobilenetError as error:
            failed.append((session.where, error.what, not isinstance(error, DeviceLostError)))
            return {"failed": failed, "strikes": strikes, "note": error.what}
        if blamed is not None and strikes >= _TWICE:
            return blamed  # the board is well, and not to blame
        where = session.where
        try:
            time.sleep(request["rest"])
            return {**do(session, request), "where": where, "failed": failed}
        except DeviceCallError as error:  # of the fixture: no memory, no disk
            session.drop()
            failed.append((where, error.what, False))
            return {"failed": failed, "strikes": strikes, "note": error.what}
        except (DeviceLostError, DeviceTimeoutError) as error:
            session.drop()
            strikes += 1
            silent = isinstance(error, DeviceTimeoutError)
            outcome = "hung" if silent else "crashed"
            blamed = {"outcome": outcome, "note": error.what, "where": where, "failed": []}
            if strikes >= _THREE_TIMES:
                return blamed
            failed.append((where, error.what, silent))


def _measured(session: BoardSession, request: Mapping[str, Any]) -> Answer:
    fixture, path = session.fixture(request), session.upload(request["path"])
    return measured(fixture, path, request["best"])


def _compared(session: BoardSession, request: Mapping[str, Any]) -> Answer:
    fixture, paths = session.fixture(request), list(map(session.upload, request["paths"]))
    return {"outcome": "ok", **compared(fixture, paths, request["rounds"])}

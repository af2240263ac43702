"""Worker processes that run one at a time, the others stopped.

Runtimes keep their threads spinning for a while after a call. In one process,
or in several that all run, they take processors from the one being timed; a
worker is therefore stopped (SIGSTOP) as soon as it has answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tvm_mobilenet.common.interpreter import python_module
from tvm_mobilenet.common.scratch import scratch_file
from tvm_mobilenet.errors import PeerError

START_SECONDS = 120.0
"""Patience for a runtime to load and compile a network."""

_TAIL = 800


class Worker:
    """One runtime on one number of threads, in its own process.

    Parameters
    ----------
    request : mapping
        JSON-able; what :func:`tvm_mobilenet.bench.worker.open_runtime` opens.
    patience : float
        Seconds to load and compile a network.

    Attributes
    ----------
    facts : dict
        What a runtime on a GPU says of that.

    Raises
    ------
    PeerError
        If the runtime could not be opened.
    """

    def __init__(self, request: Mapping[str, Any], patience: float = START_SECONDS) -> None:
        self.runtime = str(request["runtime"])
        self.threads = int(request["threads"])
        self._stderr = scratch_file()
        self._process = subprocess.Popen(
            [*python_module("tvm_mobilenet.bench.worker"), json.dumps(dict(request))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            answer = self._answer(patience)
            self.operations = int(answer["operations"])
            self.facts: dict[str, str] = answer.get("facts", {})
            self._stop()
        except BaseException:
            self.close()
            raise

    def round(self, seconds: float, **turn: Any) -> list[float]:
        """Let this worker alone run for about `seconds`.

        Parameters
        ----------
        seconds : float
            Wall-clock time of the round, its untimed part included.
        **turn
            ``warmup`` and ``iterations``, as for
            :func:`tvm_mobilenet.bench.rounds.timed_round`.

        Returns
        -------
        list of float
            Seconds of each timed call.

        Raises
        ------
        PeerError
            If the runtime failed.
        """
        times: list[float] = self.turn(seconds, **turn)["times"]
        return times

    def turn(self, seconds: float, **turn: Any) -> dict[str, Any]:
        """Let this worker alone run for about `seconds`; return all that it says."""
        self.begin(seconds, **turn)
        return self.end(seconds, **turn)

    def begin(self, seconds: float, **turn: Any) -> None:
        """Let this worker run, without waiting for it."""
        self._process.send_signal(signal.SIGCONT)
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: _answer says of what
            stdin.write(json.dumps({"seconds": seconds, **turn}).encode() + b"\n")
            stdin.flush()

    def end(
        self, seconds: float, warmup: float | None = None, iterations: int | None = None
    ) -> dict[str, Any]:
        """Wait for what :meth:`begin` began, and stop the worker."""
        # How long a number of calls takes, nobody knows.
        longest = None if iterations else START_SECONDS + seconds + (warmup or 0.0)
        answer = self._answer(longest)
        self._stop()
        return answer

    def close(self) -> None:
        """End the process and give back what it held."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # unread input of the dead
                    stream.close()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        # The signal is only queued; a thread that still spins would disturb the next.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _answer(self, patience: float | None) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], patience)
        if not readable:
            raise PeerError(f"{self.runtime} did not answer within {patience:.0f} s")
        line = stdout.readline()
        if not line:
            raise PeerError(f"the process of {self.runtime} died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(
                f"{self.runtime} failed on {self.threads} threads: {answer['error']}",
                "leave it out of --against, or check its installation",
            )
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace").strip()
        how = signal.strsignal(-code) if code < 0 else f"status {code}"
        return f"{how}\n{text[-_TAIL:]}".strip()


@contextlib.contextmanager
def workers(requests: Sequence[Mapping[str, Any]]) -> Iterator[list[Worker]]:
    """Start workers one after another, stopped; end them all on the way out."""
    with contextlib.ExitStack() as stack:
        started = []
        for request in requests:
            worker = Worker(request)
            stack.callback(worker.close)
            started.append(worker)
        yield started


def in_turn(rounds: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield a round's number and whose turn it is; each round begins with another."""
    for number in range(rounds):
        first = number % count
        for at in (*range(first, count), *range(first)):
            yield number + 1, at

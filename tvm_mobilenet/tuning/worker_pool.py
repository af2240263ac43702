"""Processes that build and measure candidates, and that may die of them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tvm_mobilenet.common.interpreter import python_module
from tvm_mobilenet.common.scratch import scratch_file
from tvm_mobilenet.errors import TuningError

PROGRAM = python_module("tvm_mobilenet.tuning.worker")
"""What a worker runs: reads requests as lines of JSON, answers each with one."""

_SLICE_S = 0.2
_START_S = 120.0
_WORDS = 400


class LostError(Exception):
    """A worker gave no answer: it died, or took too long and was ended; the note says of what."""

    def __init__(self, outcome: Literal["hung", "crashed"], note: str) -> None:
        super().__init__(note)
        self.outcome = outcome
        self.note = note

    @property
    def answer(self) -> dict[str, Any]:
        """What it says of a candidate that its worker was lost."""
        return {"outcome": self.outcome, "note": self.note}


class WorkerPool:
    """Workers that answer requests, each in a process of its own.

    One that dies or does not answer in time costs the request that it had; another takes
    its place. They die with this process, however that ends.

    Parameters
    ----------
    program : sequence of str
        What they run.
    folder : str, optional
        For their temporary files: those of a worker that is ended stay.
    """

    def __init__(
        self, size: int, program: Sequence[str] = PROGRAM, folder: str | None = None
    ) -> None:
        self._program, self._folder = program, folder
        self._workers: list[_Worker] = []
        self.resize(size)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def resize(self, size: int) -> None:
        """Have so many workers from now on; between two calls of :meth:`work`."""
        for worker in self._workers[size:]:
            worker.end()
        kept = self._workers[:size]
        added = size - len(kept)
        self._workers = kept + [_Worker(self._program, self._folder) for _ in range(added)]

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer to one request; without one, raise the LostError."""
        ((_, answer),) = self.work([request], limit_s)
        if isinstance(answer, LostError):
            raise answer
        return answer

    def work(
        self, requests: Sequence[Mapping[str, Any]], limit_s: float
    ) -> Iterator[tuple[int, dict[str, Any] | LostError]]:
        """Hand out requests, as many at a time as there are workers.

        Parameters
        ----------
        requests : sequence of mapping
            JSON-able.
        limit_s : float
            For one answer. Time in which this process itself was stopped does not count.

        Yields
        ------
        int, dict or LostError
            Which request, and its answer, as they come.

        Raises
        ------
        TuningError
            A worker does not even start.
        """
        waiting = list(enumerate(requests))[::-1]
        idle, busy = list(self._workers), dict[_Worker, tuple[int, float]]()
        try:
            while waiting or busy:
                while waiting and idle:
                    number, request = waiting.pop()
                    worker = idle.pop()
                    worker.send(request)
                    busy[worker] = number, 0.0
                began = time.monotonic()
                ready, _, _ = select.select([w.stream for w in busy], [], [], _SLICE_S)
                passed = min(time.monotonic() - began, 2 * _SLICE_S)
                for worker, (number, spent) in list(busy.items()):
                    answer: dict[str, Any] | LostError
                    if worker.stream in ready:
                        answer = worker.answer()
                    elif spent + passed < limit_s:
                        busy[worker] = number, spent + passed
                        continue
                    else:
                        worker.end()
                        answer = LostError("hung", f"no answer in {limit_s:g} s")
                    del busy[worker]
                    idle.append(worker)
                    yield number, answer
        finally:
            for worker in busy:  # their answers would be taken for others'
                worker.end()


class _Worker:
    """One process, started when it is first asked."""

    def __init__(self, program: Sequence[str], folder: str | None) -> None:
        self._program = list(program)
        self._variables = {"TMPDIR": folder} if folder else {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def stream(self) -> Any:
        """Where its answers come from."""
        assert self._process is not None
        return self._process.stdout

    def send(self, request: Mapping[str, Any]) -> None:
        """Give it something to do; a dead one is replaced."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: answer() says of what
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any] | LostError:
        """Return what it says, or what it died of."""
        line = self.stream.readline()
        if line.endswith(b"\n"):
            found: dict[str, Any] = json.loads(line)
            return found
        return LostError("crashed", self._last_words())

    def end(self) -> None:
        """Kill it, and what it has started: a compiler would go on writing into the folder."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # unread input of the dead
                    stream.close()
        self._process = None

    def _start(self) -> None:
        self._stderr = scratch_file()
        self._process = subprocess.Popen(
            [*self._program, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # a group of its own, which Ctrl-C leaves to the tuner
            env={
                **os.environ,
                **self._variables,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
        spent = 0.0
        while not select.select([self.stream], [], [], _SLICE_S)[0] and spent < _START_S:
            spent += _SLICE_S
        if spent >= _START_S or not self.stream.readline():
            words = self._last_words() if spent < _START_S else f"nothing said in {_START_S:g} s"
            self.end()
            raise TuningError(
                f"a process that builds and measures does not start: {words}",
                "check the installation: `python -m tvm_mobilenet.tuning.worker` shall print {}",
            )

    def _last_words(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace").strip()
        how = signal.strsignal(-code) if code < 0 else f"status {code}"
        self.end()
        return f"{how} {text[-_WORDS:]}".strip()

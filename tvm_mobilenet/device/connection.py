"""One connection to one board: upload, load, call, time; every call has a time limit.

:class:`~tvm_mobilenet.device.session.Session` adds what it takes to run an artifact there.
"""

from __future__ import annotations

import contextlib
import math
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.artifact.native_header import PREFIX
from tvm_mobilenet.common.stacks import Stack, versions_of
from tvm_mobilenet.device.agent import agent_for, machine_of_program, unpack_files
from tvm_mobilenet.device.serve import PROGRAM
from tvm_mobilenet.device.wire import Line, Wire, greet
from tvm_mobilenet.errors import (
    DeviceCallError,
    DeviceError,
    DeviceLostError,
    TvmMobilenetError,
    last_line,
)

TIMEOUT_S = 60.0
"""How long one answer may take by default, seconds."""

LIFETIME_S = 3600
"""After which a server may end a session by itself, seconds."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Sets of arguments that calls on a board take in turns, while this is held.

    Attributes
    ----------
    number : int
        By which the agent knows them.
    sets : sequence of sequence of tensor
        These.
    """

    number: int
    sets: Sequence[Sequence[Any]]


class Connection:
    """A process on a board that does what it is told, and dies alone if it crashes.

    Use it from one thread at a time. After DeviceLostError or DeviceTimeoutError it is of no
    more use, but its device is: open another.

    Parameters
    ----------
    line : Line
        To a server.
    timeout : float
        How long one answer may take, seconds.
    lifetime : int
        After how many seconds the board may end this session: a kernel that hangs
        keeps it busy no longer than that, whatever happens here.
    stack : {"relax", "relay"}
        Whose TVM both sides have.

    Attributes
    ----------
    where : str
        The board, for messages.
    timeout : float
        As given; may be set anew.
    stack : str
        As given.

    Raises
    ------
    DeviceError, DeviceLostError, DeviceTimeoutError
        No session came about.
    """

    def __init__(self, line: Line, timeout: float, lifetime: int, stack: Stack) -> None:
        import tvm.rpc

        self.where = line.where
        self.timeout = timeout
        self.stack: Stack = stack
        self._ended: DeviceError | None = None
        self._machine = ""
        self._agent: Any = None
        self._uploaded = 0
        self._held: list[Any] = []  # TVM 0.19 unloads libraries that nobody holds
        try:
            greet(line.sock, line.key, lifetime, line.where, timeout)
            self._wire = Wire(line.sock, line.where)
        except BaseException:
            line.sock.close()
            raise
        try:
            with self.answering("opening a session"):
                self.rpc = tvm.rpc.connect("127.0.0.1", self._wire.port, self._wire.name)
        except DeviceLostError as error:
            self._wire.close()
            here = " ".join("==".join(pair) for pair in versions_of(stack).items())
            raise DeviceLostError(
                error.what, f"see what its server printed; its TVM has to be as here: {here}"
            ) from error
        except BaseException:
            self._wire.close()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.where}{', ended' if self._ended else ''}>"

    def close(self) -> None:
        """End the session and the process that served it."""
        if self._ended is None:
            self._ended = DeviceError(f"the session with {self.where} was closed", "open another")
        # First the wire: remote objects that are freed later then fail at once and in silence.
        self._wire.close()
        self._agent = None

    @contextlib.contextmanager
    def answering(self, what: str, seconds: float | None = None) -> Iterator[None]:
        """Limit the time of every remote call inside, and name what goes wrong.

        Parameters
        ----------
        what : str
            What is done, for messages.
        seconds : float, optional
            For each answer; :attr:`timeout` without.

        Raises
        ------
        DeviceLostError, DeviceTimeoutError
            The board is gone, or owes an answer for too long.
        DeviceCallError
            The board answered with an error.
        """
        if self._ended is not None:
            raise self._ended
        self._wire.limit(self.timeout if seconds is None else seconds)
        try:
            yield
        except TvmMobilenetError:
            raise
        # TVM raises whatever class the error had on the board, by name.
        except Exception as error:
            ended = self._wire.why()
            if ended is None:
                raise DeviceCallError(
                    f"{what} failed on {self.where}: {last_line(error)}",
                    "the error is the board's own",
                ) from error
            self._ended = type(ended)(f"{what}: {ended.what}", ended.remedy)
            raise self._ended from error

    @contextlib.contextmanager
    def guarded(self, what: str, seconds: float | None = None) -> Iterator[None]:
        """As :meth:`answering`, for code that may hang or crash: the board then gets free.

        The agent ends the process there a second after the time is up, or when it
        crashes, in a way that TVM's server takes for the end of a session.
        """
        limit = self.timeout if seconds is None else seconds
        self.agent("deadline", math.ceil(limit) + 1)
        with self.answering(what, limit):
            yield
        self.agent("deadline", 0)

    @property
    def machine(self) -> str:
        """ELF machine of the board's programs, such as ``"aarch64"``."""
        if not self._machine:
            try:
                program = self._download(PROGRAM)
            except DeviceCallError:  # a server of TVM's own
                program = self._download("/bin/sh")
            self._machine = machine_of_program(program, self.where)
        return self._machine

    def _download(self, name: str) -> bytes:
        with self.answering(f"reading {name}"):
            return bytes(self.rpc.download(name))

    def agent(self, name: str, *arguments: object, seconds: float | None = None) -> Any:
        """Call a function of ``agent.c`` on the board; it is uploaded when first needed."""
        with self.answering(f"the agent's {name}", seconds):
            found = self.agent_module[name](*arguments)
            # A function of a library returns no bytes in TVM 0.19, but a tensor of them.
            return found.numpy().tobytes() if hasattr(found, "numpy") else found

    @property
    def agent_module(self) -> Any:
        """The agent on the board."""
        if self._agent is None:
            self._agent = self.load(agent_for(self.machine, self.stack), "agent.so")
        return self._agent

    def ping(self) -> None:
        """Make a call that does nothing."""
        self.agent("deadline", 0)

    def threads(self, number: int) -> None:
        """Let kernels use `number` threads: those opened from now on, on the classic stack all."""
        self.agent("threads", number)

    def kernel(self, there: str, name: str = "main", prefix: str = PREFIX) -> int:
        """Open a file that was uploaded, for :meth:`use`.

        Parameters
        ----------
        there : str
            What :meth:`upload` returned.
        name : str
            The function's name, on the classic stack.
        prefix : str
            What the names of its C functions begin with, on the main stack.

        Returns
        -------
        int
            Its number there; 0 if the processor lacks instructions that it uses.
        """
        if self.stack == "relax":
            return int(self.agent("kernel", there, prefix))
        with self.answering(f"loading {there}"):
            self._held.append(self.rpc.load_module(there))
        return int(self.agent("kernel", there, name))

    def turns(self, sets: Sequence[Sequence[Any]]) -> Turns:
        """Tell the agent of sets of arguments, tensors of the board; outputs are last."""
        made = Turns(int(self.agent("turns")), sets)
        for tensors in sets:
            self.agent("turn", made.number, *tensors)
        return made

    def use(self, kernel: int, turns: Turns) -> None:
        """Choose what :meth:`step` and :meth:`time_steps` call from now on, and with what."""
        self.agent("use", kernel, turns.number)

    def step(self, what: str, seconds: float | None = None) -> None:
        """Make one call, with the next set of arguments."""
        with self.guarded(what, seconds):
            self.agent_module["step"]()

    def time_steps(self, **options: Any) -> list[float]:
        """Time such calls; the options are those of :meth:`time`."""
        return self.time(self.agent_module, "step", **options)

    def files(self, pattern: str) -> dict[str, bytes]:
        """Read the board's files whose paths match, /proc and /sys included."""
        return dict(unpack_files(bytes(self.agent("files", pattern))))

    def upload(self, content: str | os.PathLike[str] | bytes, name: str = "") -> str:
        """Write a file, or what shall be in one, into the session's folder; return its name there.

        The name begins with a number and is the file's own where none is given. The folder
        goes with the session.
        """
        if isinstance(content, bytes):
            data = content
        else:
            data = Path(content).read_bytes()
            name = name or os.path.basename(content)
        # A number in front: a library of a name that is loaded already would not be loaded anew.
        self._uploaded += 1
        name = f"{self._uploaded}-{posixpath.basename(name) or 'file'}"
        with self.answering(f"uploading {name}"):
            self.rpc.upload(bytearray(data), name)
        return name

    def load(self, content: str | os.PathLike[str] | bytes, name: str = "") -> Any:
        """Upload a shared object and load it; return TVM's module on the board.

        Its functions are called by :meth:`call` and :meth:`time`.
        """
        there = self.upload(content, name)
        with self.answering(f"loading {there}"):
            return self.rpc.load_module(there)

    def tensor(self, array: NDArray[Any]) -> Any:
        """Copy an array to the board."""
        with self.answering("sending an array"):
            return self.empty(array.shape, array.dtype).copyfrom(np.ascontiguousarray(array))

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Any:
        """Allocate a tensor on the board; what is in it is not defined."""
        import tvm

        with self.answering("allocating a tensor"):
            make = tvm.nd.empty if self.stack == "relay" else tvm.runtime.empty
            return make(tuple(shape), np.dtype(dtype).name, self.rpc.cpu(0))

    def array(self, tensor: Any) -> NDArray[Any]:
        """Copy a tensor of the board back."""
        with self.answering("receiving an array"):
            return cast("NDArray[Any]", tensor.numpy())

    def call(self, library: Any, name: str, *arguments: Any, seconds: float | None = None) -> Any:
        """Call a function of a library that :meth:`load` returned."""
        with self.guarded(name, seconds):
            return library[name](*arguments)

    def time(
        self,
        library: Any,
        name: str,
        *arguments: Any,
        number: int = 1,
        repeats: int = 9,
        least_ms: int = 0,
        pause_ms: int = 0,
        seconds: float | None = None,
    ) -> list[float]:
        """Time a function there, from C++ (TVM's RPCTimeEvaluator).

        Parameters
        ----------
        library, name, arguments
            As for :meth:`call`.
        number : int
            Calls that one repeat averages over; raised until it takes `least_ms`.
        repeats : int
            Figures to return. One call before them does not count.
        least_ms : int
            Least length of a repeat, milliseconds.
        pause_ms : int
            Between repeats, milliseconds.
        seconds : float, optional
            For all of it together.

        Returns
        -------
        list of float
            Seconds a call, one for each repeat.
        """
        with self.guarded(f"timing {name}", seconds):
            evaluator = library.time_evaluator(
                name,
                self.rpc.cpu(0),
                number=number,
                repeat=repeats,
                min_repeat_ms=least_ms,
                cooldown_interval_ms=pause_ms,
            )
            return list(evaluator(*arguments).results)

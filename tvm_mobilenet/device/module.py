"""An artifact on a board: the counterpart of :class:`tvm_mobilenet.runtime.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvm_mobilenet.device.agent import unpack_output
from tvm_mobilenet.device.connection import Connection
from tvm_mobilenet.device.description import Description
from tvm_mobilenet.errors import ArtifactError, CpuFeatureError
from tvm_mobilenet.runtime.described import Described
from tvm_mobilenet.runtime.inputs import Expected
from tvm_mobilenet.runtime.instrument import Float32, Profile, Trace, unblocked
from tvm_mobilenet.runtime.native_kernels import alone


class RemoteModule(Described):
    """An artifact that is loaded on a board; call it with the input, get the output.

    From :meth:`tvm_mobilenet.device.session.Session.artifact`.

    Attributes
    ----------
    board : Description
        Where it runs.
    """

    def __init__(
        self,
        session: Connection,
        path: str,
        manifest: dict[str, Any],
        *,
        board: Description,
        threads: int,
    ) -> None:
        super().__init__(path, manifest, threads)
        self._session = session
        self.board = board
        self._input = Expected(manifest["inputs"][0])
        self._open()
        self.use_threads(threads)

    def __call__(self, x: Any) -> Any:
        """Run the model there.

        Parameters
        ----------
        x : ndarray
            float32, of the shape that :attr:`inputs` states (NCHW).

        Returns
        -------
        ndarray
            float32; new memory with every call. A tuple, where there are several.

        Raises
        ------
        InputError
            Another shape or dtype.
        DeviceError
            The board failed.
        """
        self._run(x)
        session = self._session
        with session.answering("reading the output"):
            found = tuple(session.array(part) for part in self._outputs())
        return found[0] if len(found) == 1 else found

    def trace(self, x: Any) -> list[Trace]:
        """Run the model and keep the output of every kernel; see ``Module.trace``.

        Raises
        ------
        InputError, DeviceError
            As for a call.
        ArtifactError
            The kernels that ran are not those that the manifest lists.
        """
        self._bind(x)
        session = self._session
        with session.guarded(f"running {self.title}"):
            names = bytes(session.agent_module["observe"]())
        self._check_kernels(names.decode().split("\0")[:-1])
        traces = []
        for position, call in enumerate(self.manifest["calls"]):
            output = unpack_output(bytes(session.agent("output", position)))
            traces.append(Trace(call, unblocked(output, call["output"])))
        return traces

    def latencies(self, x: Any, repeats: int = 20, seconds: float | None = None) -> list[float]:
        """Time whole calls there, without the way to it and back.

        Parameters
        ----------
        x : ndarray
            As for a call.
        repeats : int
            Calls; one before them does not count.
        seconds : float, optional
            For all of them together.

        Returns
        -------
        list of float
            Seconds, call by call.
        """
        self._bind(x)
        return self._session.time_steps(repeats=repeats, seconds=seconds)

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel inside the network; see ``Module.profile``.

        Times are taken by the artifact itself, next to the kernels.
        """
        total = float(np.median(self.latencies(x, repeats))) * 1e6
        with self._session.guarded("timing kernels"):
            blob = bytes(self._session.agent_module["replay"](repeats))
        spans = np.frombuffer(blob, np.int64).reshape(repeats, -1)
        medians = map(float, np.median(spans, axis=0) / 1e3)
        return Profile(tuple(zip(self.manifest["calls"], medians, strict=True)), total)

    def alone(self, position: int, repeats: int = 9, milliseconds: int = 4) -> float:
        """Time one kernel again and again, after :meth:`profile`; microseconds."""

        def repeat(times: int) -> int:
            with self._session.guarded("timing a kernel"):
                return int(self._session.agent_module["repeat"](position, times))

        return alone(repeat, repeats, milliseconds)

    def use_threads(self, threads: int) -> None:
        """Let calls use so many threads from now on."""
        self.threads = threads
        self._session.threads(threads)
        prefix = self.manifest["c_interface"]["prefix"]
        self._network = self._session.kernel(self._file, prefix=prefix)
        if not self._network:
            raise CpuFeatureError(
                f"{self.path} uses instructions that the processor of {self._session.where} lacks",
                "compile it with --device, or with a lower level such as x86-64-v3",
            )

    def _open(self) -> None:
        """Put the network there."""
        session = self._session
        self._file = session.upload(self.path)
        self._given, *self._made = (
            session.empty(tensor["shape"], tensor["dtype"])
            for tensor in (*self.inputs, *self.outputs)
        )
        self._turns = session.turns([[self._given, *self._made]])

    def _outputs(self) -> list[Any]:
        """Return what it has computed, tensors of the board."""
        return self._made

    def _checked(self, x: Any) -> Float32:
        if not isinstance(x, np.ndarray):
            raise self._input.refuse(f"a {type(x).__name__}", "give a NumPy array")
        self._input.check(x.shape, x.dtype)
        return x

    def _run(self, x: Any) -> None:
        self._bind(x)
        self._session.step(f"running {self.title}")

    def _bind(self, x: Any) -> None:
        """Make a call of this network on an input what the agent does next."""
        x = self._checked(x)
        with self._session.answering("sending an array"):
            self._given.copyfrom(np.ascontiguousarray(x))
        self._session.use(self._network, self._turns)

    def _check_kernels(self, ran: Sequence[str]) -> None:
        listed = [call["kernel"] for call in self.manifest["calls"]]
        if ran != listed:
            raise ArtifactError(
                f"the network ran {len(ran)} kernels on {self._session.where}, and not the "
                f"{len(listed)} that its manifest lists",
                "compile the model again",
            )

"""An artifact on a board: the counterpart of :class:`tvm_mobilenet.runtime.Module`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_mobilenet.device.agent import OBSERVE, unpack_output
from tvm_mobilenet.device.connection import Connection
from tvm_mobilenet.device.description import Description
from tvm_mobilenet.errors import ArtifactError
from tvm_mobilenet.runtime.described import Described
from tvm_mobilenet.runtime.inputs import Expected
from tvm_mobilenet.runtime.instrument import Float32, Profile, Trace, unblocked

_CPU, _POOLED = 1, 2  # see runtime/module.py
_TIMED = "tvm_mobilenet.timed"


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
        self._executable = session.load(path)
        self._input = Expected(manifest["inputs"][0])
        session.threads(threads)
        self._machine = self._started()

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
        self._run(self._machine, x)
        session = self._session
        with session.answering("reading the output"):
            found = tuple(session.array(part) for part in self._outputs(self._machine))
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
        self._observe(x)
        traces = []
        for position, call in enumerate(self.manifest["calls"]):
            output = unpack_output(bytes(self._session.agent("output", position)))
            traces.append(Trace(call, unblocked(output, call["output"])))
        self._session.agent("observe")  # frees what was kept
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
        session = self._session
        tensor = session.tensor(self._checked(x))
        with session.answering("binding the input"):
            self._machine["save_function"]("main", _TIMED, 0, tensor)
        return session.time(self._machine, _TIMED, repeats=repeats, seconds=seconds)

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel inside the network; see ``Module.profile``.

        Times are taken by the agent, next to the kernels.
        """
        total = float(np.median(self.latencies(x, repeats))) * 1e6
        self._observe(x)
        with self._session.guarded("timing kernels"):
            blob = bytes(self._session.agent_module["replay"](repeats))
        spans = np.frombuffer(blob, np.float64).reshape(repeats, -1)
        medians = map(float, np.median(spans, axis=0) * 1e6)
        return Profile(tuple(zip(self.manifest["calls"], medians, strict=True)), total)

    def alone(self, position: int, repeats: int = 9, least_ms: int = 4) -> float:
        """Time one kernel again and again, after :meth:`profile`; microseconds."""
        session = self._session
        session.agent("select", position)
        times = session.time(session.agent_module, "call", repeats=repeats, least_ms=least_ms)
        return float(np.median(times)) * 1e6

    def _started(self) -> Any:
        """Return what runs the network there."""
        with self._session.answering(f"starting {self.title}"):
            machine = self._executable["vm_load_executable"]()
            machine["vm_initialization"](_CPU, 0, _POOLED)
        return machine

    def _outputs(self, machine: Any) -> list[Any]:
        """Return what it has computed, tensors of the board."""
        count = len(self.manifest["outputs"])
        if count == 1:
            return [machine["get_output"]("main")]
        return [machine["get_output"]("main", at) for at in range(count)]

    def _checked(self, x: Any) -> Float32:
        if not isinstance(x, np.ndarray):
            raise self._input.refuse(f"a {type(x).__name__}", "give a NumPy array")
        self._input.check(x.shape, x.dtype)
        return x

    def _run(self, machine: Any, x: Any) -> None:
        tensor = self._session.tensor(self._checked(x))
        with self._session.guarded(f"running {self.title}"):
            machine["set_input"]("main", tensor)
            machine["invoke_stateful"]("main")

    def _observe(self, x: Any) -> None:
        """Run once under the agent's instrument, and compare with the manifest."""
        session = self._session
        session.agent("observe")
        machine = self._started()
        with session.answering("observing kernels"):
            machine["set_instrument"](OBSERVE)
        self._run(machine, x)
        ran = bytes(session.agent("names")).decode().split("\0")[:-1]
        listed = [call["kernel"] for call in self.manifest["calls"]]
        if ran != listed:
            raise ArtifactError(
                f"the network ran {len(ran)} kernels on {session.where}, and not the "
                f"{len(listed)} that its manifest lists",
                "compile the model again",
            )

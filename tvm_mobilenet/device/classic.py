"""An artifact of the classic stack on a board: TVM 0.19's graph executor there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from tvm_mobilenet.device.module import RemoteModule
from tvm_mobilenet.errors import DeviceError
from tvm_mobilenet.runtime.elf import open_binary
from tvm_mobilenet.runtime.graph_executor import (
    CPU,
    Memory,
    bound_calls,
    executor_text,
    stored_weights,
)
from tvm_mobilenet.runtime.instrument import Profile, Trace, unblocked


class RemoteClassic(RemoteModule):
    """A :class:`~tvm_mobilenet.device.module.RemoteModule` of the classic stack."""

    def trace(self, x: Any) -> list[Trace]:
        """Run the model kernel by kernel; see ``Module.trace``.

        Raises
        ------
        InputError, DeviceError
            As for a call.
        """
        session = self._session

        def memory(size: int) -> Memory:
            raw = session.empty((size,), np.uint8)
            return cast("Memory", raw._create_view)

        x = self._checked(x)
        with session.answering("making buffers"):
            calls, inputs = bound_calls(self.manifest["graph"], self._weights, memory)
            inputs[self.inputs[0]["name"]].copyfrom(x)
        traces = []
        for record, (name, arguments) in zip(self.manifest["calls"], calls, strict=True):
            session.call(self._executable, name, *arguments)
            with session.answering("receiving an array"):
                output = session.array(arguments[-1])
            traces.append(Trace(record, unblocked(output, record["output"])))
        return traces

    def latencies(self, x: Any, repeats: int = 20, seconds: float | None = None) -> list[float]:
        """Time whole calls there, without the way to it and back."""
        self._bind(x)
        return self._session.time(self._machine, "run", repeats=repeats, seconds=seconds)

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Refuse: the agent watches artifacts of the main stack only."""
        self._no_profile()

    def alone(self, position: int, repeats: int = 9, milliseconds: int = 4) -> float:
        """Refuse, as :meth:`profile`."""
        self._no_profile()

    def _no_profile(self) -> NoReturn:
        raise DeviceError(
            "the classic stack times no single kernels on a board",
            "`bench --device` times the network there; profile it on that machine itself",
        )

    def use_threads(self, threads: int) -> None:
        """Let calls use so many threads from now on."""
        self.threads = threads
        self._session.threads(threads)

    def _open(self) -> None:
        session, graph = self._session, self.manifest["graph"]
        self._executable = session.load(self.path)
        path = Path(self.path)
        with open_binary(path) as file:
            stored = stored_weights(file, path, graph)
        self._weights = {name: session.tensor(array) for name, array in stored.items()}
        with session.answering(f"starting {self.title}"):
            create = session.rpc.get_function("tvm.graph_executor.create")
            self._machine = create(executor_text(graph), self._executable, *CPU)
            for name, array in self._weights.items():
                self._machine["set_input_zero_copy"](name, array)

    def _outputs(self) -> list[Any]:
        return [self._machine["get_output"](at) for at in range(len(self.manifest["outputs"]))]

    def _bind(self, x: Any) -> None:
        tensor = self._session.tensor(self._checked(x))
        with self._session.answering("binding the input"):
            self._machine["set_input"](self.inputs[0]["name"], tensor)

    def _run(self, x: Any) -> None:
        self._bind(x)
        with self._session.guarded(f"running {self.title}"):
            self._machine["run"]()

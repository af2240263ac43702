"""What every loaded artifact does, whatever runs it: calls, traces, profiles."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import ArtifactError, InputError, last_line
from tvm_mobilenet.runtime.checks import check_machine
from tvm_mobilenet.runtime.described import Described
from tvm_mobilenet.runtime.inputs import Expected, check_output
from tvm_mobilenet.runtime.instrument import Profile, Trace, unblocked
from tvm_mobilenet.runtime.private import PrivateCopy

if TYPE_CHECKING:
    from typing import Self

_FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What calls into TVM end in where the code does something else than the manifest says."""

# Runs of a profile between two turns.
_TURN = 10

Device = str | int | None
"""Which GPU is asked for: its number, or a part of its name."""

Visit = Callable[[dict[str, Any], NDArray[Any]], None]
"""Told a call's record in the manifest and its output, which the next kernel may overwrite."""


class _Replayable(Protocol):
    """The calls of a network, which can be made again."""

    def __len__(self) -> int: ...

    def replay(self) -> list[float]: ...


_Kernels = TypeVar("_Kernels", bound=_Replayable)


class LoadedArtifact(Described, ABC, Generic[_Kernels]):
    """A loaded artifact; call it with the input, get the output.

    Use :func:`tvm_mobilenet.load` to make one. Safe to call from several threads at once. What
    nobody holds any more is unloaded.

    Each kind of container has a class of its own, which checks and opens it, and says how it is
    called, visited kernel by kernel, and held for timing.
    """

    def __init__(self, path: str, manifest: dict[str, Any], threads: int) -> None:
        super().__init__(path, manifest, threads)
        self._input = Expected(manifest["inputs"][0])

    def __call__(self, x: Any, out: Any = None) -> Any:
        """Run the model.

        Parameters
        ----------
        x : ndarray or any object with ``__dlpack__``
            float32 on the CPU, of the shape that :attr:`inputs` states (NCHW).
        out : ndarray or sequence of ndarray, optional
            Where to write the output, or each of several: C-contiguous, of the shape and type
            that :attr:`outputs` states, in no memory of the input.

        Returns
        -------
        ndarray
            float32; new memory with every call, or `out`. Of a network with several outputs, a
            tuple, each of the type that :attr:`outputs` states.

        Raises
        ------
        InputError
            Another shape, dtype, layout or device; an `out` that cannot be written to.
        GpuError
            The GPU failed.
        ArtifactError
            The code failed, or is not what the manifest says.
        """
        try:
            if out is None:
                return self._call(x)
            self._call_into(x, self._checked(x, out))
            return out
        except _FAILURES as error:
            raise self._failed(error) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.title} from {self.path}, {self._place()}>"

    def trace(self, x: Any) -> list[Trace]:
        """Run the model and keep the output of every kernel.

        Parameters
        ----------
        x : array
            As for a call.

        Returns
        -------
        list of Trace
            In the order of the manifest's calls; copies, float32, unblocked.

        Raises
        ------
        InputError, GpuError
            As for a call.
        ArtifactError
            The kernels that ran are not those that the manifest lists.
        """
        traces: list[Trace] = []

        def keep(record: dict[str, Any], output: NDArray[Any]) -> None:
            traces.append(Trace(record, unblocked(output, record["output"])))

        try:
            self._visit(x, keep)
        except _FAILURES as error:
            raise self._failed(error) from error
        return traces

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel inside the network.

        Parameters
        ----------
        x : array
            As for a call.
        repeats : int
            Runs to take the median of, rounded up to tens.

        Returns
        -------
        Profile
            Where TVM is what calls, a kernel's time holds about 0.3 µs of the call from Python; on
            OpenCL it is that of its launches, from start to end by the device's clock.

        Raises
        ------
        InputError, GpuError, ArtifactError
            As for :meth:`trace`.
        """
        kernels = self.kernels(x)
        spans: list[list[float]] = []
        totals: list[float] = []
        while len(spans) < max(1, repeats):
            # In turns, so that a drift of the machine meets both, but each several times in a
            # row: they have activations of their own, and would evict each other's.
            kernels.replay()
            spans += [kernels.replay() for _ in range(_TURN)]
            totals += self._totals(x, _TURN)
        medians = map(float, np.median(spans, axis=0))
        return Profile(
            tuple(zip(self.manifest["calls"], medians, strict=True)),
            float(np.median(totals)) * 1e6,
        )

    def kernels(self, x: Any) -> _Kernels:
        """Run the model once and hold on to every kernel with its buffers.

        Parameters
        ----------
        x : array
            As for a call.

        Returns
        -------
        Kernels or OpenClKernels
            In the order of the manifest's calls.

        Raises
        ------
        InputError, GpuError, ArtifactError
            As for :meth:`trace`.
        """
        try:
            return self._held(x)
        except _FAILURES as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ArtifactError:
        """Return what TVM, or a driver's binding, says of a call as an error of ours."""
        return ArtifactError(
            f"{self.path} failed, or its code is not what its manifest says: {last_line(error)}",
            "compile the model again; if that fails too, please report the artifact",
        )

    def _totals(self, x: Any, count: int) -> list[float]:
        """Return the seconds of whole calls, after one that does not count."""
        self(x)
        totals = []
        for _ in range(count):
            start = time.perf_counter()
            self(x)
            totals.append(time.perf_counter() - start)
        return totals

    def _place(self) -> str:
        return f"{self.threads} threads"

    @classmethod
    def check(cls, manifest: Mapping[str, Any], where: str, device: Device = None) -> None:
        """Refuse what cannot run here, as :func:`tvm_mobilenet.runtime.check_here` says."""
        check_machine(manifest, where)
        if device is not None:
            raise InputError(
                f"{where} runs on the processor, and has no device {device!r} to choose",
                "leave device out; a board is tvm_mobilenet.open_device's, a GPU is compiled for",
            )

    @classmethod
    @abstractmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> Self:
        """Load what :meth:`check` has let pass.

        Parameters
        ----------
        path : str
            Absolute; what messages call it.
        manifest : dict
            Read from `copy`.
        copy : PrivateCopy
            The file's content, which is what is loaded.
        threads : int
            Threads of this machine's processor that one call uses.
        device : str or int, optional
            Which GPU is asked for.

        Raises
        ------
        RuntimeLibraryError
            What runs such code is not installed.
        ArtifactError
            The system's loader, or the GPU's driver, refused it.
        """

    @abstractmethod
    def _call(self, x: Any) -> Any:
        """Run the model."""

    def _call_into(self, x: Any, outputs: Sequence[NDArray[Any]]) -> None:
        """Run the model, and write its outputs into arrays that fit."""
        found = self._call(x)
        for into, array in zip(
            outputs, found if isinstance(found, tuple) else (found,), strict=True
        ):
            np.copyto(into, array)

    def _checked(self, x: Any, out: Any) -> Sequence[NDArray[Any]]:
        """Return what the caller gave for outputs, if they can be that."""
        given = out if isinstance(out, (tuple, list)) else (out,)
        records = self.manifest["outputs"]
        if len(given) != len(records):
            raise InputError(
                f"out is {len(given)} arrays, and there are {len(records)} outputs",
                "give one for each",
            )
        for array, record in zip(given, records, strict=True):
            check_output(array, record, x)
        return given

    @abstractmethod
    def _visit(self, x: Any, visit: Visit) -> None:
        """Run the model kernel by kernel and show the output of each."""

    @abstractmethod
    def _held(self, x: Any) -> _Kernels:
        """Run the model once and hold on to every kernel with its buffers."""


Loaded = LoadedArtifact[Any]
"""What :func:`tvm_mobilenet.load` returns."""


class OnDevice(LoadedArtifact[_Kernels]):
    """A loaded artifact whose kernels run on a GPU; it can be timed without its copies."""

    @property
    @abstractmethod
    def device_name(self) -> str:
        """What it runs on."""

    @abstractmethod
    def launch(self) -> None:
        """Run the model on the input of this thread's last call; the output stays there.

        For timing: returns before the device is done, see :meth:`synchronize`.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device is done."""

    def _place(self) -> str:
        return f"on {self.device_name}"

"""A compiled artifact as a Python callable.

Every Python thread gets a virtual machine of its own over the same weights: it
holds a program counter and registers, so calls through one machine would have
to wait for each other, while a second machine costs a few kilobytes and the
activations. Calls release Python's global lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import ArtifactError
from tvm_mobilenet.runtime.artifact import check_here, read_manifest
from tvm_mobilenet.runtime.inputs import Expected, Staging
from tvm_mobilenet.runtime.library import load_runtime
from tvm_mobilenet.runtime.threads import thread_count, use_threads

Float32 = NDArray[np.float32]

# Arguments of vm_initialization: DLPack's kDLCPU, device 0, and TVM's pooled allocator, which
# keeps the activations between calls (tvm/runtime/vm.py).
_CPU, _POOLED = 1, 2


class Trace(NamedTuple):
    """What one kernel of the network left behind."""

    call: dict[str, Any]
    """Its record in the manifest."""
    output: Float32
    """NCHW or NC, whatever layout it was computed in."""


class Profile(NamedTuple):
    """Time by kernel, microseconds, medians over the repeats."""

    calls: tuple[tuple[dict[str, Any], float], ...]
    """Record in the manifest, and the time inside that kernel."""
    total: float
    """One whole call without instruments, from NumPy to NumPy."""


class _Binding(threading.local):
    """What one thread needs for a call."""

    main: Callable[[Any], Any] | None = None
    staging: Staging


class Module:
    """A loaded artifact; call it with the input, get the output.

    Use :func:`load` to make one. Safe to call from several threads at once.

    Attributes
    ----------
    path : str
        The file.
    manifest : dict
        What the file says about itself.
    threads : int
        Threads that one call uses.
    """

    def __init__(
        self, path: str, manifest: dict[str, Any], executable: Any, ffi: ModuleType, threads: int
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.threads = threads
        self._executable = executable
        self._ffi = ffi
        self._binding = _Binding()
        self._input = Expected(manifest["inputs"][0], ffi)

    def __call__(self, x: Any) -> Float32:
        """Run the model.

        Parameters
        ----------
        x : ndarray or any object with ``__dlpack__``
            float32 on the CPU, of the shape that :attr:`inputs` states (NCHW).
            Read in place if it is C-contiguous and aligned to 64 bytes,
            else copied first (NumPy aligns to 16 bytes, so that is common; it
            takes about 15 µs for 224 × 224).

        Returns
        -------
        ndarray
            float32; new memory with every call.

        Raises
        ------
        InputError
            Another shape, dtype, layout or device.
        """
        binding = self._binding
        main = binding.main
        if main is None:
            main = self._bind()
        # A no-op unless another module of this thread asked for another number.
        use_threads(self._ffi, self.threads)
        return cast(Float32, np.from_dlpack(main(binding.staging.tensor(x))))

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, shape, dtype and layout of every input."""
        return list(self.manifest["inputs"])

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Name, shape, dtype and layout of every output."""
        return list(self.manifest["outputs"])

    @property
    def title(self) -> str:
        """The model, for people."""
        return str(self.manifest.get("title", self.manifest["model"]["name"]))

    def __repr__(self) -> str:
        return f"<Module {self.title} from {self.path}, {self.threads} threads>"

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
        InputError
            As for a call.
        ArtifactError
            The kernels that ran are not those that the manifest lists.
        """
        traces: list[Trace] = []

        def after(call: dict[str, Any], output: Any) -> None:
            traces.append(Trace(call, unblocked(np.from_dlpack(output), call["output"])))

        self._instrumented(x, 1, lambda: None, after)
        return traces

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel inside the network.

        Parameters
        ----------
        x : array
            As for a call.
        repeats : int
            Runs to take the median of.

        Returns
        -------
        Profile
            A kernel's time holds about 1 µs of the instrument itself.

        Raises
        ------
        InputError, ArtifactError
            As for :meth:`trace`.
        """
        repeats = max(1, repeats)
        spans: list[float] = []
        started = 0.0

        def before() -> None:
            nonlocal started
            started = time.perf_counter()

        def after(call: dict[str, Any], output: Any) -> None:
            spans.append(time.perf_counter() - started)

        self._instrumented(x, repeats, before, after)
        calls = self.manifest["calls"]
        medians = np.median(np.reshape(spans, (repeats, len(calls))), axis=0) * 1e6
        totals = []
        for _ in range(repeats):
            start = time.perf_counter()
            self(x)
            totals.append(time.perf_counter() - start)
        return Profile(
            tuple((call, float(span)) for call, span in zip(calls, medians, strict=True)),
            float(np.median(totals)) * 1e6,
        )

    def _bind(self) -> Callable[[Any], Any]:
        use_threads(self._ffi, self.threads)
        self._binding.staging = Staging(self._input, self._ffi)
        main: Callable[[Any], Any] = self._machine()["main"]
        self._binding.main = main
        return main

    def _machine(self) -> Any:
        machine = self._executable["vm_load_executable"]()
        machine["vm_initialization"](_CPU, 0, _POOLED)
        return machine

    def _instrumented(
        self,
        x: Any,
        repeats: int,
        before: Callable[[], None],
        after: Callable[[dict[str, Any], Any], None],
    ) -> None:
        """Run on a machine of its own with hooks around each kernel of the manifest."""
        use_threads(self._ffi, self.threads)
        calls = self.manifest["calls"]
        kernels = {call["kernel"] for call in calls}
        tensor = Staging(self._input, self._ffi).tensor(x)
        position = 0

        def hook(_function: Any, name: str, starting: bool, _result: Any, *args: Any) -> int:
            nonlocal position
            if name in kernels:
                if starting:
                    before()
                else:
                    # Taken modulo, so that one kernel too many shows as a wrong name.
                    call = calls[position % len(calls)]
                    if call["kernel"] == name:
                        # The output is the last tensor; scalars may stand behind it.
                        after(call, next(a for a in reversed(args) if hasattr(a, "__dlpack__")))
                    position += 1
            return 0

        machine = self._machine()
        machine["set_instrument"](self._ffi.convert(hook))
        main = machine["main"]
        for _ in range(repeats):
            main(tensor)
        if position != repeats * len(calls):
            raise ArtifactError(
                f"{self.path} ran {position // repeats} kernels, its manifest lists {len(calls)}",
                "compile the model again",
            )


def load(path: str | os.PathLike[str], threads: int | None = None) -> Module:
    """Check an artifact and load it.

    Parameters
    ----------
    path : path-like
        The shared object that ``compile`` wrote.
    threads : int, optional
        Threads for one call. Otherwise ``TVM_NUM_THREADS``, ``OMP_NUM_THREADS``,
        or the physical cores that this process may use.

    Returns
    -------
    Module
        Ready to be called. TVM's compiler is not loaded, nor is ``tvm`` imported.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError, ArchitectureError, CpuFeatureError, AbiError
        The file is not for here; nothing in it was executed.
    RuntimeLibraryError
        TVM's runtime library is not installed.
    InputError
        `threads` or the environment variable is no positive number.
    """
    path = os.path.abspath(path)
    count = thread_count(threads)
    manifest = read_manifest(path)
    check_here(manifest, path)
    ffi = load_runtime()
    try:
        executable = ffi.load_module(path)
    except (RuntimeError, OSError) as error:
        # Whole, and for this machine, yet refused: a library that it links to is missing.
        raise ArtifactError(
            f"{path} cannot be loaded: {error}", "compile it on this machine"
        ) from error
    return Module(path, manifest, executable, ffi, count)


def unblocked(array: NDArray[Any], record: dict[str, Any]) -> Float32:
    """Copy an activation into the plain layout.

    Parameters
    ----------
    array : ndarray
        [N, ceil(C/c), H*W, c] where the record says "NCHWc", else of `shape`.
    record : dict
        ``layout``, ``shape`` (NCHW or NC) and, if blocked, ``block`` (c).

    Returns
    -------
    ndarray
        Of `shape`; the zeros that fill the last block are dropped.
    """
    shape = tuple(record["shape"])
    if record["layout"] != "NCHWc":
        return array.reshape(shape).copy()
    batch, channels = shape[:2]
    planes = array.reshape(batch, -1, int(np.prod(shape[2:])), record["block"])
    plain = planes.transpose(0, 1, 3, 2).reshape(batch, -1, planes.shape[2])[:, :channels]
    return plain.reshape(shape).copy()

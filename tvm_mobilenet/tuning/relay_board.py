"""Candidates on a board: TVM 0.19's own RPC, to a server or through a tracker.

Runs in a member of the tuner's crew. What is checked is the output, NaN before the run, and
that inputs are as they were; a write beside the output is seen on this machine only.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import rpc

from tvm_mobilenet.device.address import Address, parse_address
from tvm_mobilenet.device.description import EMULATED
from tvm_mobilenet.errors import DeviceError, DeviceLostError, VerificationError
from tvm_mobilenet.kernel_case import kernel_case
from tvm_mobilenet.tuning import sampling
from tvm_mobilenet.tuning.worker import workload_of

_SESSION_S = 600


@dataclass(frozen=True, slots=True)
class Found:
    """What answered at an address.

    Attributes
    ----------
    machine : str
        For people.
    emulated : bool
        Its times mean nothing.
    """

    machine: str
    emulated: bool


@functools.lru_cache(maxsize=1)
def _session(text: str) -> Any:
    address = parse_address(text)
    if address.kind not in ("server", "tracker"):
        raise DeviceError(
            f"the classic stack reaches no device {text!r}",
            "give HOST:PORT or tracker://HOST:PORT/KEY",
        )
    try:
        return _connected(address)
    except (tvm.TVMError, OSError, RuntimeError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise DeviceLostError(
            f"{text} does not answer: {lines[-1] if lines else error}",
            "start TVM 0.19's server there: `tvm-mobilenet --stack relay device serve`",
        ) from error


def _connected(address: Address) -> Any:
    if address.kind == "server":
        return rpc.connect(address.host, address.port, session_timeout=_SESSION_S)
    tracker = rpc.connect_tracker(address.host, address.port)
    return tracker.request(address.key, session_timeout=_SESSION_S, max_retry=1)


def find(text: str) -> Found:
    """Ask a device what it is.

    Parameters
    ----------
    text : str
        ``HOST:PORT`` or ``tracker://HOST:PORT/KEY``.

    Raises
    ------
    DeviceError
    """
    session = _session(text)
    try:
        emulated = bool(session.get_function("tvm_mobilenet.emulated")())
    except (AttributeError, tvm.TVMError):  # TVM's own server, which nobody starts in QEMU
        emulated = False
    finally:
        _session.cache_clear()
    return Found(f"board at {text}" + (f", {EMULATED}" if emulated else ""), emulated)


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one candidate on a board, and time it.

    Parameters
    ----------
    request : mapping
        As of :func:`tvm_mobilenet.tuning.timing.measure`, and ``device``.

    Returns
    -------
    dict
        As from there; ``lost``: why the board could not be used.
    """
    try:
        session = _session(request["device"])
    except DeviceError as error:
        return {"lost": error.what}
    try:
        stand = _Stand(session, request)
        worst = stand.check(request["path"])
    except sampling.NotANumberError as error:
        return {"outcome": "nan", "note": error.what}
    except VerificationError as error:
        return {"outcome": "wrong", "note": error.what}
    except tvm.TVMError as error:
        _session.cache_clear()  # a kernel that crashes takes its session along
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"outcome": "crashed", "note": (lines[-1] if lines else "")[:400]}
    timed = sampling.beside(stand.control(request), lambda: stand.repeat(request["best"]))
    return {"outcome": "ok", "error": worst, **timed}


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time candidates in turns."""
    try:
        session = _session(request["device"])
    except DeviceError as error:
        return {"lost": error.what}
    stands = []
    for path in request["paths"]:
        stands.append(_Stand(session, request))
        stands[-1].check(path)
    samples: list[list[float]] = [[] for _ in stands]
    for turn in range(request["rounds"]):
        for i in range(len(stands)):
            at = (i + turn) % len(stands)
            samples[at] += stands[at].take(1)
    return {"samples": samples}


class _Stand:
    """A candidate and its buffers on a board."""

    def __init__(self, session: Any, request: Mapping[str, Any]) -> None:
        work = workload_of(request["work"])
        self._session, self._key = session, work.key
        self._case = kernel_case(work)
        self._device = session.cpu(0)
        session.get_function("runtime.config_threadpool")(1, request["threads"])
        self._arrays = [tvm.nd.array(a, self._device) for a in self._case.inputs]
        out = np.full(self._case.want.shape, np.nan, np.float32)
        self._arrays.append(tvm.nd.array(out, self._device))
        self._count = 1

    def check(self, path: str) -> float:
        """Load and run a candidate; return its largest relative error."""
        self._load(path)
        self._function(*self._arrays)
        for array, before in zip(self._arrays, self._case.inputs, strict=False):
            if not np.array_equal(array.numpy(), before):
                raise VerificationError("it wrote into its inputs")
        space = sampling.blank(self._case)
        space[sampling.GUARD : -sampling.GUARD] = self._arrays[-1].numpy().ravel()
        return sampling.judge(self._case, space)

    def take(self, number: int) -> list[float]:
        """Return so many samples, seconds of a call each."""
        timer = self._module.time_evaluator(
            self._key, self._device, number=self._count, repeat=number
        )
        return list(timer(*self._arrays).results)

    def repeat(self, best: float | None) -> tuple[float, int, float]:
        """Return median seconds, samples and spread."""
        once = min(self.take(2))
        self._count = max(math.ceil(sampling.SAMPLE_S / once), 1)
        return sampling.repeated(self.take, once, best, 5)

    def control(self, request: Mapping[str, Any]) -> Any:
        """Return what times the control kernel."""
        from tvm_mobilenet.bench.peak import CHAINS

        lanes, threads = request["lanes"], request["threads"]
        name = os.path.basename(request["control"])
        self._session.upload(request["control"], name)
        module = self._session.load_module(name)
        x = tvm.nd.array(np.full(lanes, 0.999, np.float32), self._device)
        y = tvm.nd.array(np.zeros((threads, CHAINS, lanes), np.float32), self._device)
        timer = module.time_evaluator("main", self._device, number=1, repeat=3)
        return lambda: float(np.median(timer(x, y).results))

    def _load(self, path: str) -> None:
        name = os.path.basename(path)
        self._session.upload(path, name)
        self._module = self._session.load_module(name)
        self._function = self._module.get_function(self._key)

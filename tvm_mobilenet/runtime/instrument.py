"""Hooks around every kernel of a network, through the virtual machine's own instrument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import widened
from tvm_mobilenet.errors import ArtifactError

Float32 = NDArray[np.float32]

OTHER = "other"
"""Layout of an output that cannot be compared: half-way to another one."""


class Trace(NamedTuple):
    """What one kernel of the network left behind."""

    call: dict[str, Any]
    """Its record in the manifest."""
    output: Float32
    """NCHW or NC, whatever layout it was computed in."""


class Profile(NamedTuple):
    """Time by kernel, microseconds, medians over the repeats."""

    calls: tuple[tuple[dict[str, Any], float], ...]
    """Record in the manifest, and the time of that kernel between its neighbours."""
    total: float
    """One whole call, from NumPy to NumPy."""


def observe(
    machine: Any,
    ffi: ModuleType,
    arguments: Sequence[Any],
    calls: Sequence[dict[str, Any]],
    after: Callable[[dict[str, Any], tuple[Any, ...]], None],
    *,
    entry: str = "main",
) -> None:
    """Run a network once and look at every kernel's arguments after it.

    Parameters
    ----------
    machine : ffi module
        A virtual machine that nobody else uses.
    ffi : module
        ``tvm_ffi``.
    arguments : sequence of tensor
        The input; on a GPU, the outputs too.
    calls : sequence of dict
        The manifest's.
    after : callable
        Told the record and the arguments: inputs, places of weights, output.
    entry : str
        Function that calls the kernels one by one.

    Raises
    ------
    ArtifactError
        The kernels that ran are not those that the manifest lists.
    """
    kernels = {call["kernel"] for call in calls}
    position = 0

    def hook(_function: Any, name: str, starting: bool, _result: Any, *arguments: Any) -> int:
        nonlocal position
        if name in kernels and not starting:
            # Taken modulo, so that one kernel too many shows as a wrong number.
            call = calls[position % len(calls)]
            if call["kernel"] == name:
                after(call, arguments)
            position += 1
        return 0

    machine["set_instrument"](ffi.convert(hook))
    machine[entry](*arguments)
    if position != len(calls):
        raise ArtifactError(
            f"the network ran {position} kernels, its manifest lists {len(calls)}",
            "compile the model again",
        )


def output_of(arguments: Sequence[Any]) -> Any:
    """Return the tensor that a kernel writes: the last one; scalars may stand behind it."""
    return next(a for a in reversed(arguments) if hasattr(a, "__dlpack__"))


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
        Its shape is `shape`; the zeros that fill the last block are dropped. What has another
        layout stays as it is. Maps in blocks of uint16 are bfloat16, and become float32.

    Raises
    ------
    ArtifactError
        The record is of another array.
    """
    if record["layout"] == OTHER:
        return array.copy()
    shape = tuple(record["shape"])
    try:
        if record["layout"] != "NCHWc":
            return array.reshape(shape).copy()
        batch, channels = shape[:2]
        planes = array.reshape(batch, -1, int(np.prod(shape[2:])), record["block"])
        plain = planes.transpose(0, 1, 3, 2).reshape(batch, -1, planes.shape[2])[:, :channels]
        found = plain.reshape(shape).copy()
        return widened(found) if found.dtype == np.uint16 else found
    except ValueError as error:
        raise ArtifactError(
            f"a kernel left {array.shape}, and its manifest says {shape} in {record['layout']}",
            "compile the model again",
        ) from error

"""Every kernel of a GPU's artifact against the roofline of the GPU that it was compiled for.

Times are the device's own: between start and end of a kernel's launches. Bounds are of the
data sheet, not measured; an OpenCL target names a kind of device, not the one that is here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tvm_mobilenet.common.tables import Column, Table, Tabular, together
from tvm_mobilenet.errors import ArtifactError, InputError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import GpuSpec
from tvm_mobilenet.prediction.gpu_cost import L2_BYTES, MEMORY_SHARE, peak_macs
from tvm_mobilenet.profile.bounds import Bounded, bounds_of, moved_maps
from tvm_mobilenet.runtime import load
from tvm_mobilenet.runtime.inputs import noise
from tvm_mobilenet.runtime.loaded import OnDevice


@dataclass(frozen=True, slots=True)
class GpuKernel(Bounded):
    """One kernel, timed; its bounds are of a data sheet, tensor cores for float16 among it.

    Attributes
    ----------
    bytes : int
        Input, weights and output, each once.
    us : float
        On the device.
    """

    bytes: int
    us: float


_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("us", "us", ".1f"),
    Column("bound_us", "bound", ".1f", priority=1),
    Column("bound_by", "by", kind="word", priority=1),
    Column("share_of_bound", "of bound", ".1%"),
    Column("gflops", "GFLOP/s", ".1f", priority=2),
    Column("bytes", "MB", lambda count: f"{count / 1e6:.2f}", priority=3),
    Column("gbytes_per_second", "GB/s", ".1f", priority=3),
)


@dataclass(frozen=True, slots=True, repr=False)
class GpuProfile(Tabular):
    """All kernels of an artifact, in the order of execution.

    Attributes
    ----------
    model, target, dtype : str
        Titles of both, and what maps and weights are stored as.
    device, chip : str
        What it ran on, and whose numbers the bounds are of.
    rows : tuple of GpuKernel
        In the order of execution.
    call_us : float
        One whole call, from NumPy to NumPy.
    """

    model: str
    target: str
    dtype: str
    device: str
    chip: str
    rows: tuple[GpuKernel, ...]
    call_us: float

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        ms = self.call_us / 1e3
        return (
            f"<{type(self).__name__} {self.model} for {self.target} on {self.device}: {ms:.4f} ms>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, and sums."""
        rows = tuple(
            (
                row.layers,
                row.us,
                row.bound_us,
                row.bound_by,
                row.bound_us / row.us,
                2e-3 * row.macs / row.us if row.macs else None,
                row.bytes,
                1e-3 * row.bytes / row.us,
            )
            for row in self.rows
        )
        notes = (
            f"one call {self.call_us / 1e3:.4f} ms from NumPy to NumPy; its kernels "
            f"{self.kernels_us / 1e3:.4f} ms on the device, their bounds "
            f"{self.bound_us / 1e3:.4f} ms.",
            f"Bounds are of the data sheet of {self.chip}, not measured.",
        )
        title = f"{self.model} for {self.target}, {self.dtype}, on {self.device}"
        return Table("kernels", title, _COLUMNS, rows, notes)

    @property
    def kernels_us(self) -> float:
        """All kernels."""
        return sum(row.us for row in self.rows)

    @property
    def bound_us(self) -> float:
        """All their bounds."""
        return sum(row.bound_us for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        rows = [
            {**asdict(row), "bound_us": row.bound_us, "bound_by": row.bound_by} for row in self.rows
        ]
        return {
            **asdict(self),
            "rows": rows,
            "kernels_us": self.kernels_us,
            "bound_us": self.bound_us,
        }


def profile_on_gpu(artifact: str | os.PathLike[str], repeats: int = 40) -> GpuProfile:
    """Time every kernel of an artifact on the GPU of this machine.

    Parameters
    ----------
    artifact : path-like
        Compiled for a GPU.
    repeats : int
        Runs of the network to take medians of.

    Raises
    ------
    ArtifactError
        It cannot run here; :class:`~tvm_mobilenet.errors.GpuError` among them.
    InputError
        No repeats.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}", "give a positive number")
    module = load(artifact)
    manifest = module.manifest
    target = TargetSpec.from_dict(manifest["target"])
    if not isinstance(module, OnDevice):
        raise ArtifactError(f"{module.path} is for a processor", "profile it as that")
    timed = module.profile(noise(manifest["inputs"][0]), repeats)
    weights = sum(call["bytes"]["weights"] for call in manifest["calls"])
    rows = tuple(kernel_row(call, us, target, weights) for call, us in timed.calls)
    return GpuProfile(
        manifest["title"],
        target.name,
        target.dtype,
        module.device_name,
        target.the_gpu.chip,
        rows,
        timed.total,
    )


def kernel_row(
    call: Mapping[str, Any], us: float, target: TargetSpec, all_weights: int
) -> GpuKernel:
    """Return a kernel with its bounds.

    Parameters
    ----------
    call : mapping
        The manifest's.
    us : float
        Its time.
    target : TargetSpec
        With a GPU.
    all_weights : int
        Bytes of the network's weights: what passes between two uses of a kernel's own.
    """
    gpu = target.the_gpu
    maps = moved_maps(call)
    return GpuKernel(
        **bounds_of(
            call,
            call["macs"] / peak_macs(gpu, half=target.dtype == "float16") / gpu.clock_mhz,
            "L2" if maps <= gpu.l2_bytes else "memory",
            "L2" if all_weights + maps <= gpu.l2_bytes else "memory",
            lambda level: _rate(level, gpu),
        ),
        bytes=sum(call["bytes"].values()),
        us=us,
    )


def _rate(level: str, gpu: GpuSpec) -> float:
    """Return bytes in a microsecond."""
    if level == "memory":
        return gpu.memory_gbs * 1e3 * MEMORY_SHARE
    return float(L2_BYTES * gpu.units * gpu.clock_mhz)

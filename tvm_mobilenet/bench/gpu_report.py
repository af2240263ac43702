"""A comparison on a GPU, and the one JSON form of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from tvm_mobilenet.bench.report import OURS


class Torch(NamedTuple):
    """A way to use PyTorch."""

    channels_last: bool
    compiled: bool
    how: str


TORCH: MappingProxyType[str, Torch] = MappingProxyType(
    {
        "torch-eager": Torch(False, False, "eager, NCHW"),
        "torch-channels-last": Torch(True, False, "eager, channels_last"),
        "torch-compile": Torch(
            True, True, 'channels_last, torch.compile(mode="max-autotune"): CUDA graphs'
        ),
    }
)
"""What ``--against torch`` stands for. cuDNN autotuned, TF32 off, batch norm folded."""

TOLERANCE: MappingProxyType[str, float] = MappingProxyType({"float32": 1e-3, "float16": 3e-2})
"""Relative difference of outputs beyond which a peer computes another network."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One runtime. Milliseconds of a call of the whole batch.

    Attributes
    ----------
    runtime, version : str
    device_ms, p10_ms, p90_ms : float
        From an input on the device to an output on it, calls one after the other: the
        median and how it varies.
    host_ms : float
        From NumPy array to NumPy array; median.
    relative_error : float
        ``||output - ours|| / ||ours||``; 0 for ours.
    failed : str
        Why there are no figures; ``""`` where there are.
    """

    runtime: str
    version: str
    device_ms: float = 0.0
    p10_ms: float = 0.0
    p90_ms: float = 0.0
    host_ms: float = 0.0
    relative_error: float = 0.0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class GpuReport:
    """Every runtime on one network, and what was predicted.

    Attributes
    ----------
    model : str
        Title.
    target, dtype : str
    batch, macs : int
    gpu : dict of str to str
        What ran it: name, driver, clocks, versions.
    rows : tuple of GpuRow
        Ours first.
    predicted_ms : float or None
        By the roofline of the target's GPU, where that is what ran it.
    """

    model: str
    target: str
    dtype: str
    batch: int
    macs: int
    gpu: Mapping[str, str]
    rows: tuple[GpuRow, ...]
    predicted_ms: float | None = None
    tolerance: float = field(default=TOLERANCE["float32"])

    @property
    def ratio(self) -> dict[str, float]:
        """Peer → its device time over ours; above 1 it is slower."""
        (ours,) = (row for row in self.rows if row.runtime == OURS)
        return {
            row.runtime: row.device_ms / ours.device_ms
            for row in self.rows
            if row.runtime != OURS and not row.failed
        }

    @property
    def disagreeing(self) -> tuple[GpuRow, ...]:
        """Rows whose output is not ours."""
        # Written so that NaN counts as disagreement.
        return tuple(
            row for row in self.rows if not row.failed and not row.relative_error <= self.tolerance
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "model": self.model,
            "target": self.target,
            "dtype": self.dtype,
            "batch": self.batch,
            "macs": self.macs,
            "gpu": dict(self.gpu),
            "predicted_ms": self.predicted_ms,
            "rows": [asdict(row) for row in self.rows],
            "ratio": self.ratio,
        }

"""Every kernel on a board: in the network and alone. Its bounds are measured here only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.tables import Column, Table, Tabular, layers_of, threads_text, together
from tvm_mobilenet.device import Device
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.runtime.inputs import noise

_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("network_us", "us in network", ".1f"),
    Column("alone_us", "alone", ".1f", priority=2),
    Column("share", "of the call", ".1%"),
    Column("gflops", "GFLOP/s", ".1f", priority=1),
)


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One kernel.

    Attributes
    ----------
    layers : tuple of str
        That it computes.
    kernel : str
        Its name.
    network_us, alone_us : float
        Microseconds in the network, and again and again on the same buffers.
    gflops : float
        In the network.
    """

    layers: tuple[str, ...]
    kernel: str
    network_us: float
    alone_us: float
    gflops: float


@dataclass(frozen=True, slots=True, repr=False)
class BoardProfile(Tabular):
    """Where the time goes on a board.

    Attributes
    ----------
    title, device : str
        The model, and where it ran.
    threads : int
        How many run one call.
    call_us : float
        One whole call.
    rows : tuple of BoardRow
        In the order of execution.
    """

    title: str
    device: str
    threads: int
    call_us: float
    rows: tuple[BoardRow, ...]

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        ms = self.call_us / 1e3
        return f"<{type(self).__name__} {self.title} on {self.device}: {ms:.3f} ms>"

    def table(self) -> Table:
        """Return a row for each kernel."""
        rows = tuple(
            (row.layers, row.network_us, row.alone_us, row.network_us / self.call_us, row.gflops)
            for row in self.rows
        )
        note = (
            f"one call {self.call_us / 1e3:.3f} ms; bounds, roofline and the split among threads "
            "are measured on this machine only"
        )
        title = f"{self.title} on {self.device}, {threads_text(self.threads)}"
        return Table("kernels", title, _COLUMNS, rows, (note,))


def profile_on(
    device: Device,
    artifact: str | os.PathLike[str],
    *,
    threads: int | None = None,
    repeats: int = 40,
) -> BoardProfile:
    """Time every kernel of an artifact on a board.

    Parameters
    ----------
    device : Device
        Opened; a session of its own is begun and ended.
    artifact : path-like
        Compiled for it.
    threads : int, optional
        The board's cores without.
    repeats : int
        Runs of the network to take medians of.

    Raises
    ------
    ArtifactError, DeviceError
        It is not for this board; the board failed.
    InputError
        No repeats.
    """
    if repeats < 1:
        raise InputError(f"{repeats} repeats", "ask for 1 or more")
    with device.session() as session:
        module = session.artifact(artifact, threads)
        x = noise(module.inputs[0])
        profile = module.profile(x, repeats)
        # Calls of one kernel differ in their buffers alone.
        first: dict[str, float] = {}
        rows = []
        for position, (call, microseconds) in enumerate(profile.calls):
            name = str(call["kernel"])
            if name not in first:
                first[name] = module.alone(position)
            rows.append(_row(call, microseconds, first[name]))
        return BoardProfile(module.title, session.where, module.threads, profile.total, tuple(rows))


def _row(call: dict[str, Any], network_us: float, alone_us: float) -> BoardRow:
    gflops = 2e-3 * call["macs"] / network_us
    return BoardRow(layers_of(call), str(call["kernel"]), network_us, alone_us, gflops)

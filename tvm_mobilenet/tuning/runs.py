"""What a folder's trials were for, and what they cost: lines beside the history.

The history alone says how long every candidate took. These lines say what that means for a
network, what the machine could do at best, and where the tuner's own time went.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tvm_mobilenet.tuning.lines import (
    Damage,
    JsonLine,
    check_counts,
    check_measure,
    check_texts,
    read_lines,
)
from tvm_mobilenet.tuning.records import are_knobs

RUNS = "runs.jsonl"
"""The file's name, in the folder of the history."""

Group = tuple[str, int]
"""Target and threads: what makes times comparable."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel of a network.

    Attributes
    ----------
    calls : int
        That the network makes of it.
    layers : tuple of str
        The last layer that each call computes.
    macs : int
        Multiply-adds of a call.
    bytes : int
        Input, weights and output of a call, each once.
    rule : dict of str to int or str
        Knobs that the schedule's rule answers.
    faster : float
        Multiply-adds of the kernel's type that the processor does in the time of one in float32.
    """

    calls: int
    layers: tuple[str, ...]
    macs: int
    bytes: int
    rule: Mapping[str, int | str]
    faster: float = 1.0

    def __post_init__(self) -> None:
        check_counts(self, "macs", "bytes")
        check_counts(self, "calls", least=1)
        if not are_knobs(self.rule):
            raise ValueError(f"rule is {self.rule!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(JsonLine):
    """What a run tunes; written when it begins.

    Attributes
    ----------
    model : str
        Its title, such as ``"MobileNet V1 1.0/224"``.
    target, threads
        As of a :class:`~tvm_mobilenet.tuning.records.Record`.
    operations : int
        Floating-point operations of the control kernel, which runs at the peak.
    parts : dict of str to Part
        By workload.
    """

    kind: ClassVar[str] = "network"
    model: str
    target: str
    threads: int
    operations: int
    parts: Mapping[str, Part]

    def __post_init__(self) -> None:
        check_texts(self, "model", "target")
        check_counts(self, "threads", "operations")

    @property
    def group(self) -> Group:
        """Target and threads."""
        return self.target, self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent(JsonLine):
    """Where the time of a run went until now; the last one of a run counts.

    Attributes
    ----------
    run : str
        Names the run: date and process.
    model, target, threads
        As of a Network.
    trials : int
        Finished by this run.
    seconds, building_s, measuring_s : float
        In all, building candidates, measuring them.
    """

    kind: ClassVar[str] = "spent"
    run: str
    model: str
    target: str
    threads: int
    trials: int
    seconds: float
    building_s: float
    measuring_s: float

    def __post_init__(self) -> None:
        check_texts(self, "run", "model", "target")
        check_counts(self, "threads", "trials")
        for name in ("seconds", "building_s", "measuring_s"):
            check_measure(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs(JsonLine):
    """How fast the machine reads, all threads together.

    Attributes
    ----------
    target, threads
        As of a Network.
    bandwidth : dict of str to float
        Level (``"L2"``, ``"L3"``, ``"memory"``) → GB/s, reading.
    """

    kind: ClassVar[str] = "roofs"
    target: str
    threads: int
    bandwidth: Mapping[str, float]

    def __post_init__(self) -> None:
        check_texts(self, "target")
        check_counts(self, "threads")
        for name, value in self.bandwidth.items():
            check_measure(name, value)


@dataclass(frozen=True, slots=True)
class Runs:
    """What such a file holds.

    Attributes
    ----------
    networks : dict of (Group, model) to Network
        The last of each.
    spent : tuple of Spent
        The last of each run, in their order.
    roofs : dict of Group to Roofs
        The last of each.
    damaged : tuple of Damage
        Lines that were skipped.
    """

    networks: Mapping[tuple[Group, str], Network]
    spent: tuple[Spent, ...]
    roofs: Mapping[Group, Roofs]
    damaged: tuple[Damage, ...]


def read_runs(path: Path) -> Runs:
    """Read the lines; none if there is no such file.

    Raises
    ------
    RecordsError
        It is there and cannot be read.
    """
    networks: dict[tuple[Group, str], Network] = {}
    spent: dict[tuple[Group, str, str], Spent] = {}
    roofs: dict[Group, Roofs] = {}
    lines, damaged = read_lines(path, _parsed)
    for found in lines:
        group = (found.target, found.threads)
        if isinstance(found, Network):
            networks[group, found.model] = found
        elif isinstance(found, Spent):
            spent[group, found.model, found.run] = found
        else:
            roofs[group] = found
    return Runs(networks, tuple(spent.values()), roofs, tuple(damaged))


def _parsed(kind: object, content: dict[str, Any]) -> Network | Spent | Roofs:
    if kind == Network.kind:
        parts = content.pop("parts", {})
        return Network(
            **content,
            parts={
                key: Part(**{**part, "layers": tuple(map(str, part["layers"]))})
                for key, part in parts.items()
            },
        )
    if kind == Spent.kind:
        return Spent(**content)
    if kind == Roofs.kind:
        return Roofs(**content)
    raise ValueError(f"kind is {kind!r}")

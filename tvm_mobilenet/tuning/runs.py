"""What a folder's trials were for, and what they cost: lines beside the history.

The history alone says how long every candidate took. These lines say what that means for a
network, what the machine could do at best, and where the tuner's own time went.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tvm_mobilenet.tuning.log import Damage, fields_of, numbered
from tvm_mobilenet.tuning.records import VERSION

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
    """

    calls: int
    layers: tuple[str, ...]
    macs: int
    bytes: int
    rule: Mapping[str, int | str]

    def __post_init__(self) -> None:
        for name in ("calls", "macs", "bytes"):
            _check_count(name, getattr(self, name))
        if not self.calls:
            raise ValueError("a kernel is never called")
        if not isinstance(self.rule, Mapping) or not all(
            isinstance(value, int | str) for value in self.rule.values()
        ):
            raise ValueError(f"rule is {self.rule!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a run tunes; written when it begins.

    Attributes
    ----------
    kind : str
        Of the line.
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
        _check_names(self, "model", "target")
        _check_count("threads", self.threads)
        _check_count("operations", self.operations)

    @property
    def group(self) -> Group:
        """Target and threads."""
        return self.target, self.threads

    def to_line(self) -> bytes:
        """Return it as JSON, ASCII, without a line break."""
        return _line(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the time of a run went until now; the last one of a run counts.

    Attributes
    ----------
    kind : str
        Of the line.
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
        _check_names(self, "run", "model", "target")
        _check_count("threads", self.threads)
        _check_count("trials", self.trials)
        for name in ("seconds", "building_s", "measuring_s"):
            _check_measure(name, getattr(self, name))

    def to_line(self) -> bytes:
        """Return it as JSON, ASCII, without a line break."""
        return _line(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs:
    """How fast the machine reads, all threads together.

    Attributes
    ----------
    kind : str
        Of the line.
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
        _check_names(self, "target")
        _check_count("threads", self.threads)
        for name, value in self.bandwidth.items():
            _check_measure(name, value)

    def to_line(self) -> bytes:
        """Return it as JSON, ASCII, without a line break."""
        return _line(self)


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

    Parameters
    ----------
    path : Path

    Raises
    ------
    RecordsError
        It is there and cannot be read.
    """
    networks: dict[tuple[Group, str], Network] = {}
    spent: dict[tuple[Group, str, str], Spent] = {}
    roofs: dict[Group, Roofs] = {}
    damaged: list[Damage] = []
    for number, line in numbered(path):
        try:
            found = _parsed(line)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            damaged.append(Damage(path, number, str(error).splitlines()[0]))
            continue
        group = (found.target, found.threads)
        if isinstance(found, Network):
            networks[group, found.model] = found
        elif isinstance(found, Spent):
            spent[group, found.model, found.run] = found
        else:
            roofs[group] = found
    return Runs(networks, tuple(spent.values()), roofs, tuple(damaged))


def _line(item: Network | Spent | Roofs) -> bytes:
    content = {"version": VERSION, "kind": item.kind, **dataclasses.asdict(item)}
    return json.dumps(content, allow_nan=False).encode()


def _parsed(line: bytes) -> Network | Spent | Roofs:
    kind, content = fields_of(line, VERSION)
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


def _check_names(item: Any, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(item, name), str):
            raise ValueError(f"{name} is {getattr(item, name)!r}, not a text")


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")


def _check_measure(name: str, value: object) -> None:
    if not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise ValueError(f"{name} is {value!r}")

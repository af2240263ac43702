"""A tuning record: one line of JSON that a person can read, and that a program can trust."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tvm_mobilenet.errors import RecordsError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.tuning.generation import generation

VERSION = 1
"""Version of the format. A line of another one is kept, reported and not used."""

_START = re.compile(rb'\{\s*"version"\s*:')
_NAME = re.compile(r"[A-Za-z0-9_+.-]*[A-Za-z0-9][A-Za-z0-9_+.-]*")  # of a file or a folder
_ENDLESS = 1e9
_REMEDY = "tune or measure again, or delete the line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measurement that is worth keeping: the knobs of a kernel, or whether layers share one.

    Attributes
    ----------
    kind : {"kernel", "fusion"}
        What it answers.
    operator, workload : str
        :attr:`tvm_mobilenet.operators.workload.Workload.operator` and ``key``; of a fusion,
        those of the shared kernel.
    target : str
        :func:`target_key` of what it was compiled for.
    threads : int
        Cores that the code was compiled for and ran on.
    knobs : mapping of str to int or str, optional
        By name, where it is about a kernel.
    fused : bool, optional
        The answer, where it is about fusion.
    seconds : float
        Median time of what the record asks for.
    instead : float, optional
        Median time of what it was compared with: the rule's knobs, or the other answer.
    repeats : int
        Times that `seconds` is the median of.
    spread : float
        Their interquartile range over their median.
    machine, date : str
        Where and when (ISO 8601).
    verified : bool
        Whether numbers were compared with the reference's and were right.
    error : float, optional
        Largest error seen, relative to the largest number; None where nobody looked.
    tvm : str
        Version of TVM that generated the code.

    Raises
    ------
    RecordsError
        A field makes no sense.
    """

    kind: Literal["kernel", "fusion"]
    operator: str
    workload: str
    target: str
    threads: int
    knobs: Mapping[str, int | str] | None = None
    fused: bool | None = None
    seconds: float
    instead: float | None = None
    repeats: int
    spread: float
    machine: str
    date: str
    verified: bool
    error: float | None = None
    tvm: str

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise RecordsError(f"a record's {problem}", _REMEDY)

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What a record is about; of two with the same, one is enough."""
        return self.kind, self.target, self.workload, self.threads

    def to_line(self) -> bytes:
        """Return the record as JSON, ASCII, without a line break."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content = {"version": VERSION, **{k: v for k, v in fields.items() if v is not None}}
        return json.dumps(content, allow_nan=False, default=dict).encode()

    @classmethod
    def from_line(cls, line: bytes) -> Record:
        """Read what :meth:`to_line` wrote.

        Raises
        ------
        RecordsError
            It is damaged, or of another version.
        """
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise RecordsError("the line is no JSON", _REMEDY) from None
        return cls._from_json(content)

    @classmethod
    def _from_json(cls, content: Any) -> Record:
        if not isinstance(content, dict):
            raise RecordsError("the line is no JSON object", _REMEDY)
        version = content.pop("version", None)
        if version != VERSION or isinstance(version, bool):
            raise OtherVersionError(
                f"the line is of version {version!r}, and this reads {VERSION}",
                "use the version of tvm_mobilenet that wrote it, or delete the line",
            )
        known = {f.name for f in dataclasses.fields(cls)}
        needed = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        if odd := sorted((needed - set(content)) | (set(content) - known)):
            raise RecordsError(f"missing or unknown fields: {', '.join(odd)}", _REMEDY)
        return cls(**content)


class OtherVersionError(RecordsError):
    """A record in another version of the format."""


def rescue(line: bytes) -> Iterator[Record]:
    """Find whole records in a damaged line, such as two whose line break was lost."""
    text = line.decode("latin-1")  # records are ASCII: one character for each byte
    for start in _START.finditer(line):
        try:
            content, _ = json.JSONDecoder().raw_decode(text, start.start())
            yield Record._from_json(content)
        except (ValueError, RecursionError, RecordsError):
            continue


def target_key(target: TargetSpec) -> str:
    """Name what has to be equal for a record to be applied.

    The architecture, the processor and features that LLVM generates code for, and a
    core's own caches. So ``native`` on a Zen 5 and the preset ``znver5`` are one key, and
    ``x86-64-v4``, which says nothing of the machine, is another. The last-level cache is
    not in it: it varies with how much of a machine one rents.

    Returns
    -------
    str
        Such as ``"x86_64_znver5_l1-48k_l2-1024k"``; of a GPU ``"cuda_sm_90"``, whatever its
        host; a folder's name. Ends with ``_relay`` on the classic stack.
    """
    if target.gpu is not None:
        return f"{target.gpu.kind}_{target.name.removeprefix(f'{target.gpu.kind}-')}"
    caches = (f"l1-{target.l1_bytes / 1024:g}k", f"l2-{target.l2_bytes / 1024:g}k")
    processor = (target.machine, target.cpu or "baseline", *target.features)
    return "_".join((*processor, *caches, *generation().suffix))


def rounded(value: float) -> float:
    """Keep four digits: what a person reads, and more than was measured."""
    return float(f"{value:.4g}")


def threads_of(target: TargetSpec) -> int:
    """Return the threads that a record of a target is about: its cores; of a GPU 1."""
    return target.cores if target.gpu is None else 1


def _problems(record: Record) -> Iterator[str]:
    """Say what is wrong with the fields, in their order."""
    if record.kind not in ("kernel", "fusion"):
        yield f"kind is {record.kind!r}"
    for field in ("operator", "workload", "target", "machine", "date", "tvm"):
        value = getattr(record, field)
        if not isinstance(value, str):
            yield f"{field} is {value!r}, not a text"
        elif field in ("operator", "target") and not _NAME.fullmatch(value):
            yield f"{field} is {value!r}, which cannot be a file's name"
    # Each kind has its own answer, and no other.
    if record.knobs is not None if record.kind == "fusion" else not are_knobs(record.knobs):
        yield f"knobs are {record.knobs!r}, its kind {record.kind!r}"
    if isinstance(record.fused, bool) is not (record.kind == "fusion"):
        yield f"fused is {record.fused!r}, its kind {record.kind!r}"
    for field in ("threads", "repeats"):
        value = getattr(record, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"{field} is {value!r}"
    for field in ("seconds", "instead", "spread", "error"):
        value = getattr(record, field)
        optional = field in ("instead", "error")
        if not (optional and value is None) and not _is_measure(value):
            yield f"{field} is {value!r}"
    if not isinstance(record.verified, bool) or (record.verified and record.error is None):
        yield f"verified is {record.verified!r}, error {record.error!r}"


def are_knobs(value: object) -> bool:
    """Whether a value of a line is knobs: numbers and words by name."""
    return isinstance(value, Mapping) and all(
        isinstance(k, str) and isinstance(v, int | str) and not isinstance(v, bool)
        for k, v in value.items()
    )


def _is_measure(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < _ENDLESS  # type: ignore[operator]

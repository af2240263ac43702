"""Files of lines beside the records: one JSON object each, read as far as they are whole."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tvm_mobilenet.errors import RecordsError
from tvm_mobilenet.tuning.records import VERSION

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that was not understood.

    Attributes
    ----------
    path : Path
        The file that it is in.
    line : int
        From 1.
    why : str
        What is wrong with it.
    """

    path: Path
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.why}; skipped"


class JsonLine:
    """A dataclass that is written as one line; fields that are as by default are left out."""

    __slots__ = ()
    kind: ClassVar[str]

    def to_line(self) -> bytes:
        """Return it as JSON, ASCII, without a line break."""
        content = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        }
        line = {"version": VERSION, "kind": self.kind, **content}
        return json.dumps(line, allow_nan=False, default=_plain).encode()


def _plain(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else dict(value)  # type: ignore[arg-type]


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not empty, numbered from 1; none without a file.

    Raises
    ------
    RecordsError
        It is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordsError(f"cannot read {path}: {error.strerror}", "name another folder") from None
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line


def read_lines(
    path: Path, parse: Callable[[Any, dict[str, Any]], T]
) -> tuple[list[T], list[Damage]]:
    """Read what was written by :meth:`JsonLine.to_line`, and what could not be read.

    `parse` makes of a line's kind and its fields what they say. ValueError, or what goes wrong by
    itself with fields that nobody wrote, makes a Damage.

    Raises
    ------
    RecordsError
        It is there and cannot be read.
    """
    found: list[T] = []
    damaged: list[Damage] = []
    for number, line in numbered(path):
        try:
            found.append(parse(*_fields_of(line)))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            damaged.append(Damage(path, number, str(error).splitlines()[0]))
    return found, damaged


def _fields_of(line: bytes) -> tuple[Any, dict[str, Any]]:
    """Return the kind of a line, and its other fields."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("the line is no JSON") from None
    if not isinstance(content, dict):
        raise ValueError("the line is no JSON object")
    version, kind = content.pop("version", None), content.pop("kind", None)
    if version != VERSION:
        raise ValueError(f"the line is of version {version!r}, and this reads {VERSION}")
    return kind, content


def check_texts(item: Any, *names: str) -> None:
    """Refuse fields that are no texts."""
    for name in names:
        if not isinstance(getattr(item, name), str):
            raise ValueError(f"{name} is {getattr(item, name)!r}, not a text")


def check_counts(item: Any, *names: str, least: int = 0) -> None:
    """Refuse fields that are no whole numbers, or smaller ones."""
    for name in names:
        value = getattr(item, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}")


def check_measure(name: str, value: object) -> None:
    """Refuse what is no finite number of 0 or more."""
    if not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise ValueError(f"{name} is {value!r}")

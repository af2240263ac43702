"""Holds values from JSON against annotated classes, and names the place that is wrong.

A schema is written as classes of :class:`Record` whose annotations are types: ``int``, ``float``,
``str``, ``bool``, ``None``, ``Literal`` of texts, ``list``, ``dict``, ``tuple``, ``Any``, other
records, unions of these, and :class:`Meta` for what a type alone does not say. Such a module must
not postpone its annotations (``from __future__ import annotations``): they are read as they stand.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import count, repeat
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

Check = Callable[[Any], None]

_WORDS: dict[type, str] = {
    **{NoneType: "null", bool: "bool", int: "int", float: "float", str: "str"},
    **{list: "array", dict: "object"},
}
"""What messages call the types that JSON has. One value has one: a bool is no int."""

_LONGEST_KEY = 40
"""Characters of a key that a message repeats."""


class Record:
    """An object of JSON; fields that its class does not annotate may be there and mean nothing."""


class Absent:
    """In a union: the field may be missing."""


class Meta(NamedTuple):
    """Limits of a number, of the length of a text or a list; what all of a text must match."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None


class SchemaError(ValueError):
    """A value that is not of the schema.

    Attributes
    ----------
    what : str
        What was expected.
    place : str
        Where, from the outermost value: ``.calls[0].macs``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place = ""


@functools.cache
def checker(kind: Any) -> Check:
    """Return a function that raises SchemaError for values that are not of a type."""
    if kind is Any:
        return lambda value: None
    by_type = dict(_checks(kind, Meta()))
    # Whole numbers are floats too, which nobody has to be told.
    wanted = " | ".join(_WORDS[one] for one in by_type if not (one is int and float in by_type))

    def check(value: Any) -> None:
        found = by_type.get(type(value))
        if found is None:
            given = _WORDS.get(type(value), type(value).__name__)
            raise SchemaError(f"Expected `{wanted}`, got `{given}`")
        found(value)

    return check


def _checks(kind: Any, meta: Meta) -> Iterator[tuple[type, Check]]:
    """Yield the types of JSON that a type of the schema takes, each with the check of its values.

    Raises
    ------
    TypeError
        The schema has what no schema may have.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _checks(inner[0], inner[1])
    elif origin in (Union, UnionType):
        for one in inner:
            if one is not Absent:
                yield from _checks(one, Meta())
    elif origin is Literal:
        yield str, _one_of(inner)
    elif origin is list:
        yield list, _array(checker(inner[0]), _length("array", meta))
    elif origin is tuple:
        yield list, _fixed_array([checker(one) for one in inner])
    elif origin is dict:
        yield dict, _mapping(checker(inner[0]), checker(inner[1]), _length("object", meta))
    elif isinstance(kind, type) and issubclass(kind, Record):
        yield dict, _record(kind)
    else:
        yield from _plain(kind, meta)


def _plain(kind: Any, meta: Meta) -> Iterator[tuple[type, Check]]:
    """Go on with the types that hold no others."""
    if kind is int:
        yield int, _limits("int", meta)
    elif kind is float:
        finite = _finite(_limits("float", meta))
        yield from ((float, finite), (int, finite))
    elif kind is str:
        yield str, _text(meta)
    elif kind in (bool, NoneType):
        yield kind, lambda value: None
    else:
        raise TypeError(f"a schema cannot hold {kind!r}")


def _limits(word: str, meta: Meta) -> Check:
    bounds = [
        (holds, bound, f"Expected `{word}` {sign} {bound}")
        for holds, bound, sign in (
            (operator.ge, meta.ge, ">="),
            (operator.gt, meta.gt, ">"),
            (operator.le, meta.le, "<="),
            (operator.lt, meta.lt, "<"),
        )
        if bound is not None
    ]

    def check(value: Any) -> None:
        for holds, bound, words in bounds:
            if not holds(value, bound):
                raise SchemaError(words)

    return check


def _finite(limits: Check) -> Check:
    def check(value: Any) -> None:
        try:
            finite = math.isfinite(value)
        except OverflowError:  # of a whole number
            finite = False
        if not finite:
            raise SchemaError("Number out of range")
        limits(value)

    return check


def _length(word: str, meta: Meta) -> Check:
    least, most = meta.min_length, math.inf if meta.max_length is None else meta.max_length

    def check(value: Any) -> None:
        if len(value) < least:
            raise SchemaError(f"Expected `{word}` of length >= {least}")
        if len(value) > most:
            raise SchemaError(f"Expected `{word}` of length <= {most}")

    return check


def _text(meta: Meta) -> Check:
    length, pattern = _length("str", meta), meta.pattern
    if pattern is None:
        return length
    matches = re.compile(pattern).fullmatch

    def check(value: str) -> None:
        length(value)
        if matches(value) is None:
            raise SchemaError(f"Expected `str` matching regex {pattern!r}")

    return check


def _one_of(words: tuple[str, ...]) -> Check:
    def check(value: str) -> None:
        if value not in words:
            raise SchemaError(f"Invalid enum value {value[:_LONGEST_KEY]!r}")

    return check


def _walk(steps: Iterable[tuple[Any, Check, Any]], place: Callable[[Any], str]) -> None:
    """Check values inside of another; an error's place begins with that of the value."""
    key = None
    try:
        for key, check, value in steps:  # noqa: B007  told where it fails
            check(value)
    except SchemaError as error:
        error.place = place(key) + error.place
        raise


def _array(item: Check, length: Check) -> Check:
    def check(value: list[Any]) -> None:
        length(value)
        _walk(((at, item, one) for at, one in enumerate(value)), "[{}]".format)

    return check


def _fixed_array(items: list[Check]) -> Check:
    def check(value: list[Any]) -> None:
        if len(value) != len(items):
            raise SchemaError(f"Expected `array` of length {len(items)}, got {len(value)}")
        _walk(zip(count(), items, value), "[{}]".format)

    return check


def _mapping(key: Check, item: Check, length: Check) -> Check:
    def check(value: dict[Any, Any]) -> None:
        length(value)
        _walk(zip(value, repeat(key), value), _keyed)
        _walk(zip(value, repeat(item), value.values()), _keyed)

    return check


def _keyed(name: str) -> str:
    return f"[{name[:_LONGEST_KEY]!r}]"


def _record(kind: type[Record]) -> Check:
    fields = kind.__annotations__
    required = [name for name, one in fields.items() if Absent not in get_args(one)]
    checks = [(name, checker(one)) for name, one in fields.items()]

    def check(value: dict[str, Any]) -> None:
        for name in required:
            if name not in value:
                raise SchemaError(f"Object missing required field `{name}`")
        here = ((name, one, value[name]) for name, one in checks if name in value)
        _walk(here, ".{}".format)

    return check

"""Every kind of type that a schema may have takes what is of it, and names what is not."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest

from tvm_mobilenet.runtime.schema_check import Absent, Meta, Record, SchemaError, checker


class Inner(Record):
    a: int


Inner.__annotations__["a"] = int  # this module postpones its annotations


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, -(2**100)),
        (float, 1.5),
        (float, 3),
        (bool, False),
        (None | int, None),
        (Any, [{"x": math.nan}]),
        (Literal["a", "b"], "b"),
        (Annotated[float, Meta(gt=0, lt=1)], 0.5),
        (Annotated[str, Meta(pattern="^a+$")], "aaa"),
        (dict[Annotated[str, Meta(min_length=1)], int | str], {"a": 1, "b": "c"}),
        (tuple[int, list[str]], [1, ["x"]]),
        (int | tuple[int, int] | None, [1, 2]),
        (Inner, {"a": 1, "more": None}),
    ],
)
def test_what_is_of_a_type_passes(kind: Any, value: Any) -> None:
    checker(kind)(value)


@pytest.mark.parametrize(
    ("kind", "value", "what", "place"),
    [
        (int, True, "Expected `int`, got `bool`", ""),
        (int, 2.0, "Expected `int`, got `float`", ""),
        (float, True, "Expected `float`, got `bool`", ""),
        (float, math.nan, "Number out of range", ""),
        (float, -math.inf, "Number out of range", ""),
        (float, 10**400, "Number out of range", ""),
        (int, (1, 2), "Expected `int`, got `tuple`", ""),
        (int | list[int] | None, "x", "Expected `int | array | null`, got `str`", ""),
        (int | list[int] | None, [1, None], "Expected `int`, got `null`", "[1]"),
        (Literal["a", "b"], "c" * 1000, f"Invalid enum value '{'c' * 40}'", ""),
        (Annotated[int, Meta(ge=1)], 0, "Expected `int` >= 1", ""),
        (Annotated[int, Meta(lt=2**20)], 10**400, "Expected `int` < 1048576", ""),
        (Annotated[float, Meta(gt=0)], 0, "Expected `float` > 0", ""),
        (Annotated[str, Meta(max_length=2)], "abc", "Expected `str` of length <= 2", ""),
        # A dollar would match before this newline.
        (Annotated[str, Meta(pattern="^a$")], "a\n", "Expected `str` matching regex '^a$'", ""),
        (Annotated[list[int], Meta(min_length=1)], [], "Expected `array` of length >= 1", ""),
        (tuple[int, int], [1], "Expected `array` of length 2, got 1", ""),
        (tuple[int, int], [1, "x"], "Expected `int`, got `str`", "[1]"),
        (dict[str, list[int]], {"a": [0, "x"]}, "Expected `int`, got `str`", "['a'][1]"),
        (dict[str, int], {"k" * 99: None}, "Expected `int`, got `null`", f"['{'k' * 40}']"),
        (Inner, {}, "Object missing required field `a`", ""),
        (list[Inner], [{"a": 1}, {"a": None}], "Expected `int`, got `null`", "[1].a"),
    ],
)
def test_what_is_not_is_named_by_its_place(kind: Any, value: Any, what: str, place: str) -> None:
    with pytest.raises(SchemaError) as caught:
        checker(kind)(value)
    assert (caught.value.what, caught.value.place) == (what, place)


def test_a_field_that_may_be_absent_is_checked_where_it_is() -> None:
    class Outer(Record):
        pass

    Outer.__annotations__ = {"inner": Inner | Absent}
    checker(Outer)({})
    with pytest.raises(SchemaError, match="Expected `object`, got `null`"):
        checker(Outer)({"inner": None})


@pytest.mark.parametrize("kind", ["int", bytes, set[int]])
def test_a_schema_cannot_hold_other_types(kind: Any) -> None:
    with pytest.raises(TypeError, match="a schema cannot hold"):
        checker(kind)

"""Groups of options: a dataclass that several commands take, each field an option of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses, each field of which is an option of its own."""
    groups: dict[str, type] = {}
    declared: list[inspect.Parameter] = []
    for one in _typed(command):
        if isinstance(one.annotation, type) and is_dataclass(one.annotation):
            groups[one.name] = one.annotation
            declared += _typed(one.annotation)
        else:
            declared.append(one)

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    call.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in declared}
    return call


def _typed(declared: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function or a dataclass, their annotations read."""
    found = inspect.signature(declared, eval_str=True).parameters.values()
    return [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in found]


@dataclass(frozen=True)
class Group:
    """Options that belong together."""

    def given(self) -> dict[str, Any]:
        """Return those that were given, as the api calls them; for the rest it has defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

"""Options as people give them: one value, several, or several in one text; one of a few words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from numbers import Real

from tvm_mobilenet.errors import InputError, TvmMobilenetError

Names = str | Sequence[str]
"""``"onnxruntime,ncnn"``, or a sequence of names."""

Numbers = str | int | Sequence[int]
"""``2``, ``"1,2"``, or a sequence of numbers."""


def names(given: Names) -> tuple[str, ...]:
    """Return the different names, in the order given.

    Raises
    ------
    InputError
        One of them is not a string.
    """
    parts = given.split(",") if isinstance(given, str) else _several(given, "names")
    for part in parts:
        if not isinstance(part, str):
            raise InputError(f"{part!r} is no name", "give texts, or one with commas")
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def numbers(given: Numbers, what: str) -> tuple[int, ...]:
    """Return the different whole numbers, in the order given.

    Parameters
    ----------
    what : str
        Name of the option, for the error: ``"threads"``.

    Raises
    ------
    InputError
        One of them is not a whole number.
    """
    parts: Iterable[object]
    if isinstance(given, str):
        parts = [part for part in given.split(",") if part.strip()]
    else:
        parts = [given] if isinstance(given, Real) else _several(given, what)
    try:
        return tuple(dict.fromkeys(_whole(part) for part in parts))
    except (TypeError, ValueError):
        raise InputError(
            f"{what} takes whole numbers, not {given!r}", f'for example {what}="1,2"'
        ) from None


def number(given: str | int, what: str) -> int:
    """Return one whole number.

    Raises
    ------
    InputError
        There is no number, more than one, or something else.
    """
    found = numbers(given, what)
    if len(found) != 1:
        raise InputError(f"{what} takes one number, not {given!r}", f"for example {what}=2")
    return found[0]


def check_one_of(
    given: object, choices: Sequence[str], what: str, error: type[TvmMobilenetError]
) -> None:
    """Raise an error unless `given` is one of a few words.

    Raises
    ------
    TvmMobilenetError
        The error is of class `error` and lists the choices.
    """
    if isinstance(given, str) and given in choices:
        return
    close = difflib.get_close_matches(str(given), choices, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise error(f"there is no {what} {given!r}", f"{hint}known: {', '.join(choices)}")


def _several(given: object, what: str) -> list[object]:
    try:
        return list(given)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        raise InputError(f"{given!r} are no {what}", "give one, several, or a text") from None


def _whole(part: object) -> int:
    if isinstance(part, bool) or (isinstance(part, float) and not part.is_integer()):
        raise ValueError(part)
    return int(part)  # type: ignore[call-overload, no-any-return]

"""What is known of each image so far: a line each in a file, so that nothing is computed twice."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.errors import OutputError, StateError

Result = dict[str, Any]
"""What an image gave, with its name as ``image``.

``stamp`` is the bytes and the time of its file; ``got``, and ``ref`` of a reference, are the
likeliest five as [class, score]; SQNR is summed from ``signal`` and ``noise``. ``seconds`` and
``probabilities`` (whether the scores are such) hold one value for each network.
"""

_KEYS = {"image", "stamp", "seconds", "probabilities", "got"}


@contextlib.contextmanager
def kept(
    path: Path | None, of: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Result], Callable[[Result], None]]]:
    """Open the file of an evaluation; give what it holds, and what appends to it.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    of : mapping
        What the results depend on: the file is refused if it is of something else.

    Raises
    ------
    StateError
        The file is not of such an evaluation, or of another one.
    OutputError
        It cannot be read or written.
    """
    if path is None:
        yield {}, lambda result: None
        return
    if path.exists() and not path.is_file():
        raise OutputError(f"the state {str(path)!r} is no regular file", "choose another --state")
    try:
        file = path.open("a+b")
    except OSError as error:
        raise OutputError(
            f"cannot write the state {str(path)!r}: {error.strerror}", "choose another --state"
        ) from error
    with file:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if content and not whole and not b'{"evaluation"'.startswith(content[:13]):
            raise _foreign(path)
        found = _read(path, whole, of)
        # The last line of a run that was killed may be cut.
        file.truncate(len(whole))

        def append(line: Mapping[str, Any]) -> None:
            try:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
            except OSError as error:
                raise OutputError(
                    f"cannot write the state {str(path)!r}: {error.strerror}",
                    "make room; the same command continues",
                ) from error

        if not whole:
            append({"evaluation": dict(of)})
            begun = file.tell()
        try:
            yield found, append
        finally:
            # Of a run that computed nothing there is nothing to continue.
            if not whole and file.tell() == begun:
                path.unlink()


def _read(path: Path, content: bytes, of: Mapping[str, Any]) -> dict[str, Result]:
    if not content:
        return {}
    try:
        head, *lines = [json.loads(line) for line in content.splitlines()]
        before = head["evaluation"]
        results = {line["image"]: line for line in lines if line.keys() >= _KEYS}
        differs = [key for key in of if before.get(key) != of[key]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _foreign(path) from error
    if differs:
        raise StateError(
            f"the state {os.fspath(path)!r} is of another evaluation: {', '.join(differs)} differ",
            "choose another --state, or remove the file to begin anew",
        )
    return results


def _foreign(path: Path) -> StateError:
    return StateError(
        f"{os.fspath(path)!r} holds no state of an evaluation", "choose another --state"
    )

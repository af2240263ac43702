"""Which documented parameters say nothing: their entry ends with their type.

The rule: an entry of a NumPy-style section (Parameters, Attributes, Returns, Yields, Raises) says
more than its type, or it is not there. In::

    Parameters
    ----------
    work : Workload
    channels : int
        How many of the block's lanes hold a channel.

the first entry is silent: the signature says as much. Either a layout, a unit, a range or a
meaning is missing there, or the entry is. Members of a class count under Attributes, exceptions
under Raises. A name is public if no part of it, module included, begins with an underscore.

``tests/golden/prose.txt`` holds how many silent entries each folder had, and
``tests/unit/test_prose.py`` fails where there are more::

    .venv/bin/python tests/prose.py              # every silent entry, and the sums
    .venv/bin/python tests/prose.py schedules    # those of one folder or file
    .venv/bin/python tests/prose.py --refresh    # keep today's sums; refused where there are more
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("tvm_mobilenet", "schedules")
HELD = ROOT / "tests" / "golden" / "prose.txt"

SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises")
_RULE = re.compile(r"-{3,}")


class Entry(NamedTuple):
    """One entry of a docstring's section."""

    path: str
    line: int
    owner: str
    section: str
    head: str
    text: str

    @property
    def folder(self) -> str:
        """The folder it stands in, from the repository's root."""
        return str(Path(self.path).parent)

    @property
    def public(self) -> bool:
        """Whether no part of its name begins with an underscore."""
        parts = [*Path(self.path).with_suffix("").parts, *self.owner.split(".")]
        return not any(part.startswith("_") and not part.endswith("__") for part in parts)


def entries_of(source: str, path: str) -> list[Entry]:
    """Return the entries of every docstring of a module."""
    found = []
    for owner, node in _documented(ast.parse(source), ""):
        docstring = ast.get_docstring(node, clean=False)
        if docstring is None:
            continue
        first = node.body[0].lineno
        found += [
            Entry(path, first + at, owner, section, head, text)
            for at, section, head, text in _entries(inspect.cleandoc(docstring).splitlines())
        ]
    return found


def _documented(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Module):
        yield prefix, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{child.name}".lstrip(".")
            yield name, child
            yield from _documented(child, name)
        else:
            yield from _documented(child, prefix)


def _entries(lines: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """Yield the line, section, head and text of each entry."""
    starts = [
        at
        for at, (line, below) in enumerate(pairwise(lines))
        if line and not line[0].isspace() and _RULE.fullmatch(below)
    ]
    for start, end in pairwise([*starts, len(lines)]):
        if lines[start] not in SECTIONS:
            continue
        heads = [at for at in range(start + 2, end) if lines[at] and not lines[at][0].isspace()]
        for head, after in pairwise([*heads, end]):
            text = " ".join(line.strip() for line in lines[head + 1 : after]).strip()
            yield head, lines[start], lines[head], text


def all_entries(root: Path = ROOT) -> list[Entry]:
    """Return the entries of both packages."""
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return [
        entry
        for file in files
        for entry in entries_of(file.read_text(), str(file.relative_to(root)))
    ]


def silent(entries: list[Entry]) -> list[Entry]:
    """Return the entries that say nothing beyond their type."""
    return [entry for entry in entries if not entry.text]


def by_folder(entries: list[Entry]) -> dict[str, int]:
    """Return how many entries each folder has, of those that have any."""
    return dict(sorted(Counter(entry.folder for entry in entries).items()))


def held() -> dict[str, int]:
    """Return the committed sums."""
    rows = (line.split() for line in HELD.read_text().splitlines())
    return {folder: int(count) for folder, count in rows}


def main() -> int:
    """List silent entries, or keep their sums."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("where", nargs="?", default="", help="beginning of a path")
    parser.add_argument("--refresh", action="store_true", help=f"write {HELD.relative_to(ROOT)}")
    options = parser.parse_args()
    everything = all_entries()
    found = silent(everything)
    if options.refresh:
        before = sum(held().values()) if HELD.exists() else len(found)
        if len(found) > before:
            print(f"{len(found)} silent entries, {before} before: say something", file=sys.stderr)
            return 1
        HELD.write_text("".join(f"{name} {n}\n" for name, n in by_folder(found).items()))
        return 0
    for entry in found:
        if entry.path.startswith(options.where):
            mark = "" if entry.public else "  (private)"
            place = f"{entry.path}:{entry.line}"
            print(f"{place}: {entry.owner or 'module'}: {entry.section}: {entry.head}{mark}")
    for folder, count in by_folder(found).items():
        print(f"{count:5} {folder}")
    public = sum(entry.public for entry in found)
    print(f"{len(found):5} of {len(everything)}; {public} of them public")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

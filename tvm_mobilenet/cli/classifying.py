"""``run``: classify images, as a person would ask for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tvm_mobilenet.cli.logs import LOGGER, is_quiet
from tvm_mobilenet.cli.output import print_json, print_table, progress_bar, say
from tvm_mobilenet.errors import ImageError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.runtime import Loaded
    from tvm_mobilenet.runtime.images import Source
    from tvm_mobilenet.runtime.preprocess import Guess

_PATIENCE_S = 2.0
"""Until then nobody asks how far it is."""


class Answer(NamedTuple):
    """What the network takes an image for, and its share of the call, ms."""

    image: str
    milliseconds: float
    best: list[Guess]


class Answers(NamedTuple):
    """What became of all images; `seconds` with reading and preparing."""

    found: list[Answer]
    skipped: list[tuple[str, ImageError]]
    seconds: float


def run_images(
    artifact: Path,
    images: Sequence[str],
    count: int,
    *,
    batch: int | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> bool:
    """Classify images, here or on a device; return whether all could be read.

    Raises
    ------
    ImageError
        None could.
    InputError
        The artifact takes fewer images a call than `batch`.
    """
    if device is None:
        from tvm_mobilenet.runtime import load

        module = load(artifact, threads=threads)
        LOGGER.info("%r", module)
        return _run(module, images, count, batch, as_json)
    from tvm_mobilenet.device import open_device

    with open_device(device) as opened, opened.session() as session:
        return _run(session.artifact(artifact, threads), images, count, batch, as_json)


def _run(
    module: Loaded | RemoteModule,
    given: Sequence[str],
    count: int,
    batch: int | None,
    as_json: bool,
) -> bool:
    from tvm_mobilenet.runtime.images import STDIN, find_images

    room = int(module.inputs[0]["shape"][0])
    if batch is not None and batch > room:
        raise InputError(
            f"the artifact takes {room} images a call, not {batch}",
            f"compile it with --batch {batch}, or leave --batch out",
        )
    sources = find_images(given, sys.stdin.buffer.read() if STDIN in given else None)
    answers = _classify(module, sources, count, batch or room)
    for _, error in answers.skipped:
        say(f"skipped: {error.what}", error=True)
    if not answers.found:
        if len(answers.skipped) == 1:
            raise answers.skipped[0][1]
        raise ImageError(f"none of {len(answers.skipped)} images could be read")
    if as_json:
        print_json(_described(answers))
    else:
        _print(answers, module)
    return not answers.skipped


def _classify(
    module: Loaded | RemoteModule, sources: Sequence[Source], count: int, batch: int
) -> Answers:
    import numpy as np

    from tvm_mobilenet.runtime.preprocess import class_names, guesses

    shape, classes = _image_and_classes(module)
    names = class_names(classes)
    pixels_last, dtype = module.inputs[0]["layout"] == "NHWC", module.inputs[0]["dtype"]
    found: list[Answer] = []
    skipped: list[tuple[str, ImageError]] = []
    with progress_bar(after_s=_PATIENCE_S) as tell:
        # The first call wakes the threads and reads the weights into the caches.
        module(np.zeros(shape, dtype))
        begin = time.perf_counter()
        for group in _groups(module, sources, batch, skipped):
            x = np.zeros(shape, dtype)
            for place, (_, pixels) in enumerate(group):
                x[place] = pixels[0].transpose(1, 2, 0) if pixels_last else pixels[0]
            start = time.perf_counter()
            scores = module(x)
            each = (time.perf_counter() - start) * 1e3 / len(group)
            found += [
                Answer(source.name, each, guesses(row, count, names))
                for (source, _), row in zip(group, scores, strict=False)
            ]
            tell(len(found) + len(skipped), len(sources), group[-1][0].name)
        return Answers(found, skipped, time.perf_counter() - begin)


def _image_and_classes(module: Loaded | RemoteModule) -> tuple[tuple[int, ...], int]:
    """Return the shape of a batch of images, NCHW or NHWC, and the number of classes."""
    from tvm_mobilenet.runtime.recipe import both_sides

    (source, *others), (target, *rest) = module.inputs, module.outputs
    shape, scores = tuple(source["shape"]), tuple(target["shape"])
    crop = both_sides(module.manifest["preprocess"]["crop"])
    image = ((3, *crop), (*crop, 3))
    if others or rest or shape[1:] not in image or len(scores) != 2:
        raise InputError(
            f"{module.manifest['title']} does not classify images: from "
            f"{'x'.join(map(str, shape))} it makes {'x'.join(map(str, scores))}",
            "call it from Python, as module(array)",
        )
    return shape, int(scores[1])


def _groups(
    module: Loaded | RemoteModule,
    sources: Sequence[Source],
    batch: int,
    skipped: list[tuple[str, ImageError]],
) -> Iterator[list[tuple[Source, NDArray[Any]]]]:
    """Yield up to `batch` images that could be read; those that could not go to `skipped`."""
    from tvm_mobilenet.runtime.preprocess import load_image

    group: list[tuple[Source, NDArray[Any]]] = []
    for source in sources:
        LOGGER.info("reading %s", source.name)
        try:
            group.append((source, load_image(source.content, module.manifest["preprocess"])))
        except ImageError as error:
            skipped.append((source.name, error))
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def _described(answers: Answers) -> dict[str, Any]:
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
        "ms_per_image": _mean(answers),
        "images_per_second": len(answers.found) / answers.seconds,
    }


def _print(answers: Answers, module: Loaded | RemoteModule) -> None:
    if len(answers.found) == 1:
        (answer,) = answers.found
        rows = [[guess.name, f"{100 * guess.probability:.2f} %"] for guess in answer.best]
        title = f"{answer.image}  ({answer.milliseconds:.2f} ms)"
        print_table(title, ["~class", ">probability"], rows)
    else:
        rows = []
        for answer in answers.found:
            named = (answer.image, f"{answer.milliseconds:.2f}")
            for guess in answer.best:
                rows.append([*named, guess.name, f"{100 * guess.probability:.2f} %"])
                named = ("", "")
        mean, count = _mean(answers), len(answers.found)
        footer = (
            f"{count} images: {mean:.2f} ms each in the network, {1e3 / mean:.0f} a second; with "
            f"reading and preparing {count / answers.seconds:.0f} a second"
        )
        columns = ["~image", ">ms", "~class", ">probability"]
        print_table(str(module.manifest["title"]), columns, rows, footer)
    if is_quiet():
        return
    if str(module.manifest["weights"]["source"]).startswith("seed:"):
        say("The weights are random: these classes mean nothing. Compile with --weights.")
    elif answers.found[0].best[0].unnamed:
        say("Class names: pip install 'tvm-mobilenet[pretrained]'")


def _mean(answers: Answers) -> float:
    return sum(answer.milliseconds for answer in answers.found) / len(answers.found)

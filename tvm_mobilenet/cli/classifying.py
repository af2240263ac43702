"""``run``: classify images, as a person would ask for it."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.answers import Answer, Answers, classes_table, described, outputs_table
from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import Form, progress_bar, say, show
from tvm_mobilenet.common.tables import by_size
from tvm_mobilenet.errors import ImageError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.runtime import Loaded
    from tvm_mobilenet.runtime.images import Source

_PATIENCE_S = 2.0
"""Until then nobody asks how far it is."""


Example = tuple[str, "NDArray[Any]"]
"""What to call it, and the network's input of it, without the batch axis."""


def loaded(artifact: Path, threads: int | None) -> Loaded:
    """Load an artifact here."""
    from tvm_mobilenet.runtime.loading import load

    module = load(artifact, threads=threads)
    LOGGER.info("%r", module)
    return module


def classify(
    module: Loaded | RemoteModule,
    given: Sequence[str],
    count: int,
    *,
    batch: int | None,
    save: Path | None,
    form: Form,
) -> bool:
    """Run images or arrays and print what became of them; return whether all could be read.

    Raises
    ------
    ImageError
        None could.
    InputError
        The artifact takes fewer images a call than `batch`, or other arrays.
    OutputError
        The outputs cannot be written.
    """
    from tvm_mobilenet.runtime.arrays import check_savable, save_outputs

    room = int(module.inputs[0]["shape"][0])
    if batch is not None and batch > room:
        raise InputError(
            f"the artifact takes {room} images a call, not {batch}",
            f"compile it with --batch {batch}, or leave --batch out",
        )
    if save is not None:
        check_savable(save, [output["name"] for output in module.outputs])
    skipped: list[tuple[str, ImageError]] = []
    total, source = _examples(module, given, skipped)
    answers = _answered(
        module,
        source,
        skipped,
        count=count,
        batch=batch or room,
        total=total,
        keep=save is not None,
    )
    for _, error in answers.skipped:
        say(f"skipped: {error.what}", error=True)
    if not answers.found and not answers.outputs:
        if len(answers.skipped) == 1:
            raise answers.skipped[0][1]
        raise ImageError(f"none of {len(answers.skipped)} images could be read")
    if save is not None:
        save_outputs(save, answers.outputs)
        say(f"written: {save}", error=True)
    if answers.found:
        show(form, classes_table(answers, module), data=described(answers))
    else:
        show(form, outputs_table(answers, module))
    return not answers.skipped


def _examples(
    module: Loaded | RemoteModule, given: Sequence[str], skipped: list[tuple[str, ImageError]]
) -> tuple[int, Iterator[Example]]:
    """Return how many files there are, and what they hold; images that are none to `skipped`."""
    from tvm_mobilenet.runtime.arrays import examples, is_array
    from tvm_mobilenet.runtime.classifier import check_images
    from tvm_mobilenet.runtime.images import STDIN, find_images
    from tvm_mobilenet.runtime.inputs import Expected

    if arrays := [name for name in given if is_array(name)]:
        if len(arrays) < len(given):
            raise InputError(
                f"{arrays[0]} is an array, and not all of the others are",
                "run images and arrays one after the other",
            )
        expected = Expected(module.inputs[0])
        return len(arrays), (
            (f"{name}[{at}]", example)
            for name in arrays
            for at, example in enumerate(examples(name, expected))
        )
    check_images(module)
    sources = find_images(given, sys.stdin.buffer.read() if STDIN in given else None)
    return len(sources), _pixels(module, sources, skipped)


def _answered(
    module: Loaded | RemoteModule,
    source: Iterator[Example],
    skipped: list[tuple[str, ImageError]],
    *,
    count: int,
    batch: int,
    total: int,
    keep: bool,
) -> Answers:
    import numpy as np

    from tvm_mobilenet.runtime.classifier import classes_of
    from tvm_mobilenet.runtime.preprocess import class_names, guesses

    shape, dtype = tuple(module.inputs[0]["shape"]), module.inputs[0]["dtype"]
    room = shape[0]
    classes = classes_of(module)
    names = class_names(classes) if classes else None
    found: list[Answer] = []
    parts: list[tuple[NDArray[Any], ...]] = []
    with progress_bar(after_s=_PATIENCE_S) as told:
        # The first call wakes the threads and reads the weights into the caches.
        module(np.zeros(shape, dtype))
        begin = time.perf_counter()
        for group in _groups(source, batch):
            x = np.zeros(shape, dtype)
            for place, (_, pixels) in enumerate(group):
                x[place] = pixels
            start = time.perf_counter()
            outputs = module(x)
            each = (time.perf_counter() - start) * 1e3 / len(group)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            if classes:
                found += [
                    Answer(name, each, guesses(row, count, names))
                    for (name, _), row in zip(group, outputs[0], strict=False)
                ]
            if keep or not classes:
                parts.append(_of_examples(outputs, module, len(group), room))
            told(len(found) + len(skipped), total, group[-1][0])
        seconds = time.perf_counter() - begin
    joined = [np.concatenate(some) for some in zip(*parts, strict=True)]
    outputs_by_name = dict(zip((o["name"] for o in module.outputs), joined, strict=False))
    return Answers(found, skipped, outputs_by_name, seconds)


def _of_examples(
    outputs: tuple[NDArray[Any], ...], module: Loaded | RemoteModule, count: int, room: int
) -> tuple[NDArray[Any], ...]:
    """Return what outputs say of the examples of a call, without what filled it up."""
    for output, one in zip(outputs, module.outputs, strict=True):
        if count < room and output.shape[:1] != (room,):
            raise InputError(
                f"the output {one['name']} is {by_size(output.shape)}, not one for each of {room} "
                "images",
                f"give {room} examples a call",
            )
    return tuple(
        output[:count] if output.shape[:1] == (room,) else output[None] for output in outputs
    )


def _pixels(
    module: Loaded | RemoteModule,
    sources: Sequence[Source],
    skipped: list[tuple[str, ImageError]],
) -> Iterator[Example]:
    """Yield the images that could be read; those that could not go to `skipped`."""
    from tvm_mobilenet.runtime.preprocess import load_image

    pixels_last = module.inputs[0]["layout"] == "NHWC"
    for source in sources:
        LOGGER.info("reading %s", source.name)
        try:
            (pixels,) = load_image(source.content, module.manifest["preprocess"])
        except ImageError as error:
            skipped.append((source.name, error))
            continue
        yield source.name, pixels.transpose(1, 2, 0) if pixels_last else pixels


def _groups(source: Iterator[Example], batch: int) -> Iterator[list[Example]]:
    """Yield up to `batch` examples at a time."""
    while group := list(itertools.islice(source, batch)):
        yield group

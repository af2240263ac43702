"""Run an artifact, and what it is compared with, on images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.files import sha256_of
from tvm_mobilenet.errors import ImageError, InputError, VerificationError
from tvm_mobilenet.evaluation.labels import Example, find_examples
from tvm_mobilenet.evaluation.networks import ArtifactScorer, OnnxScorer, Scorer
from tvm_mobilenet.evaluation.report import EvaluationReport, summarize
from tvm_mobilenet.evaluation.state import Result, kept
from tvm_mobilenet.runtime.loading import load
from tvm_mobilenet.runtime.preprocess import class_names

_TOP = 5
_ROUNDING = 1e-3
"""By how much the sum of float32 probabilities may miss 1."""

Progress = Callable[[int, int, str], object]


def evaluate(
    artifact: Path,
    folder: Path,
    *,
    labels: Path | None = None,
    against: Path | None = None,
    state: Path | None = None,
    threads: int | None = None,
    progress: Progress = lambda done, total, text: None,
) -> EvaluationReport:
    """Evaluate an artifact; :func:`tvm_mobilenet.evaluate` says how."""
    module = load(artifact, threads)
    scorers: list[Scorer] = [ArtifactScorer(module)]
    count = scorers[0].classes
    if against is not None:
        if against.suffix == ".onnx":
            recipe = module.manifest["preprocess"]
            scorers.append(OnnxScorer(against, recipe, module.threads))
        else:
            scorers.append(ArtifactScorer(load(against, threads)))
        if scorers[1].classes != count:
            raise InputError(
                f"{against.name} tells {scorers[1].classes} classes apart, and {artifact.name} "
                f"{count}",
                "compare networks of the same task",
            )
    names = class_names(count)
    examples = find_examples(folder, labels, count, names)
    about = {
        "artifact": sha256_of(artifact),
        "against": None if against is None else sha256_of(against),
        "threads": module.threads,
        "folder": str(folder.resolve()),
    }
    with kept(state, about) as (before, append):
        results = {
            one.name: before[one.name]
            for one in examples.images
            if one.name in before and before[one.name]["stamp"] == _stamp(one.path)
        }
        resumed = len(results)
        missing = [one for one in examples.images if one.name not in results]
        skipped: list[str] = []
        for result in _results(missing, scorers, skipped):
            append(result)
            results[result["image"]] = result
            done = len(results) + len(skipped)
            progress(done, len(examples.images), result["image"])
    if not results:
        raise ImageError(
            f"none of {len(skipped)} images could be read; the first: {skipped[0]}",
            "give JPEG, PNG or similar files",
        )
    return summarize(
        examples.images,
        results,
        (artifact.name, None if against is None else against.name),
        names,
        resumed=resumed,
        labels=examples.taken,
        skipped=skipped,
    )


def _stamp(path: Path) -> list[int]:
    """Return what tells an image from another one of the same name."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def _results(
    examples: Sequence[Example], scorers: Sequence[Scorer], skipped: list[str]
) -> Iterator[Result]:
    """Yield what each image gives; those that cannot be read go to `skipped`."""
    readable = _read(examples, scorers, skipped)
    places = list(range(len(scorers)))
    while group := list(itertools.islice(readable, scorers[0].batch)):
        calls = {
            place: _scored(scorers[place], [inputs[place] for _, _, inputs in group])
            for place in places
        }
        found = [calls[place] for place in sorted(places)]
        # Reading images leaves cold caches to whoever is called first: they take turns.
        places.reverse()
        for at, (example, stamp, _) in enumerate(group):
            rows = [scores[at] for scores, _ in found]
            yield {
                "image": example.name,
                "stamp": stamp,
                "seconds": [seconds / len(group) for _, seconds in found],
                "probabilities": [_are_probabilities(row) for row in rows],
                **_compared(rows),
            }


def _read(
    examples: Sequence[Example], scorers: Sequence[Scorer], skipped: list[str]
) -> Iterator[tuple[Example, list[int], list[NDArray[Any]]]]:
    for example in examples:
        try:
            inputs = [scorer.read(example.path) for scorer in scorers]
        except ImageError as error:
            skipped.append(error.what)
            continue
        yield example, _stamp(example.path), inputs


def _scored(scorer: Scorer, images: list[NDArray[Any]]) -> tuple[NDArray[np.float64], float]:
    """Return the scores of images, in as many calls as the network needs, and the seconds."""
    calls = [
        scorer.scores(images[at : at + scorer.batch]) for at in range(0, len(images), scorer.batch)
    ]
    scores = np.concatenate([found for found, _ in calls])
    if not np.isfinite(scores).all():
        raise VerificationError(
            f"{scorer.title} answers NaN or infinity, and no class is the likeliest",
            "its weights overflow or are damaged: see `tvm-mobilenet verify`",
        )
    return scores, sum(seconds for _, seconds in calls)


def _compared(rows: Sequence[NDArray[np.float64]]) -> Result:
    got, *others = rows
    result: Result = {"got": _likeliest(got)}
    for ref in others:
        result["ref"] = _likeliest(ref)
        result["signal"] = float(np.sum(ref**2))
        result["noise"] = float(np.sum((ref - got) ** 2))
    return result


def _likeliest(row: NDArray[np.float64]) -> list[tuple[int, float]]:
    order = np.argsort(-row, kind="stable")[:_TOP]
    return [(int(at), float(row[at])) for at in order]


def _are_probabilities(row: NDArray[np.float64]) -> bool:
    return bool(row.min() >= 0 and abs(row.sum() - 1) <= _ROUNDING)

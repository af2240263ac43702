"""Fits the arrays of a file to a model: their names, shapes, and what their source implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models.checkpoints.branches import without_branches
from tvm_mobilenet.models.checkpoints.names import (
    IGNORED,
    MARKS,
    NAMES,
    TF_EPSILON,
    TF_PREPROCESS,
    Names,
)
from tvm_mobilenet.models.spec import Model, Shape

Weights = dict[str, NDArray[Any]]
"""Full parameter name to array; float32 wherever this package made it."""

_SHOWN = 6

_VARIANCES = (".bn.variance", ".running_var")


class Trained(NamedTuple):
    """Weights, the model that they were trained in, and the preprocessing of its images.

    Parameters
    ----------
    weights : dict of str to ndarray
        Arrays by our names.
    model : Model
        The model that was asked for. For a checkpoint of torchvision or timm it has the
        batch-norm epsilon and the padding of its source, unless the options give others.
    preprocess : mapping
        Any of ``mean``, ``std``, ``interpolation`` and ``crop_fraction`` that are known.
    """

    weights: Weights
    model: Model
    preprocess: Mapping[str, Any]


def fitted(
    arrays: Mapping[str, NDArray[Any]], model: Model, where: str, preprocess: Mapping[str, Any]
) -> Trained:
    """Check the arrays of a file, name them as we do, and adapt the model to their source.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by our names, torchvision's or timm's.
    model : Model
        The model that they must fit.
    where : str
        Name of the source in messages; it also shows whether timm took the weights from
        TensorFlow.
    preprocess : mapping
        Preprocessing that the source states, see :class:`Trained`.

    Raises
    ------
    WeightsError
        Arrays are missing, unexpected, of another shape or not floating point.
    """
    arrays = {name: array for name, array in arrays.items() if not name.endswith(IGNORED)}
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise WeightsError(
                f"{where}: {name!r} has dtype {array.dtype}",
                "store weights as float16, float32 or float64",
            )
    names = _source_names(arrays, model, where)
    if names is not None:
        arrays = without_branches(arrays, names.epsilon, where)
    theirs = (
        {name: (name, shape) for name, shape in model.parameters.items()}
        if names is None
        else names.of(model)
    )
    with np.errstate(over="ignore"):
        # What overflows float32 becomes infinite, and is named.
        arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    check(dict(theirs.values()), arrays, model.title, where)
    weights = {
        ours: np.ascontiguousarray(arrays[name].reshape(model.parameters[ours]))
        for ours, (name, _) in theirs.items()
    }
    if names is None:
        return Trained(weights, model, preprocess)
    ported = names.from_tensorflow(where)
    epsilon, padding = (TF_EPSILON, "same") if ported else (names.epsilon, names.padding)
    if ported and not preprocess:
        preprocess = TF_PREPROCESS
    return Trained(weights, _adapted(model, epsilon=epsilon, padding=padding), preprocess)


def _source_names(arrays: Mapping[str, Any], model: Model, where: str) -> Names | None:
    """Return whose names these are; None if they are ours, or nobody's that we know."""
    for source, marks in MARKS.items():
        if any(name.startswith(marks) for name in arrays):
            found = NAMES[source].get(model.name)
            if found is None:
                raise WeightsError(
                    f"{where} has the names of {source}, which has no {model.title}",
                    f"{source} has {', '.join(NAMES[source])}",
                )
            return found
    return None


def _adapted(model: Model, **wanted: Any) -> Model:
    """Build the model with these options, where it was not asked for others."""
    from tvm_mobilenet.models import build

    options = model.options
    unsaid = {name: value for name, value in wanted.items() if options.get(name, value) is None}
    return build(model.name, **{**model.options, **unsaid})


def check(
    expected: Mapping[str, Shape], weights: Mapping[str, NDArray[Any]], title: str, where: str
) -> None:
    """Raise WeightsError unless the weights are those that `expected` says, and numbers."""
    arrays = {name: np.asarray(weights[name]) for name in expected if name in weights}
    floating = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "wrong shape": [
            f"{name} is {array.shape}, not {expected[name]}"
            for name, array in arrays.items()
            if array.shape != expected[name]
        ],
        "not floating-point": [
            f"{name} is {array.dtype}" for name, array in arrays.items() if name not in floating
        ],
        "not finite": [name for name, array in floating.items() if not np.isfinite(array).all()],
        "negative": [
            name
            for name, array in floating.items()
            if name.endswith(_VARIANCES) and np.any(array < 0)
        ],
    }
    found = [f"{problem}: {_list(names)}" for problem, names in problems.items() if names]
    if found:
        raise WeightsError(
            f"{where} do not fit {title}: " + "; ".join(found),
            "check that alpha and classes are those the weights were made for",
        )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

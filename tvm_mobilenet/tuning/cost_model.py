"""Guess how fast knobs are from those that were measured: gradient-boosted trees.

The model sees knobs by name and the sizes in a workload's key, not the code. A guess costs
microseconds and no schedule has to run for it; and as the history names knobs and
workloads, whatever was measured for a target before, for another network too, trains it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import TuningError

LEAST = 12
"""Measured candidates of an operator from which guessing begins."""

_FAILED = math.log(4.0)
"""What a candidate that failed counts as: four times the rule's time."""

_ROUNDS = 60
_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 6,
    "eta": 0.2,
    "min_child_weight": 1.0,
    "nthread": 1,
    "verbosity": 0,
    "seed": 0,
}

_SIZES = re.compile(r"(?:^|_)([a-z])(\d+)(?:x(\d+))?")

Example = tuple[str, Mapping[str, int | str], float | None]
"""Workload, knobs, and time over the time of the rule's knobs; None where it failed."""


def check_installed() -> None:
    """Raise TuningError where xgboost is missing."""
    try:
        import xgboost  # noqa: F401
    except ImportError as error:
        raise TuningError(
            f"tuning learns with xgboost, which cannot be imported: {error}",
            "pip install 'tvm-mobilenet[tune]'",
        ) from None


class CostModel:
    """A guess for every candidate of one operator.

    Parameters
    ----------
    examples : sequence of Example
        Those of that operator, from all its workloads.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._columns: dict[tuple[str, str], int] = {}
        self._booster: Any = None
        if len(examples) < LEAST:
            return
        import xgboost

        for workload, knobs, _ in examples:
            self._learn_columns(workload, knobs)
        rows = self._table([(workload, knobs) for workload, knobs, _ in examples])
        goals = [_FAILED if ratio is None else math.log(ratio) for _, _, ratio in examples]
        table = xgboost.DMatrix(rows, label=np.array(goals), missing=np.nan)
        self._booster = xgboost.train(_PARAMETERS, table, _ROUNDS)

    @property
    def knows(self) -> bool:
        """Whether there were enough examples to guess at all."""
        return self._booster is not None

    def guess(
        self, workload: str, candidates: Sequence[Mapping[str, int | str]]
    ) -> NDArray[np.float32]:
        """Return the guessed logarithm of time over the rule's time, for each candidate."""
        import xgboost

        rows = self._table([(workload, knobs) for knobs in candidates])
        guesses: NDArray[np.float32] = self._booster.predict(xgboost.DMatrix(rows, missing=np.nan))
        return guesses

    def _learn_columns(self, workload: str, knobs: Mapping[str, int | str]) -> None:
        for column, _ in _features(workload, knobs):
            self._columns.setdefault(column, len(self._columns))

    def _table(self, rows: Sequence[tuple[str, Mapping[str, int | str]]]) -> NDArray[np.float32]:
        table = np.full((len(rows), len(self._columns)), np.nan, np.float32)
        for row, (workload, knobs) in zip(table, rows, strict=True):
            for column, value in _features(workload, knobs):
                if column in self._columns:
                    row[self._columns[column]] = value
        return table


def _features(workload: str, knobs: Mapping[str, int | str]) -> list[tuple[tuple[str, str], float]]:
    """Return named numbers: the workload's sizes, numeric knobs, and a column for each word."""
    found: list[tuple[tuple[str, str], float]] = []
    for letter, first, second in _SIZES.findall(workload):
        found.append((("size", letter), float(first)))
        if second and letter in "sk":
            found.append((("size", letter + "2"), float(second)))
    for name, value in knobs.items():
        if isinstance(value, str):
            found.append(((name, value), 1.0))
        else:
            found.append(((name, ""), float(value)))
    return found

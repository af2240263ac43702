"""A schedule's questions without its answers' work: what it asks its knobs, and no loop is touched.

To know every set of knobs that a template allows, a tuner asks it for each of them; with TE
behind it, that takes 20 ms an answer.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.rules import TE

from tvm_mobilenet.target import TargetSpec


class DryRun:
    """A definition's sizes, for any number of runs.

    Parameters
    ----------
    operator : str
        One with a schedule for processors.
    work : Definition
    target : TargetSpec
    """

    def __init__(self, operator: str, work: Definition, target: TargetSpec) -> None:
        self._rule, self._target = TE[operator], target
        self._work: Any = _Sizes(work)

    def ask(self, knobs: Knobs) -> None:
        """Have the schedule ask for its knobs.

        Parameters
        ----------
        knobs : Knobs
            As :func:`tvm_mobilenet.schedules.te.rules.schedule` takes them.

        Raises
        ------
        KnobError
            They do not fit the schedule.
        """
        self._rule(_Schedule(), self._work, knobs, self._target)
        knobs.finish()


class _Sizes:
    """What a schedule reads of a definition, as plain numbers."""

    def __init__(self, work: Definition) -> None:
        self.out_width, self.pieces, self.ahead = work.out_width, (), ()
        self.tensors = [_tensor(tensor) for tensor in work.tensors]
        self.inputs, self.out = self.tensors[:-1], self.tensors[-1]
        self._work, self._stages = work, {"out": self.out}

    def stage(self, name: str) -> Any:
        if name not in self._stages:
            self._stages[name] = _tensor(self._work.stage(name))
        return self._stages[name]


def _tensor(tensor: Any) -> Any:
    op = SimpleNamespace(
        axis=_axes(getattr(tensor.op, "axis", ())),
        reduce_axis=_axes(getattr(tensor.op, "reduce_axis", ())),
    )
    return SimpleNamespace(op=op, shape=[int(size) for size in tensor.shape])


def _axes(axes: Any) -> list[Any]:
    return [SimpleNamespace(dom=SimpleNamespace(extent=extent)) for extent in extents(axes)]


class _Schedule:
    """Takes every step, and does nothing."""

    def __getitem__(self, tensor: Any) -> _Stage:
        return _Stage(tensor.op)


class _Stage:
    def __init__(self, op: Any) -> None:
        self.op = op

    def split(self, *_: Any, **__: Any) -> tuple[None, None]:
        return None, None

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

"""Which layers are read where they lie, and which of the others are made tensors by our kernels.

Slices, transpositions and views of a tensor compute nothing. A product of tensors reads its
operands through them; where somebody else reads them, one kernel makes the last of several a
tensor. What nobody reads then is no step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT, Layer, Model
from tvm_mobilenet.models.views import View, through, whole
from tvm_mobilenet.network.units import Unit
from tvm_mobilenet.operators.copies import COPIES
from tvm_mobilenet.operators.facts import OPERATORS


def through_views(
    model: Model, units: Sequence[Unit], target: TargetSpec, operators: Collection[str]
) -> tuple[list[Unit], frozenset[str]]:
    """Let units read through views, and add those that make views tensors.

    Returns
    -------
    list of Unit
        In the order in which they can run.
    frozenset of str
        The layers that nobody reads any more.
    """
    if not COPIES.keys() <= set(operators):
        return [*units], frozenset()
    return _Views(model, units, target).settled()


class _Views:
    def __init__(self, model: Model, units: Sequence[Unit], target: TargetSpec) -> None:
        self._model, self._target = model, target
        covered = {layer.name for unit in units for layer in unit.layers}
        self._views: dict[str, tuple[str, View]] = {}
        for layer in model.layers:
            if layer.name not in covered:
                self._follow(layer)
        self._units = {unit.name: self._reading(unit) for unit in units}
        self._covered = covered

    def _follow(self, layer: Layer) -> None:
        """Note what a layer is a view of."""
        if not isinstance(layer, Operator) or len(layer.inputs) != 1:
            return
        (name,) = layer.inputs
        found = self._views.get(name)
        root, view = found or (name, whole(layer.in_shape))
        made = through(layer, view)
        if made is None and found is not None:
            root, made = name, through(layer, whole(layer.in_shape))
        if made is not None and root != INPUT:
            self._views[layer.name] = (root, made)

    def _reading(self, unit: Unit) -> Unit:
        """Let a unit read where its inputs lie, if it can and no two of them are one tensor."""
        if not OPERATORS[unit.work.operator].reads_views:
            return unit
        shapes = [self._model.layer(n).out_shape if n != INPUT else self._model.input_shape
                  for n in unit.reads]  # fmt: skip
        found = [
            self._simple(name) or (name, whole(shape))
            for name, shape in zip(unit.reads, shapes, strict=True)
        ]
        work = OPERATORS[unit.work.operator].of_views(
            unit.work, [view for _, view in found], self._target
        )
        return dataclasses.replace(unit, work=work, through=tuple(root for root, _ in found))

    def _simple(self, name: str) -> tuple[str, View] | None:
        """Return what a layer is a view of, if each of its axes is one loop."""
        found = self._views.get(name)
        return found if found is not None and found[1].strides is not None else None

    def settled(self) -> tuple[list[Unit], frozenset[str]]:
        """Go from the outputs to the input; what is not needed on the way is left out."""
        needed, unread = set(self._model.outputs), set()
        for layer in reversed(self._model.layers):
            name = layer.name
            if name in self._covered:
                unit = self._units.get(name)
            elif name in self._views and name not in needed:
                unread.add(name)
                continue
            else:
                unit = self._made_tensor(layer)
                if unit is None:
                    needed.update(layer.inputs)
                    continue
                self._units[name] = unit
            if unit is not None:
                needed.update(unit.reads)
        places = {layer.name: at for at, layer in enumerate(self._model.layers)}
        units = sorted(self._units.values(), key=lambda unit: places[unit.name])
        return units, frozenset(unread)

    def _made_tensor(self, layer: Layer) -> Unit | None:
        """Return what makes a view a tensor; None where that costs nothing, or is not known."""
        found = self._views.get(layer.name)
        if found is None:
            return None
        root, view = found
        if view.is_whole and (root,) == layer.inputs:
            return None
        for facts in (COPIES[name] for name in self._ends(root, layer.name)):
            work = facts.of_view(view, self._target)
            if work is not None:
                return Unit((layer,), work, (root,))
        return None

    def _ends(self, root: str, name: str) -> list[str]:
        """Return the kinds of copies to try: from or into blocks, where those are on an end."""
        before = self._units.get(root)
        blocked = before is not None and not OPERATORS[before.work.operator].writes_plain
        readers = [unit for unit in self._units.values() if name in unit.reads]
        wanted = any(not OPERATORS[unit.work.operator].reads_plain for unit in readers)
        return [*["copies_out"] * blocked, *["copies_in"] * wanted, "copies"]

"""Where layers in integers meet others: a kernel hands over what the next one takes as it is.

A step between elements and numbers reads and writes plain maps, as any layer can. Where all beside
it keep maps in the blocks of integers, it does so too. What only bfloat16 reads leaves as that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tvm_mobilenet.models.quantized.model import Dequantize, Quantize
from tvm_mobilenet.models.spec import Add, Model
from tvm_mobilenet.network.units import Readers, Unit
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.integers import BLOCK
from tvm_mobilenet.operators.workload import Workload

_PLAIN = ""
"""Instead of the type of numbers in blocks: they are not in blocks of :data:`BLOCK`."""


def met(units: Sequence[Unit], model: Model) -> list[Unit]:
    """Return units of which those in integers read and write numbers as their neighbours do."""
    readers, made = Readers(model), {unit.name: _written(unit) for unit in units}
    unit_of = {layer.name: unit for unit in units for layer in unit.layers}

    def taken(name: str) -> set[str]:
        """Return how those that read a value take it."""
        return {
            _read(unit_of[layer.name], name) if layer.name in unit_of else _PLAIN
            for layer in readers.of(name)
        } or {_PLAIN}

    def wanted(unit: Unit) -> str:
        """Return the one type that all take; plain where there are several."""
        kinds = taken(unit.name)
        return kinds.pop() if len(kinds) == 1 else _PLAIN

    return [
        dataclasses.replace(unit, work=_beside(unit, made, wanted(unit)))
        if unit.work.integer
        else unit
        for unit in units
    ]


def _beside(unit: Unit, made: Mapping[str, str], wanted: str) -> Workload:
    """Return a unit's workload by what its neighbours leave, and by what all behind it take."""
    work, anchor = unit.work, unit.anchor
    come = made.get(unit.source, _PLAIN)
    if isinstance(anchor, Quantize) and come and work.in_block == BLOCK:
        return dataclasses.replace(work, operator="quantize_blocks", in_dtypes=(come,), in_plain=0)
    if isinstance(anchor, Dequantize) and wanted and work.in_block == BLOCK:
        return dataclasses.replace(work, operator="dequantize_blocks", out_dtype=wanted, in_plain=0)
    if isinstance(anchor, Add) and work.in_dtypes:
        halves = (made.get(name) == "bfloat16" for name in anchor.inputs)
        kinds = zip(work.in_dtypes, halves, strict=True)
        return dataclasses.replace(
            work, in_dtypes=tuple("bfloat16" if half else kind for kind, half in kinds)
        )
    if work.out_dtype and wanted == "bfloat16":
        return dataclasses.replace(work, out_dtype=wanted)
    return work


def _written(unit: Unit) -> str:
    """Return the type of the numbers that a unit leaves in blocks."""
    work = unit.work
    floats = not work.integer and not OPERATORS[work.operator].writes_plain
    return work.dtype if floats and work.out_block == BLOCK else _PLAIN


def _read(unit: Unit, name: str) -> str:
    """Return the type of the numbers in blocks as which a unit reads a value."""
    work, facts = unit.work, OPERATORS[unit.work.operator]
    if work.integer or (unit.source == name and facts.reads_plain):
        return _PLAIN
    blocks = {work.in_block} if unit.source == name else set()
    if name in unit.others:
        blocks |= {work.out_block, *facts.other_blocks(work)}
    return work.dtype if blocks == {BLOCK} else _PLAIN

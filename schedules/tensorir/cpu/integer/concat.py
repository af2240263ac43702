"""Maps one behind another: elements move to other lanes, and perhaps through a table.

Loop nest, outer to inner
    (image, sixteen pixels) on threads → runs of output blocks → pixels.

A run is of neighbouring blocks whose lanes come from the same lanes of one map, or one block in
which maps meet. Where channels are whole blocks a run is a copy; else a pixel's vector is a
permutation of two. All of it is bound by what it loads and stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import PIXELS, MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Shape, kernel, load, store, units

from tvm_mobilenet.machine import RANGES, TargetSpec
from tvm_mobilenet.operators.workload import Workload

_LANES = 16

Lane = tuple[int, int, int]
"""Which map, which block of it from the first that a run reads, which lane."""


@dataclass(frozen=True, slots=True)
class Run:
    """Output blocks whose lanes are filled alike.

    Attributes
    ----------
    first, count : int
        The blocks.
    begins : dict of int to int
        By map, the block of it that the first one reads first.
    lanes : tuple of (int, int, int)
        Where each lane is from, as far as there are channels.
    """

    first: int
    count: int
    begins: dict[int, int]
    lanes: tuple[Lane, ...]


def runs_of(parts: tuple[int, ...]) -> list[Run]:
    """Return what fills the blocks of maps one behind another.

    Parameters
    ----------
    parts : tuple of int
        Channels of each.
    """
    channels = [(part, at) for part, count in enumerate(parts) for at in range(count)]
    runs: list[Run] = []
    for block in range(-(-len(channels) // _LANES)):
        own = channels[block * _LANES : (block + 1) * _LANES]
        begins: dict[int, int] = {}
        for part, at in own:
            begins.setdefault(part, at // _LANES)
        lanes = tuple((part, at // _LANES - begins[part], at % _LANES) for part, at in own)
        last = runs[-1] if runs else None
        following = last is not None and begins == {
            part: at + last.count for part, at in last.begins.items()
        }
        if last is not None and following and lanes == last.lanes:
            runs[-1] = Run(last.first, last.count + 1, last.begins, lanes)
        else:
            runs.append(Run(block, 1, begins, lanes))
    return runs


def write_concat(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write maps one behind another: the first, perhaps tables, the others, out.

    Tables are (T, 256), for the maps that `moved` names.
    """
    count = min(PIXELS, work.in_pixels)
    steps = -(-work.in_pixels // count)
    names = ["data", *(f"other_{at}" for at in range(1, len(work.parts)))]

    def copied(maps: list[Any], run: Run, at: tuple[Any, Any, Any]) -> Any:
        """Return a pixel's sixteen elements as a permutation of what it reads of each map."""
        image, turn, pixel = at
        read = sorted({lane[:2] for lane in run.lanes})
        vectors = [
            load(maps[part], (image, run.begins[part] + block + turn, pixel, 0), _LANES)
            for part, block in read
        ]
        order = [read.index(lane[:2]) * _LANES + lane[2] for lane in run.lanes]
        order += [order[-1]] * (_LANES - len(order))
        if order == list(range(_LANES)):
            return vectors[0]
        return tirx.Shuffle(vectors, [tirx.IntImm("int32", place) for place in order])

    def looked_up(
        maps: list[Any], tables: Any, run: Run, out: Any, at: tuple[Any, Any, Any]
    ) -> None:
        """Write a pixel's elements one by one, some of them by a table."""
        image, turn, pixel = at
        for lane, (part, block, of) in enumerate(run.lanes):
            element = maps[part][image, run.begins[part] + block + turn, pixel, of]
            if part in work.moved:
                entry = element.astype("int32") - RANGES[work.dtype][0]
                element = tables[work.moved.index(part), entry]
            ir.buffer_store(out, element, [image, run.first + turn, pixel, lane])

    def body(out: Any, tables: Any = None, **others: Any) -> None:
        maps = [others[name] for name in names]
        with units(work.batch * steps, parallel=plan.parallel) as unit:
            image, step = unit // steps, unit % steps
            # The last sixteen begin where they end with the map, and some are written again.
            first = tirx.min(step * count, work.in_pixels - count)
            for run in runs_of(work.parts):
                loops = ir.serial(0, run.count), ir.serial(0, count)
                with loops[0] as turn, loops[1] as i:
                    at = (image, turn, first + i)
                    if any(part in work.moved for part in run.begins):
                        looked_up(maps, tables, run, out, at)
                    else:
                        store(out, (image, run.first + turn, at[2], 0), copied(maps, run, at))

    def shape(channels: int) -> Shape:
        return (work.batch, -(-channels // _LANES), work.in_pixels, _LANES)

    maps = {name: (shape(c), work.dtype) for name, c in zip(names, work.parts, strict=True)}
    parameters: dict[str, tuple[Shape, str]] = {"data": maps.pop("data")}
    if work.moved:
        parameters["tables"] = ((len(work.moved), 256), work.dtype)
    parameters |= maps
    return kernel(work, {**parameters, "out": (shape(work.out_channels), work.dtype)}, body)

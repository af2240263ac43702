"""Which layers one accumulator computes: an operator, and what follows it element by element."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from tvm_mobilenet.common.functions import PRELU
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.elements import is_slopes
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import Activate, Add, Conv2d, Dense, Layer, Model
from tvm_mobilenet.network.integers import adds_sums, integer_workload, with_residual
from tvm_mobilenet.operators.dense import dense_in_blocks
from tvm_mobilenet.operators.elements import Elements
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.pairs import paired
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class Unit:
    """Layers that always share a kernel: an operator, a residual connection, an activation.

    Attributes
    ----------
    layers : tuple of Layer
        The first is the operator; each reads the one before it.
    work : Workload
        All of them, in the blocks of the target.
    through : tuple of str
        What its inputs lie in, where that is not what the layers name.
    """

    layers: tuple[Layer, ...]
    work: Workload
    through: tuple[str, ...] = ()

    @property
    def anchor(self) -> Layer:
        """The operator itself."""
        return self.layers[0]

    @property
    def name(self) -> str:
        """The last layer, whose value the kernel writes."""
        return self.layers[-1].name

    @property
    def source(self) -> str:
        """What the operator reads first."""
        return self.through[0] if self.through else self.anchor.inputs[0]

    @property
    def others(self) -> tuple[str, ...]:
        """What it reads besides: the factors of a scale, what a residual connection adds."""
        if self.through:
            return self.through[1:]
        inside = {layer.name for layer in self.layers}
        added = (name for layer in self.layers[1:] for name in layer.inputs if name not in inside)
        return (*self.anchor.inputs[1:], *added)

    @property
    def reads(self) -> tuple[str, ...]:
        """All that it reads."""
        return (self.source, *self.others)

    @property
    def macs(self) -> int:
        """Multiply-adds of its layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def kind(self) -> str:
        """What :mod:`tvm_mobilenet.network.fusion` can join it as; "" where it joins nothing."""
        work, anchor = self.work, self.anchor
        if work.residual:
            kind = "qresidual" if work.integer else "residual"
            joined = work.operator in ("pointwise", "qpointwise")
            return kind if joined and self.source not in self.others else ""
        if isinstance(anchor, Dense):
            return "dense" if work.operator == "dense" and work.activation == "none" else ""
        # A lone channel is depthwise by its kernel, and no group that could be joined.
        lone = isinstance(anchor, Conv2d) and work.operator == "depthwise" and anchor.groups == 1
        return "" if lone else work.operator


class Readers:
    """Who reads which value of a model; its result counts as a reader."""

    def __init__(self, model: Model) -> None:
        self._outputs = set(model.outputs)
        self._readers: dict[str, list[Layer]] = {}
        for layer in model.layers:
            for name in dict.fromkeys(layer.inputs):
                self._readers.setdefault(name, []).append(layer)

    def of(self, name: str) -> list[Layer]:
        """Return the layers that read a value; none if the network returns it."""
        return [] if name in self._outputs else self._readers.get(name, [])

    def only(self, name: str) -> Layer | None:
        """Return the layer that alone reads a value, and reads it once."""
        readers = self.of(name)
        alone = len(readers) == 1 and readers[0].inputs.count(name) == 1
        return readers[0] if alone else None


def units_of(
    model: Model,
    target: TargetSpec,
    operators: Collection[str],
    network: QuantizedModel | None = None,
) -> list[Unit]:
    """Group the layers that kernels of ours compute, in the order in which these can run.

    Parameters
    ----------
    target : TargetSpec
        Its lanes are the block.
    operators : collection of str
        For which there are kernels; layers of others are left out.
    network : QuantizedModel, optional
        The same model with its records, where layers compute in integers.

    Raises
    ------
    QuantizationError
        There is no kernel for one that does.
    """
    readers = Readers(model)
    integer = set() if network is None else set(network.records)
    taken: set[str] = set()
    in_blocks: set[str] = set()  # what kernels of ours leave so
    units: list[Unit] = []
    for layer in model.layers:
        work = None if network is None else integer_workload(network, layer)
        work = work or workload_of_layer(layer, target, operators)
        if layer.name in taken:
            continue
        work = None if work is None else paired(work, target)
        if work is None and (unit := _chained(layer, target, operators, readers, network)):
            units.append(_grown(unit, readers, taken | integer, operators))
            taken.update(member.name for member in units[-1].layers)
            in_blocks.add(units[-1].name)
            continue
        if work is None or work.operator not in operators or not work.expressible:
            continue
        if network is not None and work.integer:
            units.append(_in_integers(layer, work, readers, network))
        elif OPERATORS[work.operator].takes_plain or not in_blocks.isdisjoint(layer.inputs):
            units.append(_grown(Unit((layer,), work), readers, taken | integer, operators))
        else:
            continue
        taken.update(member.name for member in units[-1].layers)
        if not OPERATORS[units[-1].work.operator].writes_plain:
            in_blocks.add(units[-1].name)
    places = {layer.name: at for at, layer in enumerate(model.layers)}
    return sorted(units, key=lambda unit: places[unit.name])


def _chained(
    layer: Layer,
    target: TargetSpec,
    operators: Collection[str],
    readers: Readers,
    network: QuantizedModel | None,
) -> Unit | None:
    """Return layers that are one operator only together, none of which computes in integers."""
    for name, facts in OPERATORS.items():
        chain = [layer]
        while len(chain) < facts.chain(layer):
            following = readers.only(chain[-1].name)
            if following is None or (network is not None and integer_workload(network, following)):
                break
            chain.append(following)
        if name in operators and len(chain) == facts.chain(layer):
            work = facts.of_chain(chain, target)
            if work is not None:
                return Unit(tuple(chain), work)
    return None


def _grown(
    unit: Unit, readers: Readers, taken: Collection[str], operators: Collection[str]
) -> Unit:
    """Return a unit with a residual connection and an activation that are its alone.

    What others compute is in `taken`, by name, or is computed in integers.
    """
    work = unit.work
    if not OPERATORS[work.operator].activates or work.activation != "none":
        return unit
    added = readers.only(unit.name)
    adds = OPERATORS[work.operator].adds_residual
    if adds and isinstance(added, Add) and added.name not in taken:
        unit = Unit((*unit.layers, added), dataclasses.replace(unit.work, residual=True))
    last = readers.only(unit.name)
    activation = last.activation if isinstance(last, Activate) else ""
    # Where slopes have kernels of their own, they may be parts of others.
    slopes = OPERATORS[work.operator].takes_slopes and Elements.name in operators
    if slopes and last is not None and is_slopes(last):
        activation = PRELU
    work = dataclasses.replace(unit.work, activation=activation)
    if last is not None and activation and last.name not in taken and work.expressible:
        return Unit((*unit.layers, last), work)
    return unit


def _in_integers(layer: Layer, work: Workload, readers: Readers, network: QuantizedModel) -> Unit:
    """Return a layer in integers with the residual connection that adds its sums to a map.

    Pixels come with the convolution that reads them.
    """
    added = readers.only(layer.name)
    if isinstance(layer, Pixels) and added is not None:
        return Unit((layer, added), work)
    if work.operator != "qpointwise" or not adds_sums(network, layer, added):
        return Unit((layer,), work)
    assert isinstance(added, Add)
    return Unit((layer, added), with_residual(network, work, layer, added))


def in_blocks(unit: Unit, readers: Readers, target: TargetSpec) -> Unit:
    """Return a dense layer that only dense layers read as what it is: a pointwise layer.

    Its output stays in blocks, as they read it.
    """
    first, behind = unit.anchor, readers.of(unit.name)
    if not isinstance(first, Dense) or unit.work.operator != "dense" or not behind:
        return unit
    if not all(isinstance(reader, Dense) for reader in behind):
        return unit
    activation = unit.work.activation
    work = dataclasses.replace(dense_in_blocks(first, target), activation=activation)
    return Unit(unit.layers, work)

"""A model of float layers, and records for some, become a quantised model.

Batch norms go into weights, and a step stands wherever elements meet float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.forms import integer_form
from tvm_mobilenet.models.quantized.model import (
    FLOAT,
    Dequantize,
    Quantization,
    Quantize,
    QuantizedModel,
)
from tvm_mobilenet.models.spec import Add, Layer, Model
from tvm_mobilenet.models.tensors import TensorType

IN_INTEGERS, IN_FLOAT = ".quantized", ".dequantized"
"""What is behind a value's name in that of the step that makes elements, or numbers, of it."""


def lowered(
    model: Model, records: Mapping[str, Quantization], values: Mapping[str, TensorType]
) -> QuantizedModel:
    """Return a network whose layers with a record compute in integers.

    Parameters
    ----------
    model : Model
        Layers in float32, as one imports or builds them.
    records : mapping of str to Quantization
        By name, the layers that shall compute in integers.
    values : mapping of str to TensorType
        By name, how the values of other layers, and the input, are quantised where integer
        layers read them.

    Returns
    -------
    QuantizedModel
        The same layers under the same names, folded, with steps between them: what quantises
        ``"a"`` is ``"a.quantized"``, what dequantises it ``"a.dequantized"``. Its outputs are
        float32.

    Raises
    ------
    QuantizationError
        If a record does not fit its layer, or a value that integer layers read has no type.
    """
    made = _Lowering(dict(records), values)
    for layer in model.layers:
        inputs = tuple(
            made.read(name, shape, layer)
            for name, shape in zip(layer.inputs, layer.in_shapes, strict=True)
        )
        made.layers.append(dataclasses.replace(_folded(layer, records), inputs=inputs))
    outputs = tuple(made.in_float(name, model.layer(name).out_shape) for name in model.outputs)
    network = dataclasses.replace(model, layers=tuple(made.layers), outputs=outputs)
    return QuantizedModel(network, made.records)


@dataclasses.dataclass
class _Lowering:
    """Layers so far, and what is known of their values."""

    records: dict[str, Quantization]
    values: Mapping[str, TensorType]
    layers: list[Layer] = dataclasses.field(default_factory=list)

    def read(self, name: str, shape: tuple[int, ...], reader: Layer) -> str:
        """Return the value that a layer reads instead of `name`, behind a step if it needs one."""
        if reader.name not in self.records or isinstance(reader, Quantize):
            return self.in_float(name, shape)
        if isinstance(reader, Add) or self._quantized(name):
            return name
        if name not in self.values:
            raise QuantizationError(
                f"{reader.name!r} computes in integers and reads {name!r}, which is float32",
                f"say how {name!r} is quantised",
            )
        step = f"{name}{IN_INTEGERS}"
        if step not in self.records:
            self.records[step] = Quantization(self.values[name])
            self.layers.append(Quantize(step, (name,), shape))
        return step

    def in_float(self, name: str, shape: tuple[int, ...]) -> str:
        """Return the value in float32."""
        if not self._quantized(name):
            return name
        step = Dequantize(f"{name}{IN_FLOAT}", (name,), shape)
        if step not in self.layers:
            self.layers.append(step)
        return step.name

    def _quantized(self, name: str) -> bool:
        return name in self.records and self.records[name].output != FLOAT


def _folded(layer: Layer, records: Mapping[str, Quantization]) -> Layer:
    """Return a layer as it computes in integers: with a bias, no batch norm, a whole border."""
    if layer.name not in records:
        return layer
    if isinstance(layer, Pixels):
        return layer.whole
    if not isinstance(layer, Weighted):
        return integer_form(layer)
    return dataclasses.replace(layer, bias=True, batch_norm=None)

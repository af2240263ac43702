"""ONNX files as models: read, constants folded, spellings unified, layers recognised.

What :mod:`tvm_mobilenet.frontends` makes of Relay and Relax modules goes the same way.

``read`` → ``fold`` → ``modern`` → ``simplify``, ``layer_norms``, ``transposes``, ``activations``,
``tokens`` → ``outputs`` → ``layers``. The result is a :class:`Model` as the built-in networks are.
Nodes that are none of our layers stay ONNX nodes (:class:`Operator`), which TVM's importer
compiles; ``expand`` rewrites those that the importer gets wrong.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.tables import Table, Tabular
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.spec import Layer, Model

if TYPE_CHECKING:
    import onnx

    from tvm_mobilenet.models.evaluator import Evaluation, Judge, Rounding
    from tvm_mobilenet.models.importer.sizes import InputShape

__all__ = ["MODULES", "ONNX", "Imported", "import_module", "import_onnx", "is_file"]

ONNX = "onnx"
"""What a model from a file says is its name."""
MODULES = {"relay": "Relay module", "relax": "Relax module"}
"""What models from TVM's modules say is their name, and what people call them."""


@dataclass(frozen=True, repr=False)
class Imported(Tabular):
    """A network from an ONNX file, or from a module of TVM's.

    Attributes
    ----------
    model : Model
        The network; its layers have the names of the tensors that they compute.
    weights : dict of str to ndarray
        Arrays by parameter name: int8 for the weights of layers that compute in integers,
        float32 for all others.
    source : onnx.ModelProto
        The network as the file has it, with fixed shapes; or a module, in ONNX's operators.
    path : str
        Absolute path of the file; ``"Relay module"``, say, of a module of TVM's.
    records : mapping of str to Quantization
        The layers that compute in integers, if the file is quantised: as of
        :class:`tvm_mobilenet.models.network.Network`.
    """

    model: Model
    weights: dict[str, NDArray[np.float32]]
    source: onnx.ModelProto
    path: str
    records: Mapping[str, Quantization] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__} {self.model!r} from {self.path}>"

    def table(self) -> Table:
        """Return the layers, a row each."""
        return self.model.table()

    def expected(self, x: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Compute the network as the file has it; see :meth:`evaluate`.

        Parameters
        ----------
        x : ndarray
            Input, of the model's ``input_shape``.

        Returns
        -------
        dict of str to ndarray
            Outputs by layer, in the layer's shape; those that can be computed.
        """
        return self.evaluate(x).values

    def evaluate(
        self,
        x: NDArray[Any],
        *,
        given: Mapping[str, NDArray[Any]] | None = None,
        rounding: Rounding | None = None,
        by: Judge = "onnx",
        each: Callable[[str, NDArray[Any] | None], object] | None = None,
    ) -> Evaluation:
        """Compute the network from the file's own nodes, independently of our layers.

        Parameters
        ----------
        x : ndarray
            Input, of the model's ``input_shape``.
        given : mapping of str to ndarray, optional
            Values of layers that replace the computed ones.
        rounding, by
            As for :func:`tvm_mobilenet.models.evaluator.run_graph`.
        each : callable, optional
            Told once of every layer and its output, None where the file's tensor is not known,
            as soon as it is computed. Then only the network's outputs are returned, so that a
            large network does not fill the memory.

        Returns
        -------
        Evaluation
            Outputs by layer in float64, in the layer's shape, for every layer whose tensor the
            file has. All outputs of the network are in its `values` or in its `unjudged`.
        """
        from tvm_mobilenet.models.evaluator import Evaluation, run_graph
        from tvm_mobilenet.models.importer.halves import in_float32

        known = {name for node in self.source.graph.node for name in node.output}
        outputs = [output.name for output in self.source.graph.output]
        tensors = {layer.name: layer.name for layer in self.model.layers if layer.name in known}
        tensors |= dict(zip(self.model.outputs, outputs, strict=True))
        fixed = {tensors[name]: v for name, v in (given or {}).items() if name in tensors}
        layers: dict[str, list[Layer]] = {}
        for layer in self.model.layers:
            layers.setdefault(tensors.get(layer.name, ""), []).append(layer)
        ours, unknown = Evaluation(), dict[str, str]()

        def take(tensor: str, value: NDArray[Any] | None) -> None:
            for layer in layers.pop(tensor, ()):
                made = None
                if value is not None and value.size == math.prod(layer.out_shape):
                    made = np.asarray(value, np.float64).reshape(layer.out_shape)
                elif tensor:
                    unknown[layer.name] = tensor
                if made is not None and (each is None or layer.name in self.model.outputs):
                    ours.values[layer.name] = made
                if each is not None:
                    each(layer.name, made)

        take("", None)
        how: dict[str, Any] = {"given": fixed, "rounding": rounding, "by": by}
        found = run_graph(in_float32(self.source), x, keep=outputs, each=take, **how)
        for tensor in tuple(layers):
            take(tensor, found.values.get(tensor))
        why = "it is given another shape than it has"
        ours.unjudged.update((n, found.unjudged.get(t, why)) for n, t in unknown.items())
        return ours


def is_file(name: object) -> bool:
    """Whether a model's name is the path of an ONNX or TensorFlow Lite file."""
    if not isinstance(name, str | os.PathLike):
        return False
    return os.fspath(name).lower().endswith((".onnx", ".tflite"))


def import_onnx(
    path: str | os.PathLike[str],
    *,
    batch: int | None = None,
    resolution: int | None = None,
    input_shape: InputShape | None = None,
) -> Imported:
    """Read an ONNX or TensorFlow Lite file as a model.

    Parameters
    ----------
    path : path-like
        A network of one input, NCHW or NHWC, in float32, float16 or uint8; what it computes in
        half precision is computed in float32. Where it is quantised, its layers compute in
        integers; its outputs are float32, as is an input of int8.
    batch : int, optional
        Images per run, where the file leaves it open; 1 by default.
    resolution : int, optional
        Height and width in pixels, where the file leaves them open.
    input_shape : sequence of int, mapping or str, optional
        All four sizes instead, in the order of the file: ``(1, 3, 224, 320)``,
        ``{"image": (1, 3, 224, 320)}`` or ``"image:1,3,224,320"``.

    Raises
    ------
    OnnxFileError, TfliteFileError, OpsetError, UnsupportedOperatorError
        The file, or something in it, cannot be read; the message names node and operator.
    InvalidModelError
        Its input is not a batch of images, or not of the size asked for.
    """
    from tvm_mobilenet.models.importer.read import read
    from tvm_mobilenet.models.importer.sizes import asked_for

    where = os.path.abspath(path)
    asked = asked_for(batch, resolution, input_shape)
    source = read(where, asked)
    options = {
        "path": where,
        "sha256": hashlib.sha256(Path(where).read_bytes()).hexdigest(),
        "batch": asked.batch,
        "resolution": asked.resolution,
        "input_shape": None if asked.shape is None else [*asked.shape],
    }
    return _imported(source, ONNX, Path(where).name, options, where)


def import_module(source: onnx.ModelProto, stack: str) -> Imported:
    """Return the model of a Relay or Relax module.

    Parameters
    ----------
    source : onnx.ModelProto
        The module in ONNX's operators, see :mod:`tvm_mobilenet.frontends`.
    stack : str
        Key of :data:`MODULES`.

    Raises
    ------
    OnnxError, InvalidModelError
        As :func:`import_onnx` raises them.
    """
    from tvm_mobilenet.models.importer.read import checked
    from tvm_mobilenet.models.importer.sizes import Sizes

    title = MODULES[stack]
    options = {"sha256": hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()}
    return _imported(checked(source, title, Sizes()), stack, title, options, title)


def _imported(
    source: onnx.ModelProto, name: str, title: str, options: dict[str, Any], where: str
) -> Imported:
    from tvm_mobilenet.models.importer.activations import recognise_activations
    from tvm_mobilenet.models.importer.branches import join_branches
    from tvm_mobilenet.models.importer.fold import fold
    from tvm_mobilenet.models.importer.halves import in_float32
    from tvm_mobilenet.models.importer.integers import IntegerLayers
    from tvm_mobilenet.models.importer.layer_norms import recognise_layer_norms
    from tvm_mobilenet.models.importer.lp_norms import recognise_lp_norms
    from tvm_mobilenet.models.importer.modern import modernise
    from tvm_mobilenet.models.importer.outputs import own_outputs
    from tvm_mobilenet.models.importer.products import spell_products
    from tvm_mobilenet.models.importer.roundings import to_roundings
    from tvm_mobilenet.models.importer.simplify import merge_views, simplify
    from tvm_mobilenet.models.importer.slopes import recognise_slopes
    from tvm_mobilenet.models.importer.tokens import to_rows
    from tvm_mobilenet.models.importer.transposes import sink_transposes
    from tvm_mobilenet.models.quantized.lowering import lowered

    graph = fold(in_float32(source))
    to_roundings(graph)
    modernise(graph)
    simplify(graph, views=False)
    recognise_layer_norms(graph)
    recognise_lp_norms(graph)
    sink_transposes(graph)
    simplify(graph, views=True)
    join_branches(graph)
    recognise_slopes(graph)
    spell_products(graph)
    recognise_activations(graph)
    to_rows(graph)
    merge_views(graph)
    own_outputs(graph)
    found = IntegerLayers(graph)
    shape = graph.shape(graph.input)
    layers = tuple(found.layers.values())
    outputs = tuple(found.names[tensor] for tensor in graph.outputs)
    model = Model(name, title, options, shape, layers, outputs, graph.dtype(graph.input))
    if not found.records:
        return Imported(model, found.weights, source, where)
    network = lowered(model, found.records, found.values)
    return Imported(network.model, found.weights, source, where, network.records)

"""ONNX files as models: read, constants folded, spellings unified, layers recognised.

``read`` → ``fold`` → ``simplify``, ``transposes``, ``activations`` → ``layers``. What comes out
is the same :class:`Model` that describes the built-in networks; nodes that are none of its
layers stay ONNX nodes (:class:`Operator`), which TVM's own importer compiles.
"""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.tables import Table, Tabular

if TYPE_CHECKING:
    import onnx

__all__ = ["ONNX", "Imported", "import_onnx", "is_onnx"]

ONNX = "onnx"
"""What an imported model says is its name."""


@dataclass(frozen=True, repr=False)
class Imported(Tabular):
    """A network from an ONNX file.

    Attributes
    ----------
    model : Model
        Its layers, named as the tensors that they compute.
    weights : dict of str to ndarray
        float32, by parameter name.
    source : onnx.ModelProto
        The network as the file has it, with fixed shapes.
    path : str
        The file, absolute.
    """

    model: Model
    weights: dict[str, NDArray[np.float32]]
    source: onnx.ModelProto
    path: str

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__} {self.model!r} from {self.path}>"

    def table(self) -> Table:
        """Return the layers, a row each."""
        return self.model.table()

    def expected(self, x: NDArray[Any], *, double: bool = True) -> dict[str, NDArray[np.float64]]:
        """Compute the network with onnx's own evaluator.

        Parameters
        ----------
        x : ndarray
            Input, of the model's ``input_shape``.
        double : bool
            Whether in float64, or as the file says.

        Returns
        -------
        dict of str to ndarray
            By layer, every one whose tensor the file has, in the layer's shape: all outputs
            of the network are among them.
        """
        from tvm_mobilenet.models.double import evaluator, in_double

        model = in_double(self.source) if double else copy.deepcopy(self.source)
        known = {name for node in model.graph.node for name in node.output}
        outputs = [output.name for output in self.source.graph.output]
        tensors = {layer.name: layer.name for layer in self.model.layers if layer.name in known}
        tensors |= dict(zip(self.model.outputs, outputs, strict=True))
        names = sorted(set(tensors.values()))
        del model.graph.output[:]
        from onnx import helper

        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        initial = {tensor.name for tensor in model.graph.initializer}
        (source,) = (value.name for value in model.graph.input if value.name not in initial)
        feed = {source: np.asarray(x, np.float64 if double else np.float32)}
        found = evaluator(model).run(names, feed)
        values = dict(zip(names, found, strict=True))
        return {
            layer.name: np.asarray(values[tensors[layer.name]], np.float64).reshape(layer.out_shape)
            for layer in self.model.layers
            if layer.name in tensors
        }


def is_onnx(name: object) -> bool:
    """Whether a model's name is the path of an ONNX file."""
    return isinstance(name, str | os.PathLike) and os.fspath(name).lower().endswith(".onnx")


def import_onnx(
    path: str | os.PathLike[str], *, batch: int | None = None, resolution: int | None = None
) -> Imported:
    """Read an ONNX file as a model.

    Parameters
    ----------
    path : path-like
        A float32 network of one input, NCHW or NHWC.
    batch : int, optional
        Images per run, where the file leaves it open; 1 by default.
    resolution : int, optional
        Height and width in pixels, where the file leaves them open.

    Returns
    -------
    Imported

    Raises
    ------
    OnnxFileError, OpsetError, UnsupportedOperatorError
        The file, or what is in it, cannot be taken; the message names node and operator.
    InvalidModelError
        Its input is not a batch of images, or not of the size asked for.
    """
    from tvm_mobilenet.models.importer.activations import recognise_activations
    from tvm_mobilenet.models.importer.fold import fold
    from tvm_mobilenet.models.importer.layers import Layers
    from tvm_mobilenet.models.importer.read import read
    from tvm_mobilenet.models.importer.simplify import merge_views, simplify
    from tvm_mobilenet.models.importer.transposes import sink_transposes

    where = os.path.abspath(path)
    source = read(where, batch, resolution)
    graph = fold(source)
    simplify(graph, views=False)
    sink_transposes(graph)
    simplify(graph, views=True)
    recognise_activations(graph)
    merge_views(graph)
    found = Layers(graph)
    shape = graph.shape(graph.input)
    model = Model(
        ONNX,
        Path(where).name,
        {
            "path": where,
            "sha256": hashlib.sha256(Path(where).read_bytes()).hexdigest(),
            "batch": batch,
            "resolution": resolution,
        },
        shape,
        tuple(found.layers.values()),
        tuple(found.names[tensor] for tensor in graph.outputs),
    )
    return Imported(model, found.weights, source, where)

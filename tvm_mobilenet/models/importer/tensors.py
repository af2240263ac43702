"""The tensors of an ONNX file: checked against what the file holds before anything is unpacked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tvm_mobilenet.errors import OnnxFileError, UnsupportedOperatorError

if TYPE_CHECKING:
    import onnx


def regular_file(path: str) -> os.stat_result:
    """Return what is known of a file, or raise OSError: not there, a folder, a pipe, a device."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path!r} is no file but a folder, a pipe or a device")
    return found


def load_tensors(model: onnx.ModelProto, where: str) -> None:
    """Load tensors that lie in other files, and check that every tensor is complete.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, which is changed: it then contains all of its tensors.
    where : str
        Path of the file; the other files lie in its folder.

    Raises
    ------
    OnnxFileError
        Another file is missing, too short, no regular file, or in another folder; or a
        tensor's dimensions and its data contradict each other.
    UnsupportedOperatorError
        A tensor is sparse.
    """
    from onnx import TensorProto, numpy_helper

    for tensor in tensors_of(model):
        told = f"the tensor {tensor.name!r} of {where!r}"
        if any(size < 0 for size in tensor.dims):
            raise OnnxFileError(f"{told} has a negative dimension", "export it again")
        try:
            if tensor.data_location == TensorProto.EXTERNAL:
                _fetch(tensor, where)
            numpy_helper.to_array(tensor)
        except OSError as error:
            raise OnnxFileError(
                f"{where!r} keeps weights in another file, which cannot be read: {error}",
                "put that file beside it, under the name it had when it was exported",
            ) from None
        # A type that is none, or data of another length: onnx says so by what NumPy raises.
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise OnnxFileError(
                f"{told}, {'x'.join(map(str, tensor.dims)) or 'one number'}, has other data than "
                f"its type and dimensions say: {error}",
                "copy or export it again",
            ) from None


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: initializers, and those in attributes, at any depth."""
    graphs, nodes = [model.graph], [node for f in model.functions for node in f.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            nodes += graph.node
            sparse = [*graph.sparse_initializer]
        else:
            attributes = nodes.pop().attribute
            for attribute in attributes:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
                graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            sparse = [a for a in attributes if a.HasField("sparse_tensor") or a.sparse_tensors]
        if sparse:
            raise UnsupportedOperatorError(
                "the model has sparse tensors", "export it with dense weights"
            )


def _fetch(tensor: onnx.TensorProto, where: str) -> None:
    """Put the data of a tensor where it belongs; OSError and ValueError say why not."""
    from onnx import TensorProto, helper

    said = {entry.key: entry.value for entry in tensor.external_data}
    path = os.path.realpath(os.path.join(os.path.dirname(where), said.get("location", "")))
    # Beside the name that was given, or beside the file that this name links to.
    folders = {os.path.realpath(os.path.dirname(where)), os.path.dirname(os.path.realpath(where))}
    if not any(os.path.commonpath([folder, path]) == folder for folder in folders):
        raise OSError(f"{said.get('location')!r} is outside of the folder of the model")
    there = regular_file(path).st_size
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if dtype.hasobject:
        raise ValueError("text in another file")
    size = 1
    for count in tensor.dims:
        size *= count
    # Types of less than a byte are packed, and NumPy gives each a whole one.
    offset, length = int(said.get("offset", 0)), int(said.get("length", size * dtype.itemsize))
    if offset < 0 or not 0 <= length <= size * dtype.itemsize:
        raise ValueError(f"{length} bytes from {offset} on in {said['location']!r}")
    if offset + length > there:
        raise ValueError(f"{said['location']!r} ends after {there} of {offset + length} bytes")
    with open(path, "rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]

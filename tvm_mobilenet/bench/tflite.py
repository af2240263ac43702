"""The format of TensorFlow Lite: a graph of numbered tensors, packed by the schema's own package.

Format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.layer import Shape
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType

_VERSION, _IDENTIFIER = 3, b"TFL3"
_LAST_OLD_CODE = 127
"""Highest number of an operator in the one-byte field that old readers look at."""

_ENUMERATIONS = {"padding": "Padding", "fusedActivationFunction": "ActivationFunctionType"}
"""Options whose values have names, and the schema's enumeration of them."""

Scaled = tuple[Sequence[float], int]
"""Scales, one or one for each channel, and the element that stands for 0."""


class Graph:
    """Tensors and operators of one file, in the order in which they were added.

    Parameters
    ----------
    title : str
        Description in the file.
    input_shape : tuple of int
        NCHW or NC, as the model has it; the file has NHWC.

    Attributes
    ----------
    values : dict of str to int
        The input's and every written layer's name → number of its tensor.
    """

    def __init__(self, title: str, input_shape: Shape) -> None:
        from ai_edge_litert import schema_py_generated

        self._schema = schema_py_generated
        self._title = title
        self._tensors: list[Any] = []
        self._buffers = [self._schema.BufferT()]  # the empty one of all that is computed
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        shape = _channels_last(input_shape)
        self.values = {INPUT: self._tensor(INPUT, shape, "FLOAT32", 0)}

    def constant(
        self,
        name: str,
        value: Any,
        dtype: type = np.float32,
        of: Scaled | None = None,
        axis: int = 0,
    ) -> int:
        """Add an array, in LiteRT's layout; return the number of its tensor.

        What its elements stand for is `of`, which may have a scale for each index of `axis`.
        """
        array: NDArray[Any] = np.ascontiguousarray(value, dtype)
        self._buffers.append(self._schema.BufferT(data=array.reshape(-1).view(np.uint8)))
        kind = np.dtype(dtype).name.upper()
        return self._tensor(name, np.shape(value), kind, len(self._buffers) - 1, of=of, axis=axis)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        name: str,
        shape: Shape,
        options: str = "",
        *,
        of: TensorType | None = None,
        **fields: Any,
    ) -> int:
        """Add an operator.

        Parameters
        ----------
        kind : str
            Its name in the schema, such as ``"CONV_2D"``.
        inputs : sequence of int
            Numbers of tensors.
        name : str
            What the output's tensor is called in the file.
        shape : tuple of int
            Shape of the output, NCHW or NC.
        options : str
            Name of its table of options in the schema; it has none by default.
        of : TensorType, optional
            What its output is; float32 by default.
        **fields
            What differs from the table's defaults, members of enumerations by name.

        Returns
        -------
        int
            Number of the output's tensor.
        """
        schema = self._schema
        code = getattr(schema.BuiltinOperator, kind)
        kind_out = "FLOAT32" if of is None else of.dtype.upper()
        scaled = None if of is None else (of.scale, of.zero_point or 0)
        output = self._tensor(name, _channels_last(shape), kind_out, 0, of=scaled)
        written = schema.OperatorT(
            opcodeIndex=self._codes.setdefault(code, len(self._codes)),
            inputs=list(inputs),
            outputs=[output],
        )
        if options:
            for field in fields.keys() & _ENUMERATIONS:
                fields[field] = getattr(getattr(schema, _ENUMERATIONS[field]), fields[field])
            written.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            written.builtinOptions = getattr(schema, f"{options}T")(**fields)
        self._operators.append(written)
        return output

    def packed(self, output: str) -> bytes:
        """Return the bytes of a file whose output is that of a layer."""
        import flatbuffers

        schema = self._schema
        codes = [
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(code, _LAST_OLD_CODE), builtinCode=code, version=1
            )
            for code in self._codes
        ]
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[self.values[INPUT]],
            outputs=[self.values[output]],
            operators=self._operators,
        )
        model = schema.ModelT(
            version=_VERSION,
            description=self._title,
            operatorCodes=codes,
            subgraphs=[graph],
            buffers=self._buffers,
        )
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(
        self,
        name: str,
        shape: Shape,
        kind: str,
        buffer: int,
        *,
        of: Scaled | None = None,
        axis: int = 0,
    ) -> int:
        dtype = getattr(self._schema.TensorType, kind)
        tensor = self._schema.TensorT(shape=list(shape), type=dtype, buffer=buffer, name=name)
        if of is not None:
            scales, zero = of
            tensor.quantization = self._schema.QuantizationParametersT(
                scale=list(scales), zeroPoint=[zero] * len(scales), quantizedDimension=axis
            )
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _channels_last(shape: Shape) -> Shape:
    return (shape[0], *shape[2:], *shape[1:2])

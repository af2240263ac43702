"""Products of tensors with each other."""

from __future__ import annotations

import math
from typing import Any

from tvm import te

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.models.views import View
from tvm_mobilenet.operators.product import Product
from tvm_mobilenet.operators.workload import Workload


def product(work: Workload) -> list[Any]:
    """Define ``out[..., i, j] = factor * sum_k one[..., i, k] * other[..., k, j]``.

    Returns
    -------
    list of te.Tensor
        The tensors that the operands lie in, of their own shapes; out (stack, rows, columns).
    """
    layer = Product().product(work)
    tensors = [
        placeholder(shape, name=name)
        for shape, name in zip(layer.in_shapes, ("data", "other"), strict=True)
    ]
    one, other = tensors[::-1] if layer.swapped else tensors
    depth, count = layer.one.shape[-1], len(layer.stack)
    factor = te.const(layer.one.factor * layer.other.factor, "float32")
    k = te.reduce_axis((0, depth), name="k")

    def term(*at: Any) -> Any:
        stack, (i, j) = at[:count], at[count:]
        left = taken(one, layer.one, (*stack, i, k))
        return te.sum(left * taken(other, layer.other, (*stack, k, j)), axis=k)

    acc = te.compute(layer.out_shape, term, name="accumulate")
    out = te.compute(layer.out_shape, lambda *at: acc[at] * factor, name="out")
    return [*tensors, out]


def taken(tensor: Any, view: View, at: tuple[Any, ...]) -> Any:
    """Return an element of a tensor by its indices in a view; axes in front are not the view's."""
    return tensor[unravelled(place_of(view, at[len(at) - len(view.axes) :]), view.source)]


def place_of(view: View, at: tuple[Any, ...]) -> Any:
    """Return where an element lies in what a view is of."""
    place: Any = view.offset
    for steps, index in zip(view.axes, at, strict=True):
        behind = 1
        for size, stride in reversed(steps):
            place = place if size == 1 else place + index // behind % size * stride
            behind *= size
    return place


def unravelled(place: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the indices of an element by its number."""
    behind = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return tuple(place // count % size for count, size in zip(behind, shape, strict=True))

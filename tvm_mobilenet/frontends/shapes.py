"""What moves, cuts, joins and reduces tensors, in ONNX's operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tvm_mobilenet.frontends.elementwise import Rule
from tvm_mobilenet.frontends.program import Call, Tensor
from tvm_mobilenet.frontends.writer import Writer


def _view(w: Writer, call: Call) -> str:
    return w.reshaped(w.read(call.args[0]), call.out.shape)


def _transpose(w: Writer, call: Call) -> str:
    rank = len(call.args[0].shape)
    axes = call.attrs["axes"] or list(range(rank))[::-1]
    return str(w.emit("Transpose", w.read(call.args[0]), perm=[axis % rank for axis in axes]))


def _layout_transform(w: Writer, call: Call) -> str:
    layouts = call.attrs.get("src_layout"), call.attrs.get("dst_layout")
    if None in layouts:
        raise call.refused("its layout is a function of the index")
    return w.permuted(w.read(call.args[0]), *layouts, call)


def _concatenate(w: Writer, call: Call) -> str:
    return str(w.emit("Concat", *map(w.read, call.args[0]), axis=call.attrs["axis"]))


def _stack(w: Writer, call: Call) -> str:
    axis = call.attrs["axis"] % len(call.out.shape)
    shape = [*call.out.shape]
    shape[axis] = 1
    parts = [w.reshaped(w.read(tensor), shape) for tensor in call.args[0]]
    return str(w.emit("Concat", *parts, axis=axis))


def _split(w: Writer, call: Call) -> list[str]:
    axis = call.attrs["axis"] % len(call.args[0].shape)
    sizes = [tensor.shape[axis] for tensor in call.outputs]
    source = w.read(call.args[0])
    if len(sizes) == 1:
        return [source]
    return list(w.emit("Split", source, w.constant(sizes), outputs=len(sizes), axis=axis))


def _strided_slice(w: Writer, call: Call) -> str:
    attrs = call.attrs
    begin, end, strides = attrs["begin"], attrs["end"], attrs["strides"] or [1]
    axes = attrs["axes"] or list(range(len(begin)))
    sizes = call.args[0].shape
    if attrs.get("slice_mode", "end") == "size":
        begin = [b if b >= 0 else b + sizes[axis] for b, axis in zip(begin, axes, strict=True)]
        end = [sizes[axis] if length < 0 else first + length
               for first, length, axis in zip(begin, end, axes, strict=True)]  # fmt: skip
        strides = [1]
    steps = strides * len(begin) if len(strides) == 1 else strides
    bounds = (w.constant(bound) for bound in (begin, end, axes, steps))
    return str(w.emit("Slice", w.read(call.args[0]), *bounds))


def _reverse(w: Writer, call: Call) -> str:
    source = w.read(call.args[0])
    bounds = ([-1], [np.iinfo(np.int64).min], [call.attrs["axis"]], [-1])
    return str(w.emit("Slice", source, *map(w.constant, bounds)))


def _take(w: Writer, call: Call) -> str:
    """Take places that are known, by the rule for those that are beyond the end."""
    source, places = call.args
    axis, shape = call.attrs["axis"], source.shape
    if places.value is None:
        raise call.refused("its places depend on the image")
    name = w.read(source)
    if axis is None:
        name, axis, shape = w.reshaped(name, [-1]), 0, (math.prod(shape),)
    size = shape[axis]
    found = places.value.astype(np.int64)
    if call.attrs["mode"] == "wrap":
        found %= size
    elif call.attrs["mode"] == "clip":
        found = found.clip(0, size - 1)
    if ((found < 0) | (found >= size)).any():
        raise call.refused("its places are beyond the ends")
    return str(w.emit("Gather", name, w.constant(found), axis=axis))


def _expand(w: Writer, call: Call) -> str:
    return str(w.emit("Expand", w.read(call.args[0]), w.constant(call.out.shape)))


def _tile(w: Writer, call: Call) -> str:
    source, rank = call.args[0], len(call.out.shape)
    repeats = call.attrs.get("repeats") or call.attrs["reps"]
    full = (1,) * (rank - len(source.shape)) + source.shape
    repeats = [1] * (rank - len(repeats)) + repeats
    return str(w.emit("Tile", w.reshaped(w.read(source), full), w.constant(repeats)))


def _full(w: Writer, call: Call) -> str:
    filling = call.args[0]
    return str(w.emit("Expand", w.cast(w.read(filling), filling.dtype, call.out.dtype),
                      w.constant(call.out.shape)))  # fmt: skip


def _filled(value: int) -> Rule:
    def rule(w: Writer, call: Call) -> str:
        return w.constant(np.full(call.out.shape, value), call.out.dtype)

    return rule


def _depth_to_space(w: Writer, call: Call) -> str:
    if call.attrs.get("layout", "NCHW") != "NCHW":
        raise call.refused("its layout is not NCHW")
    factor = call.attrs.get("upscale_factor")
    mode, size = ("CRD", factor) if factor else (call.attrs["mode"], call.attrs["block_size"])
    return str(w.emit("DepthToSpace", w.read(call.args[0]), mode=mode, blocksize=int(size)))


def _axes(call: Call, source: Tensor) -> list[int]:
    """Return the axes that a reduction runs over; of none it runs over all."""
    rank = len(source.shape)
    axes = call.attrs["axis"]
    if axes is None:
        return list(range(rank))
    axes = sorted(axis % rank for axis in (axes if isinstance(axes, list) else [axes]))
    return [a for a in range(rank) if a not in axes] if call.attrs.get("exclude") else axes


def _reduced(operator: str) -> Rule:
    def rule(w: Writer, call: Call) -> str:
        source = call.args[0]
        return _reduce(w, call, operator, w.read(source), _axes(call, source))

    return rule


def _reduce(w: Writer, call: Call, operator: str, source: str, axes: list[int]) -> str:
    keep = int(call.attrs["keepdims"])
    return str(w.emit(operator, source, w.constant(axes), keepdims=keep))


def _extreme(operator: str) -> Rule:
    """Return the reduction, or an operator of several where it is over a stack of them.

    Relax's importer of ONNX writes ``Min(x, 6)`` as the minimum of a stack of both.
    """
    over_axes = _reduced(f"Reduce{operator}")

    def rule(w: Writer, call: Call) -> str:
        stack = call.args[0].maker
        stacked = stack is not None and stack.operator == "stack" and not call.attrs["keepdims"]
        if not stacked or stack is None or (
            _axes(call, call.args[0]) != [stack.attrs["axis"] % len(stack.out.shape)]
        ):  # fmt: skip
            return str(over_axes(w, call))
        operands = [_unbroadcast(tensor) for tensor in stack.args[0]]
        if np.broadcast_shapes(*(tensor.shape for tensor in operands)) != call.out.shape:
            operands = stack.args[0]
        return str(w.emit(operator, *map(w.read, operands)))

    return rule


def _unbroadcast(tensor: Tensor) -> Tensor:
    """Return what was broadcast to a tensor, or the tensor."""
    call = tensor.maker
    if call is None or call.operator != "broadcast_to":
        return tensor
    source: Tensor = call.args[0]
    return source


def _variance(w: Writer, call: Call) -> str:
    """Return the mean square of what differs from the mean."""
    source, axes = call.args[0], _axes(call, call.args[0])
    if call.attrs.get("unbiased"):
        raise call.refused("it is unbiased")
    x = w.read(source)
    given = call.args[1] if len(call.args) > 1 else None
    mean = w.read(given) if given else w.emit("ReduceMean", x, w.constant(axes), keepdims=1)
    off = w.emit("Sub", x, mean)
    return _reduce(w, call, "ReduceMean", w.emit("Mul", off, off), axes)


def _std(w: Writer, call: Call) -> str:
    return str(w.emit("Sqrt", _variance(w, call)))


def _place(operator: str) -> Rule:
    def rule(w: Writer, call: Call) -> str:
        source, axes = call.args[0], _axes(call, call.args[0])
        if len(axes) != 1:
            raise call.refused("it runs over several axes")
        attrs: dict[str, Any] = {"axis": axes[0], "keepdims": int(call.attrs["keepdims"])}
        attrs["select_last_index"] = int(call.attrs.get("select_last_index", False))
        return w.cast(w.emit(operator, w.read(source), **attrs), "int64", call.out.dtype)

    return rule


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("contrib_reverse_reshape", "expand_dims", "flatten", "nn.batch_flatten", "reshape",
         "reshape_like", "squeeze"),
        _view,
    ),
    **dict.fromkeys(("broadcast_to", "broadcast_to_like"), _expand),
    **dict.fromkeys(("zeros", "zeros_like"), _filled(0)),
    **dict.fromkeys(("ones", "ones_like"), _filled(1)),
    "argmax": _place("ArgMax"),
    "argmin": _place("ArgMin"),
    "concatenate": _concatenate,
    "full": _full,
    "layout_transform": _layout_transform,
    "max": _extreme("Max"),
    "mean": _reduced("ReduceMean"),
    "min": _extreme("Min"),
    "nn.depth_to_space": _depth_to_space,
    "prod": _reduced("ReduceProd"),
    "reverse": _reverse,
    "split": _split,
    "stack": _stack,
    "std": _std,
    "strided_slice": _strided_slice,
    "sum": _reduced("ReduceSum"),
    "take": _take,
    "tile": _tile,
    "transpose": _transpose,
    "variance": _variance,
}  # fmt: skip

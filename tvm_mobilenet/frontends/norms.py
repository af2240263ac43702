"""Normalisations in ONNX's operators."""

from __future__ import annotations

import math

from tvm_mobilenet.frontends.elementwise import Rule
from tvm_mobilenet.frontends.program import Call, Tensor
from tvm_mobilenet.frontends.writer import Writer


def _scale_and_shift(w: Writer, call: Call, gamma: Tensor, beta: Tensor) -> tuple[str, str]:
    """Return what scales and shifts; ones and zeros where the call says that it does not."""
    count, dtype = math.prod(gamma.shape), gamma.dtype
    scale, shift = w.read(gamma), w.read(beta)
    if not call.attrs.get("scale", True):
        scale = w.constant([1] * count, dtype)
    if not call.attrs.get("center", True):
        shift = w.constant([0] * count, dtype)
    return scale, shift


def _channels_second(w: Writer, call: Call, axis: int) -> tuple[str, list[int]]:
    """Return the data with an axis in the place of the channels, and how it came there."""
    rank = len(call.args[0].shape)
    perm = [0, axis, *(at for at in range(1, rank) if at != axis)] if axis else [*range(rank)]
    source = w.read(call.args[0])
    return (source if perm == [*range(rank)] else w.emit("Transpose", source, perm=perm)), perm


def _back(w: Writer, made: str, perm: list[int]) -> str:
    if perm == [*range(len(perm))]:
        return made
    return str(w.emit("Transpose", made, perm=[perm.index(axis) for axis in range(len(perm))]))


def _batch_norm(w: Writer, call: Call) -> list[str]:
    """Normalise by given statistics, which are the other two results, as they are."""
    data, gamma, beta, mean, variance = call.args
    if call.attrs.get("training", False):
        raise call.refused("it is in training mode, and takes the image's own statistics")
    axis = call.attrs["axis"] % len(data.shape)
    if axis == 0:
        raise call.refused("it normalises images of a batch apart")
    source, perm = _channels_second(w, call, axis)
    scale, shift = _scale_and_shift(w, call, gamma, beta)
    statistics = [w.read(mean), w.read(variance)]
    epsilon = call.attrs["epsilon"]
    made = w.emit("BatchNormalization", source, scale, shift, *statistics, epsilon=epsilon)
    return [_back(w, made, perm), *statistics]


def _instance_norm(w: Writer, call: Call) -> str:
    data, gamma, beta = call.args
    axes = call.attrs.get("axes")
    rank = len(data.shape)
    axis = call.attrs.get("axis", call.attrs.get("channel_axis", 1)) % rank
    others = [at for at in range(1, rank) if at != axis]
    if axis == 0 or (axes is not None and sorted(at % rank for at in axes) != others):
        raise call.refused("it does not normalise every pixel of one channel")
    source, perm = _channels_second(w, call, axis)
    scale, shift = _scale_and_shift(w, call, gamma, beta)
    epsilon = call.attrs["epsilon"]
    made = w.emit("InstanceNormalization", source, scale, shift, epsilon=epsilon)
    return _back(w, made, perm)


def _layer_norm(w: Writer, call: Call) -> str:
    data, gamma, beta = call.args
    rank = len(data.shape)
    axes = call.attrs.get("axes") or [call.attrs["axis"]]
    axes = sorted(axis % rank for axis in axes)
    if axes != [*range(rank - len(axes), rank)]:
        raise call.refused("it does not normalise the last axes")
    scale, shift = _scale_and_shift(w, call, gamma, beta)
    shape = data.shape[axes[0] :]
    scale, shift = w.reshaped(scale, shape), w.reshaped(shift, shape)
    attrs = {"axis": axes[0], "epsilon": call.attrs["epsilon"]}
    return str(w.emit("LayerNormalization", w.read(data), scale, shift, **attrs))


def _group_norm(w: Writer, call: Call) -> str:
    """Normalise groups as the channels of an InstanceNormalization; then channels are scaled."""
    data, gamma, beta = call.args
    rank, groups = len(data.shape), int(call.attrs["num_groups"])
    axis = call.attrs.get("channel_axis", call.attrs.get("axis", 1)) % rank
    axes = call.attrs.get("axes")
    others = [*range(2, rank)]
    if axis != 1 or (axes is not None and sorted(at % rank for at in axes) != others):
        raise call.refused("it does not normalise groups of the second axis")
    batch, channels = data.shape[:2]
    one, nothing = (w.constant([value] * groups, data.dtype) for value in (1, 0))
    flat = w.reshaped(w.read(data), (batch, groups, math.prod(data.shape[1:]) // groups))
    epsilon = call.attrs["epsilon"]
    normed = w.emit("InstanceNormalization", flat, one, nothing, epsilon=epsilon)
    normed = w.reshaped(normed, data.shape)
    parts = _scale_and_shift(w, call, gamma, beta)
    scale, shift = (w.reshaped(part, w.axis_shape(channels, 1, rank)) for part in parts)
    return str(w.emit("Add", w.emit("Mul", normed, scale), shift))


def _l2_normalize(w: Writer, call: Call) -> str:
    """Divide by the root of the sum of squares, or of epsilon if that is more."""
    x, dtype = w.read(call.args[0]), call.out.dtype
    rank = len(call.out.shape)
    axes = w.constant([axis % rank for axis in call.attrs["axis"] or range(rank)])
    total = w.emit("ReduceSum", w.emit("Mul", x, x), axes, keepdims=1)
    least = w.emit("Max", total, w.scalar(call.attrs["eps"], dtype))
    return str(w.emit("Div", x, w.emit("Sqrt", least)))


def _lrn(w: Writer, call: Call) -> str:
    if call.attrs["axis"] % len(call.out.shape) != 1:
        raise call.refused("ONNX has it over channels that stand second")
    attrs = {name: call.attrs[name] for name in ("size", "bias", "alpha", "beta")}
    return str(w.emit("LRN", w.read(call.args[0]), **attrs))


def _softmax(operator: str) -> Rule:
    def rule(w: Writer, call: Call) -> str:
        axis = call.attrs["axis"] % len(call.out.shape)
        return str(w.emit(operator, w.read(call.args[0]), axis=axis))

    return rule


RULES: dict[str, Rule] = {
    "nn.batch_norm": _batch_norm,
    "nn.group_norm": _group_norm,
    "nn.instance_norm": _instance_norm,
    "nn.l2_normalize": _l2_normalize,
    "nn.layer_norm": _layer_norm,
    "nn.log_softmax": _softmax("LogSoftmax"),
    "nn.lrn": _lrn,
    "nn.softmax": _softmax("Softmax"),
}

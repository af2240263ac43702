"""Normalisations in terms of means, by the statistics of what they are given."""

from __future__ import annotations

import math

import numpy as np

from tvm_mobilenet.models.importer.expansion import Expansion, Rule


def _batch_norm(e: Expansion) -> str | None:
    """In training: by the mean and the variance of this batch."""
    if not e.node.attrs.get("training_mode", 0):
        return None
    x, gamma, beta, mean, variance = e.node.inputs
    axes = np.array([a for a in range(len(e.shape)) if a != 1], np.int64)
    now = e.op("ReduceMean", x, axes, keepdims=1)
    away = e.op("Sub", x, now)
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    if e.at:
        momentum = float(e.node.attrs.get("momentum", 0.9))
        before, after = (mean, now) if e.at == 1 else (variance, spread)
        kept = e.op("Mul", before, e.floats(momentum))
        flat = e.op("Reshape", after, np.array([-1]))
        return e.op("Add", kept, e.op("Mul", flat, e.floats(1 - momentum)))
    return _scaled(e, _normalised(e, away, spread, 1e-5), gamma, beta, len(e.shape) - 2)


def _normalised(e: Expansion, away: str, spread: str, epsilon: float) -> str:
    raised = e.op("Add", spread, e.floats(e.node.attrs.get("epsilon", epsilon)))
    return e.op("Div", away, e.op("Sqrt", raised))


def _scaled(e: Expansion, x: str, gamma: str, beta: str, behind: int) -> str:
    """Return x times gamma plus beta, both of one axis with `behind` axes behind it."""
    shape = np.array([-1] + [1] * behind)
    scaled = e.op("Mul", x, e.op("Reshape", gamma, shape))
    return e.op("Add", scaled, e.op("Reshape", beta, shape))


def _group_norm(e: Expansion) -> str:
    """Normalise groups as rows; scale and shift by channel, by group before opset 21."""
    x, gamma, beta = e.node.inputs
    batch, channels, *rest = e.shape
    groups = int(e.node.attrs["num_groups"])
    rows = e.op("Reshape", x, np.array([batch, groups, -1]))
    axes = np.array([2])
    away = e.op("Sub", rows, e.op("ReduceMean", rows, axes, keepdims=1))
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    y = _normalised(e, away, spread, 1e-5)
    if e.graph.shape(gamma) == (groups,) and groups != channels:
        y = _scaled(e, y, gamma, beta, 1)
        return e.op("Reshape", y, np.array(e.shape))
    y = e.op("Reshape", y, np.array([batch, channels, math.prod(rest)]))
    return e.op("Reshape", _scaled(e, y, gamma, beta, 1), np.array(e.shape))


def _mean_variance(e: Expansion) -> str:
    axes = np.array(e.node.attrs.get("axes", [0, 2, 3]), np.int64)
    x = e.node.inputs[0]
    away = e.op("Sub", x, e.op("ReduceMean", x, axes, keepdims=1))
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    return e.op("Div", away, e.op("Add", e.op("Sqrt", spread), e.floats(1e-9)))


def _rms_norm(e: Expansion) -> str:
    x, gamma = e.node.inputs[:2]
    axes = np.arange(e.axis(), len(e.shape))
    squares = e.op("ReduceMean", e.op("Mul", x, x), axes, keepdims=1)
    return e.op("Mul", _normalised(e, x, squares, 1e-5), gamma)


def _lp_normalisation(e: Expansion) -> str:
    kind = "ReduceL1" if int(e.node.attrs.get("p", 2)) == 1 else "ReduceL2"
    x = e.node.inputs[0]
    norm = e.op(kind, x, np.array([e.axis()]), keepdims=1)
    nothing = e.op("Equal", norm, e.floats(0.0))
    return e.op("Div", x, e.op("Where", nothing, e.floats(1.0), norm))


NORMS: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "LpNormalization": _lp_normalisation,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_norm,
}

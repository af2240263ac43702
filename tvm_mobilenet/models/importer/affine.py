"""Bias and batch norm of a convolution or dense layer, however they are spelled."""

from __future__ import annotations

import numpy as np

from tvm_mobilenet.models.importer.graph import Array, Graph, Node


class Affine:
    """What scales and shifts the channels of a tensor, as bias and one batch norm.

    A bias alone stays a bias and one batch norm one batch norm, with the numbers of the file.
    Anything longer becomes the batch norm that does the same: mean 0, variance 1, epsilon 0.

    Parameters
    ----------
    bias : ndarray or None
        What is added first.

    Attributes
    ----------
    bias : ndarray or None
        (channels,).
    epsilon : float or None
        Epsilon of the batch norm, if there is one.
    """

    def __init__(self, channels: int, bias: Array | None) -> None:
        self._channels = channels
        self._norm: tuple[Array, Array, Array, Array] | None = None
        self.bias = bias
        self.epsilon: float | None = None

    def parameters(self) -> dict[str, Array]:
        """Return bias and batch-norm vectors, by the names of ``Conv2d``."""
        found = {} if self.bias is None else {"bias": self.bias}
        if self._norm is not None:
            names = ("bn_gamma", "bn_beta", "bn_mean", "bn_variance")
            found |= dict(zip(names, self._norm, strict=True))
        return found

    def take(self, graph: Graph, node: Node, tensor: str) -> bool:
        """Take over what a node does to `tensor`; whether it is of this kind."""
        if node.op == "BatchNormalization":
            return node.inputs[0] == tensor and self._take_norm(graph, node)
        if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
            return False
        first = node.inputs[0] == tensor
        other = node.inputs[1 if first else 0]
        value = graph.constants.get(other)
        if value is None or graph.shape(node.out) != graph.shape(tensor):
            return False
        vector = self._per_channel(value, len(graph.shape(tensor)))
        if vector is None or not np.isfinite(vector).all() or (node.op == "Div" and not first):
            return False
        if node.op in ("Add", "Sub"):
            sign = 1.0 if first or node.op == "Add" else -1.0
            return self._apply(sign, vector if node.op == "Add" or not first else -vector)
        return self._apply(vector if node.op == "Mul" else 1.0 / vector, 0.0)

    def _per_channel(self, value: Array, rank: int) -> Array | None:
        """Return a constant as (channels,) in float64; None if it is not one a channel."""
        if value.size == 1:
            return np.full(self._channels, float(value.reshape(-1)[0]))
        full = (1,) * (rank - value.ndim) + value.shape
        wanted = (1, self._channels) + (1,) * (rank - 2)
        return value.reshape(-1).astype(np.float64) if full == wanted else None

    def _take_norm(self, graph: Graph, node: Node) -> bool:
        values = [graph.constants.get(name) for name in node.inputs[1:5]]
        used = len([name for name in node.outputs if name]) == 1
        spatial = node.attrs.get("spatial", 1)
        if not used or not spatial or node.attrs.get("training_mode", 0):
            return False
        gamma, beta, mean, variance = values
        if gamma is None or beta is None or mean is None or variance is None:
            return False
        if {part.shape for part in (gamma, beta, mean, variance)} != {(self._channels,)}:
            return False
        epsilon = float(node.attrs.get("epsilon", 1e-5))
        if self._norm is None:
            self._norm, self.epsilon = (gamma, beta, mean, variance), epsilon
            return True
        scale = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
        return self._apply(scale, beta - mean * scale)

    def _apply(self, scale: Array | float, shift: Array | float) -> bool:
        """Append ``scale * x + shift``."""
        if np.all(np.asarray(scale) == 1.0) and self._norm is None:
            before = np.zeros(self._channels) if self.bias is None else self.bias
            self.bias = (before + np.asarray(shift, np.float64)).astype(np.float32)
            return True
        if not np.all(np.isfinite(scale)):
            return False
        factor, offset = np.ones(self._channels), np.zeros(self._channels)
        if self._norm is not None and self.epsilon is not None:
            gamma, beta, mean, variance = (part.astype(np.float64) for part in self._norm)
            factor = gamma / np.sqrt(variance + self.epsilon)
            offset = beta - mean * factor
        ones, zeros = np.ones(self._channels), np.zeros(self._channels)
        self._norm = (factor * scale, offset * scale + shift, zeros, ones)
        self.epsilon = 0.0
        return True

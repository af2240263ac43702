"""Separable blocks against the reference, whatever stack computes them.

Layouts are packed here by NumPy from their definition, as in ``kernels``.
"""

from __future__ import annotations

import numpy as np

from tvm_mobilenet import reference
from tvm_mobilenet.models.layers import Conv2d, same_padding
from tvm_mobilenet.operators.workload import Workload

# (batch, channels in, channels out, (height, width), stride): tails of pixels, of channel
# blocks and of row groups; maps wider and narrower than a tile; the sizes of V1 and V2.
SHAPES = [
    (1, 32, 64, (14, 14), 1),
    (1, 64, 128, (28, 28), 2),
    (2, 32, 32, (13, 11), 1),
    (2, 16, 48, (15, 9), 2),
    (1, 24, 40, (9, 17), 1),
    (1, 8, 12, (5, 3), 2),
    (3, 48, 16, (1, 1), 1),
    (1, 96, 24, (7, 7), 1),
    (1, 40, 200, (2, 31), 1),
]


def lanes_of(channels, lanes):
    """The block that a graph chooses."""
    return lanes if channels >= lanes else 1 << (channels - 1).bit_length()


def block(array, lanes):
    """(N, C, P) to (N, Cb, P, lanes), zero-padded."""
    n, c, p = array.shape
    padded = np.zeros((n, -(-c // lanes) * lanes, p), "float32")
    padded[:, :c] = array
    return np.ascontiguousarray(padded.reshape(n, -1, lanes, p).transpose(0, 1, 3, 2))


def panels(matrix, depth, lanes):
    """(O, K) to (Ob, depth, lanes), zero-padded."""
    o, k = matrix.shape
    padded = np.zeros((-(-o // lanes) * lanes, depth), "float32")
    padded[:o, :k] = matrix
    return np.ascontiguousarray(padded.reshape(-1, lanes, depth).transpose(0, 2, 1))


def vector(values, lanes):
    """(C,) to (Cb, lanes)."""
    return block(values.reshape(1, -1, 1), lanes)[0, :, 0]


def unblock(array, channels):
    """(N, Cb, P, lanes) to (N, C, P)."""
    n, blocks, p, lanes = array.shape
    return array.transpose(0, 1, 3, 2).reshape(n, blocks * lanes, p)[:, :channels]


def check_separable(shape, lanes, run, residual=False, seed=0):
    """Compare one block: `run` takes its workload, its inputs as packed, and the output's shape."""
    batch, channels, out_channels, size, stride = shape
    rng = np.random.default_rng(seed)
    padding = same_padding(size, (3, 3), (stride, stride))
    x = rng.standard_normal((batch, channels, *size)).astype("float32")
    first = Conv2d(
        "dw", ("input",), x.shape, channels, (3, 3), (stride, stride), padding,
        groups=channels, bias=True, activation="relu6",
    )  # fmt: skip
    second = Conv2d(
        "pw", ("dw",), first.out_shape, out_channels, (1, 1),
        bias=True, activation="none" if residual else "relu6",
    )  # fmt: skip
    weights = {
        name: rng.standard_normal(shape).astype("float32")
        for layer in (first, second)
        for name, shape in layer.parameters.items()
    }
    want = reference.run_layer(second, weights, reference.run_layer(first, weights, x))
    work = Workload(
        "separable", batch, channels, out_channels, size, first.out_shape[2:],
        lanes_of(channels, lanes), lanes_of(out_channels, lanes),
        (3, 3), (stride, stride), padding, second.activation,
        mid_activation="relu6", residual=residual,
    )  # fmt: skip
    ic, oc = work.in_block, work.out_block
    taps = weights["dw.weight"].reshape(1, channels, 9)
    arrays = [
        block(x.reshape(batch, channels, -1), ic),
        block(taps, ic)[0],
        vector(weights["dw.bias"], ic),
        panels(weights["pw.weight"].reshape(out_channels, channels), work.depth, oc),
        vector(weights["pw.bias"], oc),
    ]
    if residual:
        added = rng.standard_normal(want.shape).astype("float32")
        want = want + added
        arrays.append(block(added.reshape(batch, out_channels, -1), oc))
    shape = (batch, work.out_blocks, work.out_pixels, oc)
    got = unblock(run(work, arrays, shape), out_channels).reshape(want.shape)
    assert reference.relative_error(got, want) < 2e-6

"""What a kernel reads and writes, bytes, in the blocks that it is laid out in."""

from __future__ import annotations

import math

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import ITEM_BYTES


def map_bytes(work: Workload) -> int:
    """Return the bytes of a kernel's output."""
    return ITEM_BYTES[work.dtype] * work.batch * blocked_out(work) * work.out_pixels


def weight_bytes(work: Workload) -> int:
    """Return the bytes of a kernel's packed weights and biases."""
    taps, inside, outside = math.prod(work.kernel), blocked_in(work), blocked_out(work)
    count = {
        "conv": outside * (work.in_channels * taps + 1),
        "depthwise": inside * (taps + 1),
        "pointwise": outside * (work.depth + 1),
        "dense": outside * (work.depth + 1),
        "separable": inside * (taps + 1) + outside * (work.depth + 1),
        "strassen": outside * (7 * work.depth // 4 + 1),
        "tail": outside * (work.depth + 1) + (outside + 1) * blocked_classes(work),
        "pool": 0,
        "scale": 0,
        "softmax": 0,
    }[work.operator]
    return ITEM_BYTES[work.dtype] * count


def blocked_in(work: Workload) -> int:
    """Return the input channels, those that fill up the last block among them."""
    return work.in_blocks * work.in_block


def blocked_out(work: Workload) -> int:
    """Return the output channels, those that fill up the last block among them."""
    return work.out_blocks * work.out_block


def blocked_classes(work: Workload) -> int:
    """Return a tail's classes, those that fill up the last block among them."""
    return -(-work.classes // work.class_block) * work.class_block

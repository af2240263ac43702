"""What a kernel reads and writes, bytes, in the blocks that it is laid out in."""

from __future__ import annotations

from tvm_mobilenet.common.functions import PRELU
from tvm_mobilenet.machine import ITEM_BYTES
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def map_bytes(work: Workload) -> int:
    """Return the bytes of a kernel's output."""
    return ITEM_BYTES[work.dtype] * work.batch * blocked_out(work) * work.out_pixels


def weight_bytes(work: Workload) -> int:
    """Return the bytes of a kernel's packed weights and biases."""
    elements = OPERATORS[work.operator].weight_elements(work)
    elements += blocked_out(work) if work.activation == PRELU else 0
    elements += blocked_in(work) if work.mid_activation == PRELU else 0
    return ITEM_BYTES[work.dtype] * elements


def blocked_in(work: Workload) -> int:
    """Return the input channels, those that fill up the last block among them."""
    return work.in_blocks * work.in_block


def blocked_out(work: Workload) -> int:
    """Return the output channels, those that fill up the last block among them."""
    return work.out_blocks * work.out_block


def blocked_classes(work: Workload) -> int:
    """Return a classifier's classes, those that fill up the last block among them."""
    return -(-work.classes // work.class_block) * work.class_block

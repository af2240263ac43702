"""Convolutions of every kind beside MobileNet's own, at sizes that leave tails of every kind."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layers import Activation, Conv2d
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload

Pair = tuple[int, int]


def conv(
    channels: Pair,
    size: Pair,
    kernel: Pair,
    *,
    batch: int = 1,
    stride: Pair = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    activation: Activation = "none",
) -> Layer:
    """A convolution from its sizes."""
    return Conv2d(
        "a", ("input",), (batch, channels[0], *size), channels[1], kernel, stride, padding,
        groups, True, None, activation, dilation,
    )  # fmt: skip


def transposed(
    channels: Pair,
    size: Pair,
    kernel: Pair,
    *,
    batch: int = 1,
    stride: Pair = (2, 2),
    before: Pair = (0, 0),
    extra: Pair = (0, 0),
    groups: int = 1,
    activation: Activation = "none",
) -> Layer:
    """A transposed convolution that cuts off as much behind as before, less `extra`."""
    out = [
        (n - 1) * s + k - 2 * b + e
        for n, s, k, b, e in zip(size, stride, kernel, before, extra, strict=True)
    ]
    return ConvTranspose2d(
        "a", ("input",), (batch, channels[0], *size), channels[1], kernel, stride, before,
        (out[0], out[1]), groups, True, None, activation,
    )  # fmt: skip


AROUND, TWO = (1, 1, 1, 1), (2, 2, 2, 2)

LAYERS: dict[str, Layer] = {
    "3 x 3": conv((64, 48), (14, 14), (3, 3), padding=AROUND, activation="relu6"),
    "stride 2, odd": conv((24, 40), (13, 11), (3, 3), batch=2, stride=(2, 2), padding=(0, 1, 2, 1)),
    "1 x 1, stride 2": conv((17, 33), (9, 7), (1, 1), stride=(2, 2), activation="relu"),
    "strides that differ": conv((20, 24), (10, 9), (3, 5), stride=(1, 3), padding=(2, 0, 1, 4)),
    "dilated": conv((16, 24), (15, 17), (3, 3), padding=TWO, dilation=(2, 2), activation="relu"),
    "dilated by 1 and 3": conv((40, 20), (9, 23), (3, 3), padding=(1, 3, 1, 3), dilation=(1, 3)),
    "few channels, dilated": conv((3, 8), (9, 9), (3, 3), dilation=(2, 2)),
    "a row": conv((17, 23), (1, 40), (1, 5), padding=(0, 2, 0, 2), activation="hardswish"),
    "a column": conv((24, 24), (20, 3), (7, 1), padding=(3, 0, 3, 0)),
    "one pixel": conv((32, 48), (3, 3), (3, 3), batch=3),
    "groups of blocks": conv((64, 128), (7, 9), (3, 3), groups=4, padding=AROUND),
    "groups of 8": conv((32, 32), (9, 8), (3, 3), groups=4, padding=AROUND, activation="relu6"),
    "groups across blocks": conv((72, 60), (7, 7), (1, 1), groups=3, batch=2),
    "odd groups": conv((35, 20), (6, 5), (3, 3), groups=5, stride=(2, 2), padding=AROUND),
    "multiplier 2": conv((20, 40), (8, 9), (3, 3), groups=20, padding=AROUND, activation="relu"),
    "multiplier 3, dilated": conv((6, 18), (11, 8), (3, 3), groups=6, dilation=(2, 1)),
    "depthwise, dilated": conv((24, 24), (13, 17), (3, 3), groups=24, dilation=(2, 2), padding=TWO),
    "depthwise, 7 x 7": conv((24, 24), (14, 14), (7, 7), groups=24, padding=(3,) * 4),
    "depthwise, 9 x 1": conv((20, 20), (23, 5), (9, 1), groups=20, padding=(4, 0, 4, 0)),
    "2 x 2 to twice": transposed((24, 40), (7, 9), (2, 2), activation="relu"),
    "4 x 4 to twice": transposed((64, 32), (14, 14), (4, 4), before=(1, 1)),
    "3 x 3 to twice": transposed((17, 24), (7, 9), (3, 3), before=(1, 1), extra=(1, 1), batch=2),
    "3 x 3, odd": transposed((24, 20), (7, 10), (3, 3), activation="hardswish"),
    "3 x 3, stride 1": transposed((16, 24), (9, 8), (3, 3), stride=(1, 1), before=(1, 1)),
    "5 x 5, stride 3": transposed((20, 33), (6, 5), (5, 5), stride=(3, 3), before=(2, 1)),
    "taps apart": transposed((20, 24), (5, 4), (2, 3), stride=(4, 3)),
    "8 x 8 of 16": transposed((5, 5), (4, 5), (16, 16), stride=(8, 8), before=(4, 4)),
    "transposed in groups": transposed((32, 24), (7, 7), (4, 4), before=(1, 1), groups=4),
    "depthwise transposed": transposed((40, 40), (9, 13), (4, 4), before=(1, 1), groups=40),
    "depthwise transposed, 3 x 3": transposed((20, 20), (5, 6), (3, 3), before=(1, 1), groups=20),
}  # fmt: skip


def workloads(target: TargetSpec) -> dict[str, Workload]:
    """Their kernels by the names above."""
    found = {name: workload_of_layer(layer, target) for name, layer in LAYERS.items()}
    return {name: work for name, work in found.items() if work is not None}

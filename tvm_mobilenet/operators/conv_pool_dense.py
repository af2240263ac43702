"""The last pointwise layer, the global pool and the classifier as one kernel.

Keys, tuning records and manifests call it "tail".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT, Conv2d, Dense, GlobalAvgPool
from tvm_mobilenet.operators.facts import Shared
from tvm_mobilenet.operators.footprint import blocked_classes, blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, pack_bias, pack_classifier, panels
from tvm_mobilenet.operators.workload import Workload


class ConvPoolDense(Shared):
    """The end of a classifier, from the last depthwise layer's output to its logits."""

    __slots__ = ()

    name = "tail"
    patterns = (("pointwise", "pool", "dense"),)
    writes_plain = True
    prefetched = 2

    def join(self, parts: Sequence[Workload]) -> Workload:
        first, _, last = parts
        return dataclasses.replace(
            first, operator=self.name, classes=last.out_channels, class_block=last.out_block
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        n, o, size = work.batch, work.out_channels, work.out_size
        conv = Conv2d(
            "a", (INPUT,), (n, work.in_channels, *size), o, (1, 1), bias=True,
            activation=work.activation,
        )  # fmt: skip
        pool = GlobalAvgPool("b", ("a",), (n, o, *size))
        return conv, pool, Dense("c", ("b",), (n, o), work.classes)

    def macs(self, work: Workload) -> int:
        each = work.out_pixels * (work.in_channels + 1) + work.classes
        return work.batch * work.out_channels * each

    def weight_elements(self, work: Workload) -> int:
        outside = blocked_out(work)
        return outside * (work.depth + 1) + (outside + 1) * blocked_classes(work)

    def prefetched_shape(self, work: Workload) -> tuple[int, ...]:
        class_blocks = -(-work.classes // work.class_block)
        return (work.out_blocks, class_blocks, work.out_block, work.class_block)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        # The classifier reads no map: its weights stay float32.
        conv, classifier = layers
        rows = pack_classifier(classifier.weight, work.out_block, work.class_block)
        return [
            *panels(work, conv, work.out_block, work.depth),
            rows,
            pack_bias(classifier.bias, work.class_block),
        ]

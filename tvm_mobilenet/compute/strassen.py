"""Pointwise convolution by one level of Strassen's method, in Winograd's form.

Seven products of half-sized matrices instead of eight (N. J. Higham, "Accuracy and
Stability of Numerical Algorithms", 2002, section 23.1).
"""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import activate
from tvm_mobilenet.operators.workload import Workload

# fmt: off
PANELS = (
    # W11 W12 W21 W22
    (1, 0, 0, 0),
    (0, 0, 1, 0),
    (1, -1, 0, 1),
    (0, -1, 0, 1),
    (-1, 1, 1, -1),
    (-1, 1, 0, 0),
    (0, 0, 0, 1),
)
# fmt: on
"""Weights of the seven products, in the order in which a kernel reads them: factors of
the quarters W[input half][output half]. The fifth is negated, so that products only add."""


def strassen(work: Workload) -> list[Any]:
    """Define what :func:`tvm_mobilenet.compute.pointwise.pointwise` does, in seven products.

    Pixels, input channels and output channels are halved; X[pixel half][input half]
    and Y[pixel half][output half] are quarters::

        S1 = X21 + X22    S2 = S1 - X11    S3 = X11 - X21    S4 = X12 - S2
        P1..P7 = X11 V1, X12 V2, S2 V3, S3 V4, X22 V5, S1 V6, S4 V7
        Y11 = P1 + P2                 Y12 = P1 + P3 + P6 + P7
        Y21 = P1 + P3 + P4 + P5       Y22 = P1 + P3 + P4 + P6

    Parameters
    ----------
    work : Workload
        A ``"strassen"`` workload: an even number of whole input blocks, and of
        output blocks; any number of pixels (an odd one counts a pixel of zeros).

    Returns
    -------
    list of te.Tensor
        data (N, Kb, P, in_block), weight (7, Ob / 2, depth / 2, out_block), the V of
        :data:`PANELS`, bias (Ob, out_block), out (N, Ob, P, out_block); float32.
    """
    kc, oc, pixels = work.in_block, work.out_block, work.out_pixels
    rows, k_blocks, o_blocks = -(-pixels // 2), work.in_blocks // 2, work.out_blocks // 2
    data = te.placeholder((work.batch, work.in_blocks, pixels, kc), name="data")
    weight = te.placeholder((7, o_blocks, work.depth // 2, oc), name="weight")
    bias = te.placeholder((work.out_blocks, oc), name="bias")

    def quarter(half: int, k_half: int) -> Any:
        def read(n: Any, k: Any, p: Any, c: Any) -> Any:
            value = data[n, k + k_half * k_blocks, p + half * rows, c]
            if not half or pixels % 2 == 0:
                return value
            return te.if_then_else(p + rows < pixels, value, te.const(0.0, "float32"))

        return te.compute((work.batch, k_blocks, rows, kc), read, name=f"x{half + 1}{k_half + 1}")

    x11, x12, x21, x22 = (quarter(half, k_half) for half in (0, 1) for k_half in (0, 1))
    s1 = te.compute(x11.shape, lambda *i: x21[i] + x22[i], name="s1")
    s2 = te.compute(x11.shape, lambda *i: s1[i] - x11[i], name="s2")
    s3 = te.compute(x11.shape, lambda *i: x11[i] - x21[i], name="s3")
    s4 = te.compute(x11.shape, lambda *i: x12[i] - s2[i], name="s4")

    def product(panel: int, source: Any) -> Any:
        k = te.reduce_axis((0, work.depth // 2), name="k")
        return te.compute(
            (work.batch, o_blocks, rows, oc),
            lambda n, o, p, c: te.sum(
                source[n, k // kc, p, k % kc] * weight[panel, o, k, c], axis=k
            ),
            name=f"p{panel + 1}",
        )

    p1, p2, p3, p4, p5, p6, p7 = map(product, range(7), (x11, x12, s2, s3, x22, s1, s4))

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        at = (n, o % o_blocks, p % rows, c)
        both = p1[at] + p3[at]
        upper = te.if_then_else(o < o_blocks, p1[at] + p2[at], both + p6[at] + p7[at])
        lower = both + p4[at] + te.if_then_else(o < o_blocks, p5[at], p6[at])
        value = te.if_then_else(p < rows, upper, lower)
        return activate(value + bias[o, c], work.activation)

    shape = (work.batch, work.out_blocks, pixels, oc)
    return [data, weight, bias, te.compute(shape, element, name="out")]

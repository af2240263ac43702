"""Scale: every channel times its factor, the end of squeeze-and-excite (arXiv 1709.01507, (4))."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.compute.epilogue import exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def scale(work: Workload) -> list[Any]:
    """Define ``out[c, p] = act(data[c, p] * factor[c])``.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, P, block), factor (N, Cb, 1, block), out (N, Cb, P, block); of the
        workload's dtype.
    """
    shape = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    data = placeholder(shape, work.dtype, name="data")
    factor = placeholder((*shape[:2], 1, shape[3]), work.dtype, name="factor")

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        product = exact(data[n, o, p, c]) * exact(factor[n, o, 0, c])
        return activate(product, work.activation).astype(work.dtype)

    out = te.compute(shape, element, name="out")
    return [data, factor, out]

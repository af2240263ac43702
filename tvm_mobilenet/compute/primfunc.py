"""From a workload to a TensorIR function that carries its workload with it."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.compute.conv import conv
from tvm_mobilenet.compute.depthwise import depthwise
from tvm_mobilenet.compute.head import dense, pool
from tvm_mobilenet.compute.pointwise import pointwise
from tvm_mobilenet.compute.scale import scale
from tvm_mobilenet.compute.separable import separable
from tvm_mobilenet.compute.softmax import softmax
from tvm_mobilenet.compute.strassen import ACTIVATION, strassen
from tvm_mobilenet.compute.tail import tail
from tvm_mobilenet.compute.workload import Workload

DEFINITIONS = {
    "conv": conv,
    "depthwise": depthwise,
    "pointwise": pointwise,
    "separable": separable,
    "strassen": strassen,
    "tail": tail,
    "pool": pool,
    "scale": scale,
    "dense": dense,
    "softmax": softmax,
}

OPERATOR = "tvm_mobilenet.operator"
"""Function attribute: the operator, by which a schedule recognises its function."""

OUT_WIDTH = "tvm_mobilenet.out_width"
"""Function attribute: pixels in a row of the output, to unflatten the pixel axis."""


def prim_func(work: Workload) -> Any:
    """Build the unscheduled function of a workload.

    Parameters
    ----------
    work : Workload

    Returns
    -------
    tirx.PrimFunc
        Parameters as the operator's definition lists them, output last
        (destination-passing style); symbol :attr:`Workload.key`.
    """
    from tvm import te

    func = te.create_prim_func(DEFINITIONS[work.operator](work))
    if work.operator == "strassen":
        func = func.with_attr(ACTIVATION, work.activation)
    return (
        func.with_attr("global_symbol", work.key)
        .with_attr(OPERATOR, work.operator)
        .with_attr(OUT_WIDTH, work.out_size[1])
    )

"""Pointwise convolution by one level of Strassen–Winograd: seven products for eight.

Pattern
    operator "strassen". Its products start from each other's sums, which no reduction
    of TE or primitive of a schedule says: the loops are written here, and the
    definition gives sizes and answers to compare with.

Loop nest, outer to inner
    (n, chunk of pixel pairs, channel split) on threads → first the four sums of the
    chunk's input, into a buffer; then vector group → seven products → tiles of pixels
    → reduction → pixels of the tile → vectors → lanes

Registers
    As the pointwise micro-kernel: 7 x 2 + 2 + 1 of 32.

Traffic
    Products carry their sums on: P1 is kept in ``u``; P2 starts from it and leaves as
    Y11; P3 starts from it and stays in ``u``; P4 starts from that and stays in ``w``; P5
    starts from ``w`` and leaves as Y21; P6 adds to ``w`` (Y22 leaves) and to ``u``; P7
    starts from ``u`` and leaves as Y12. So each tile costs three stores and five loads
    (of L1 or L2: a group's ``u`` and ``w`` are 25 KB at 14 x 14) beyond its outputs. A
    group's panel (16 to 32 KB) is read by consecutive tiles, 18 bytes a cycle, while the
    next one is prefetched. Input and sums of a chunk (16 bytes for each input channel
    of each pixel pair) have to fit L2.

Bound
    7/8 of the multiply-adds. Beyond them, decided on paper for V1 1.0/224 (peak 238
    GFLOP/s, 3.7 GHz, L2 50 and L3 29 bytes a cycle): saved 1/8 of the time; input sums
    (4 loads, 4 stores per quarter vector, 8 cycles) 4/N of it, output sums (8 cycles as
    well) 4/K; weights are 7/4 in size, 3 K N more bytes from L3, 3.3/P; an odd pixel 7/8P::

        layer                saved µs  input  output  weights   left    of 100%
        112x112x32->64           27.0   13.5    27.0      0.1  -13.5      -6.3
         56x56x64->128           27.0    6.7    13.5      0.2    6.5       3.0
         56x56x128->128          54.0   13.5    13.5      0.5   26.5       6.1
         28x28x128->256          27.0    3.4     6.7      0.9   16.0       7.4
         28x28x256->256          54.0    6.7     6.7      1.8   38.7       9.0
         14x14x256->512          27.0    1.7     3.4      3.6   18.3       8.5
         14x14x512->512          54.0    3.4     3.4      7.3   40.0       9.3
          7x7x512->1024          27.0    0.8     1.7     14.5    6.1       2.8
          7x7x1024->1024         54.0    1.7     1.7     29.1   13.8       3.2

    Measured: docs/adr/0008-strassen.md.

What lost
    Tiles outside, products inside (a tile's temporaries in registers): all seven panels
    of two groups are then in L2 at once; 435 for 424 µs at 7 x 7 x 1024, the same at 14 x 14.
"""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.cpu.seven_products import Writer
from tvm_mobilenet.schedules.plans.strassen import StrassenPlan

from tvm_mobilenet.operators.workload import Workload


def write_strassen(func: Any, work: Workload, plan: StrassenPlan) -> Any:
    """Write the loops of a pointwise layer in seven products.

    Parameters
    ----------
    func : tirx.PrimFunc
        The definition: data (N, Kb, P, c), weight (7, Ob / 2, depth / 2, c), bias
        (Ob, c), out (N, Ob, P, c).
    work : Workload
    plan : StrassenPlan

    Returns
    -------
    tirx.PrimFunc
        With the attributes of `func`.
    """
    shapes = [tuple(int(size) for size in p.ty.shape) for p in func.params]
    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name("main")
        names = ("data", "weight", "bias", "out")
        buffers = [ir.arg(n, ir.Buffer(s, "float32")) for n, s in zip(names, shapes, strict=True)]
        Writer(plan, work.activation, *buffers).units()
    written = builder.get().with_attr("tirx.noalias", True)
    for name, value in func.attrs.items():
        written = written.with_attr(name, value)
    return written

"""The first convolution and the first separable block as one operator."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import activate, biased
from tvm_mobilenet.compute.workload import Workload, Stem


def stem(work: Stem) -> list[Any]:
    first, block = work.conv, work.block
    kc, oc, blocks = block.in_block, block.out_block, block.in_blocks
    data = te.placeholder((first.batch, first.in_channels, *first.in_size), name="data")
    (ch, cw), (csh, csw) = first.kernel, first.strides
    (h, w), (ctop, cleft) = first.in_size, first.padding[:2]
    cweight = te.placeholder((blocks, first.in_channels * ch * cw, kc), name="conv_weight")
    cbias = te.placeholder((blocks, kc), name="conv_bias")
    (kh, kw), (sh, sw) = block.kernel, block.strides
    (mh, mw), (top, left) = block.in_size, block.padding[:2]
    out_width, pixels, depth = block.out_size[1], block.out_pixels, block.depth
    taps = te.placeholder((blocks, kh * kw, kc), name="filter")
    taps_bias = te.placeholder((blocks, kc), name="filter_bias")
    weight = te.placeholder((block.out_blocks, depth, oc), name="weight")
    bias = te.placeholder((block.out_blocks, oc), name="bias")

    def image(n, i, y, x):
        inside = []
        if ctop: inside.append(y >= ctop)
        if (mh - 1) * csh + ch - ctop > h: inside.append(y - ctop < h)
        if cleft: inside.append(x >= cleft)
        if (mw - 1) * csw + cw - cleft > w: inside.append(x - cleft < w)
        v = data[n, i, y - ctop, x - cleft]
        return te.if_then_else(te.all(*inside), v, te.const(0.0, "float32")) if inside else v

    image = te.compute((first.batch, first.in_channels, (mh - 1) * csh + ch, (mw - 1) * csw + cw), image, name="image")
    i = te.reduce_axis((0, first.in_channels), name="i")
    r, q = te.reduce_axis((0, ch), name="cr"), te.reduce_axis((0, cw), name="cq")
    conv = te.compute(
        (first.batch, blocks, mh, mw, kc),
        lambda n, o, y, x, c: te.sum(image[n, i, y * csh + r, x * csw + q] * cweight[o, (i * ch + r) * cw + q, c], axis=[i, r, q]),
        name="conv",
    )
    first_out = te.compute(conv.shape, lambda n, o, y, x, c: activate(conv[n, o, y, x, c] + cbias[o, c], first.activation), name="first")

    def window(n, k, y, x, c):
        inside = []
        if top: inside.append(y >= top)
        if (block.out_size[0] - 1) * sh + kh - top > mh: inside.append(y - top < mh)
        if left: inside.append(x >= left)
        if (block.out_size[1] - 1) * sw + kw - left > mw: inside.append(x - left < mw)
        v = first_out[n, k, y - top, x - left, c]
        return te.if_then_else(te.all(*inside), v, te.const(0.0, "float32")) if inside else v

    window = te.compute((first.batch, blocks, (block.out_size[0] - 1) * sh + kh, (block.out_size[1] - 1) * sw + kw, kc), window, name="padded")
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    filtered = te.compute(
        (first.batch, blocks, pixels, kc),
        lambda n, k, p, c: te.sum(window[n, k, p // out_width * sh + r, p % out_width * sw + q, c] * taps[k, r * kw + q, c], axis=[r, q]),
        name="filtered",
    )
    mid = biased("mid", filtered, taps_bias, block.mid_activation)
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (first.batch, block.out_blocks, pixels, oc),
        lambda n, o, p, c: te.sum(mid[n, k // kc, p, k % kc] * weight[o, k, c], axis=k),
        name="accumulate",
    )
    return [data, cweight, cbias, taps, taps_bias, weight, bias, biased("out", acc, bias, block.activation)]

"""ARM's matrix instructions in LLVM's plain terms, so that their kernels run on any processor."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_mobilenet.schedules.tensorir.cpu.sixteen.bfloat16 import BFMMLA

BFDOT = "llvm.aarch64.neon.bfdot.v4f32.v8bf16"
_PRODUCTS = {BFMMLA: (2, 4), BFDOT: (1, 2)}
"""Pixels, and products of a sum."""


def spelled_out(text: str) -> str:
    """Return LLVM's text of functions that call these with functions of their meaning instead."""
    lines = [line for line in text.splitlines() if not line.startswith("declare")]
    kept = "\n".join(lines)
    for number, name in enumerate(_PRODUCTS):
        if name in kept:
            kept = kept.replace(f"@{name}", f"@tests_{number}")
            kept += "\n" + "\n".join(_definition(f"tests_{number}", *_PRODUCTS[name]))
    return kept


def _definition(name: str, rows: int, products: int) -> Iterator[str]:
    wide = "<8 x bfloat>"
    yield f"define <4 x float> @{name}(<4 x float> %sums, {wide} %n, {wide} %m) {{"
    for operand in "nm":
        yield f"  %w{operand} = fpext {wide} %{operand} to <8 x float>"
    last = "%sums"
    for at in range(4):
        row, column = divmod(at, 2) if rows > 1 else (at, at)
        yield f"  %s{at}_0 = extractelement <4 x float> {last}, i32 {at}"
        for k in range(products):
            key = f"{at}_{k}"
            yield f"  %n{key} = extractelement <8 x float> %wn, i32 {products * row + k}"
            yield f"  %m{key} = extractelement <8 x float> %wm, i32 {products * column + k}"
            yield f"  %p{key} = fmul float %n{key}, %m{key}"
            yield f"  %s{at}_{k + 1} = fadd float %s{key}, %p{key}"
        yield f"  %r{at} = insertelement <4 x float> {last}, float %s{at}_{products}, i32 {at}"
        last = f"%r{at}"
    yield f"  ret <4 x float> {last}"
    yield "}"

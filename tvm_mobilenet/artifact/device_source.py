"""What TVM's generators of OpenCL C and Metal write, made exact, aligned, and said once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Block = tuple[int, int, int]

FROM_BITS = {"opencl": "as_float", "metal": "as_type<float>"}
"""What makes a float32 of its bits, by language whose generators print it with seven digits."""

# Metal's code generator declares it for scalar arguments, once a kernel; ours have none.
_METAL_UNION = re.compile(r"union __TVMArgUnion \{.*?\};\n", re.DOTALL)
_FUNCTION = "// Function: "
_PARAMETER = re.compile(r"__global (\w+)\* restrict (\w+)")
_LOAD = re.compile(r"\bvload(\d+)\(0, (\w+) \+ ")
_STORE = re.compile(r"\bvstore(\d+)\((.*), 0, (\w+) \+ (.*)\);$", re.MULTILINE)


def device_source(
    kernels: Mapping[str, Any],
    blocks: Mapping[str, Block],
    kind: str,
    generate: Callable[[Mapping[str, Any]], str],
) -> str:
    """Generate the source of kernels; of their common beginnings, one.

    Parameters
    ----------
    kernels : mapping of str to PrimFunc
        Device functions, lowered, by name.
    blocks : mapping of str to tuple of int
        Threads that each is launched with.
    kind : {"cuda", "opencl", "metal"}
        Language of the source.
    generate : callable
        TVM's generator: from functions to their source.
    """
    if kind == "cuda":
        return generate(kernels)
    if kind == "metal":  # each as if there were no other; TVM 0.19 warns with every call
        parts = generate(kernels).split(_FUNCTION)[1:]
    else:
        parts = [generate({name: func}).partition(_FUNCTION)[2] for name, func in kernels.items()]
    heads: dict[str, None] = {}
    bodies = []
    wholes = {name: whole for name, _, whole in (part.partition("\n") for part in parts)}
    for name in kernels:
        whole = _METAL_UNION.sub("", wholes[name])
        head, body = re.split(r"^(?:__)?kernel void ", whole, maxsplit=1, flags=re.MULTILINE)
        heads[head.strip()] = None
        if kind == "metal":
            bodies.append(f"kernel void {body.strip()}\n")
            continue
        # What it declares before it defines. Compilers that know a work-group's size need
        # not keep registers for the largest.
        body, macros = _aligned(body.partition("__kernel void ")[2].strip())
        heads.update(dict.fromkeys(macros))
        size = ", ".join(map(str, blocks[name]))
        bodies.append(f"__kernel __attribute__((reqd_work_group_size({size}))) void {body}\n")
    return "\n".join([*(head for head in heads if head), *bodies])


def _aligned(body: str) -> tuple[str, list[str]]:
    """Let vectors in global memory be accessed as vectors, and return the macros for that.

    TVM writes ``vload4`` where it has proved that an index is a multiple of four, and elements
    elsewhere; but ``vload4`` promises its compiler an element's alignment only, and some then
    load element by element.
    """
    types = {name: kind for kind, name in _PARAMETER.findall(body.partition("{")[0])}
    macros: dict[str, None] = {}

    def load(found: re.Match[str]) -> str:
        lanes, name = found.groups()
        if name not in types:
            return found[0]
        kind = types[name] + lanes
        macros[f"#define LOAD_{kind}(p) (*(__global const {kind}*)(p))"] = None
        return f"LOAD_{kind}({name} + "

    def store(found: re.Match[str]) -> str:
        lanes, value, name, index = found.groups()
        if name not in types:
            return found[0]
        kind = types[name] + lanes
        macros[f"#define STORE_{kind}(v, p) (*(__global {kind}*)(p) = (v))"] = None
        return f"STORE_{kind}({value}, {name} + {index});"

    return _STORE.sub(store, _LOAD.sub(load, body)), list(macros)


def digits_lost(value: float) -> bool:
    """Whether the seven digits that TVM's generators print are another float32."""
    number = np.float32(value)
    return bool(np.isfinite(number)) and np.float32(f"{number:e}") != number


def bits_of(value: float) -> int:
    """Return the bits of a float32, as an int32."""
    return int(np.float32(value).view(np.int32))

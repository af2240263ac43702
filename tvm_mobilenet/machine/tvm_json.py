"""From a target as TVM prints it, in JSON, to what a user would write."""

from __future__ import annotations

import json
from typing import Any

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.gpu import GPUS
from tvm_mobilenet.machine.this_machine import host
from tvm_mobilenet.machine.triples import machine_of

HERE = "cuda"
"""Stands for the GPU of this machine."""
OTHER_KINDS = (
    *("cuda", "opencl", "metal", "vulkan", "webgpu", "rocm", "hexagon", "nvptx", "c"),
    *("ext_dev", "hybrid", "composite", "test"),
)
"""TVM's code generators for what is not a processor (tvm.target.Target.list_kinds)."""


def from_json(text: str) -> tuple[str, dict[str, str]]:
    """Read TVM's JSON of a processor.

    Returns
    -------
    str, dict of str to str
        The triple; ``mcpu``, ``mattr`` and ``cores`` where it has them.

    Raises
    ------
    TargetError
        It is no JSON, not of a processor, or says what no target here takes.
    """
    try:
        data: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TargetError(
            f"the target looks like JSON and is not: {error}",
            'write e.g. {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}',
        ) from error
    kind = data.get("kind")
    if not isinstance(kind, str):
        raise TargetError('the JSON target has no "kind"', 'add "kind": "llvm"')
    if kind != "llvm":
        raise unsupported_kind(kind)
    # "keys", "tag" and "feature.…" are what TVM derives, and adds when it prints a target.
    known = {"kind", "mtriple", "mcpu", "mattr", "mfloat-abi", "num-cores", "keys", "tag", "host"}
    if odd := sorted(k for k in set(data) - known if not k.startswith("feature.")):
        raise TargetError(
            f"the JSON target has options that are not supported: {', '.join(odd)}",
            "use mtriple, mcpu, mattr and num-cores",
        )
    if not _is_llvm(data.get("host", "llvm")):
        raise TargetError("the JSON target's host is not llvm", 'leave "host" out')
    options: dict[str, str] = {}
    for key in ("mtriple", "mcpu"):
        if not isinstance(data.get(key, ""), str):
            raise TargetError(f"{key} of the JSON target is not a text", f'write "{key}": "…"')
    if data.get("mfloat-abi", "hard") != "hard":
        raise TargetError(
            f"float ABI {data['mfloat-abi']!r} of the JSON target is not supported",
            "TVM's runtime for 32-bit ARM is hard-float: leave mfloat-abi away",
        )
    mattr = data.get("mattr", [])
    if not isinstance(mattr, list) or not all(isinstance(m, str) for m in mattr):
        raise TargetError("mattr of the JSON target is not a list", 'write "mattr": ["+neon"]')
    if mattr:
        options["mattr"] = ",".join(mattr)
    if data.get("mcpu"):
        options["mcpu"] = data["mcpu"]
    if "num-cores" in data:
        options["cores"] = data["num-cores"]
    triple = data.get("mtriple") or host().triple
    machine_of(triple)
    return triple, options


def _is_llvm(target: object) -> bool:
    return target == "llvm" or (isinstance(target, dict) and target.get("kind") == "llvm")


def unsupported_kind(kind: str) -> TargetError:
    """Return the refusal of a kind of target that TVM knows and that has no schedules here."""
    if kind == HERE:
        return TargetError(
            "TVM's JSON of a GPU is not taken", "name the architecture: sm_75, sm_80, … sm_90"
        )
    gpus = ", ".join(GPUS)
    return TargetError(
        f"target kind {kind!r} is not supported: there are schedules for processors and {gpus}",
        f'use native, a preset, JSON with "kind": "llvm", or one of {gpus}',
    )

"""Manifests spliced at random, their hash mended: what a fuzzer or a careless tool leaves."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tvm_mobilenet.runtime import artifact
from tvm_mobilenet.runtime.artifact import read_manifest

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 64, 2**31, 2**63, 2**200, -(2**70), 1.5, -0.0, 1e300),
    *(
        "",
        "x",
        "seed:1",
        "float64",
        "../../etc/passwd",
        "hf-hub:evil/x",
        "\x1b]0;x\x07",
        "y" * 20000,
    ),
    *([], [1], [-1], [[]], {}, {"name": 1}, {"x": [None]}, [1] * 40, {"kind": "opencl"}),
)


def spliced(manifest: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a manifest with one to three changes anywhere in it."""
    changed = copy.deepcopy(manifest)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(changed))
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = rng.choice(ODD)
        elif kind == 2:  # another value of the manifest itself
            other, its = rng.choice(places)
            holder[key] = copy.deepcopy(other[its])
        elif kind == 3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        elif kind == 4 and type(holder[key]) is int:
            holder[key] += rng.choice((-1, 1, 7, -holder[key], holder[key]))
        else:
            other, its = rng.choice(places)
            holder[key], other[its] = copy.deepcopy(other[its]), copy.deepcopy(holder[key])
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a manifest, as what holds it and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def write(path: Path, content: bytes, manifest: dict[str, Any]) -> bool:
    """Write the artifact `content` with another manifest; False where it does not fit."""
    path.write_bytes(content)
    if len(json.dumps(manifest, separators=(",", ":"))) > _room(path):
        return False
    artifact.write_manifest(path, manifest)
    return True


def _room(path: Path) -> int:
    from tvm_mobilenet.runtime.elf import find_section

    with path.open("rb") as file:
        return find_section(file, path, artifact.SECTION).size - 100


__all__ = ["ODD", "read_manifest", "spliced", "write"]

"""Files as ``torch.save`` writes them, without torch: both formats, as its pickler would."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {
    "protocol_version": PROTOCOL,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
STORAGE = {
    "float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage",
    "int64": "LongStorage", "bfloat16": "BFloat16Storage",
}  # fmt: skip


class Storage:
    """What a persistent id stands for; `count` is what the file claims."""

    def __init__(self, key: str, kind: str, raw: bytes, count: int) -> None:
        self.key, self.kind, self.raw, self.count = key, kind, raw, count


class Tensor:
    """A view, pickled by reference to ``torch._utils._rebuild_tensor_v2``."""

    def __init__(
        self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
    ) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())


def tensor(array: Any, key: str, *, kind: str | None = None, count: int | None = None) -> Tensor:
    """Return a tensor over a storage of its own."""
    array = np.asarray(array)
    strides = tuple(step // array.itemsize for step in array.strides)
    # A transposed array is stored as it lies in memory.
    raw = array.ravel("K").tobytes()
    size = array.size if count is None else count
    return Tensor(Storage(key, kind or STORAGE[array.dtype.name], raw, size), array.shape, strides)


def state_dict(arrays: Mapping[str, Any]) -> OrderedDict[str, Tensor]:
    made = OrderedDict((n, tensor(a, str(i))) for i, (n, a) in enumerate(arrays.items()))
    made._metadata = OrderedDict(version=1)  # type: ignore[attr-defined]
    return made


@contextmanager
def torch_names() -> Any:
    """Let pickle find what it refers to by torch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGE.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_: Any) -> None:
        raise AssertionError("only its name is used")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch, rebuild
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


def pickled(thing: Any, *, legacy: bool = False, protocol: int = 2) -> tuple[bytes, list[Storage]]:
    """Return the pickle of a checkpoint, and its storages by first use."""
    used: dict[str, Storage] = {}
    with torch_names() as (torch, rebuild):

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: Any) -> Any:
                if not isinstance(obj, Storage):
                    return None
                used.setdefault(obj.key, obj)
                view = (None,) if legacy else ()
                return ("storage", getattr(torch, obj.kind), obj.key, "cpu", obj.count, *view)

            def reducer_override(self, obj: Any) -> Any:
                return (rebuild, obj.arguments) if isinstance(obj, Tensor) else NotImplemented

        stream = io.BytesIO()
        Pickler(stream, protocol).dump(thing)
    return stream.getvalue(), list(used.values())


def zipped(thing: Any, *, protocol: int = 2, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file of PyTorch 1.6 or later."""
    program, storages = pickled(thing, protocol=protocol)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("weights/data.pkl", program)
        archive.writestr("weights/byteorder", "little")
        for storage in storages:
            archive.writestr(f"weights/data/{storage.key}", storage.raw)
        archive.writestr("weights/version", "3\n")
    return stream.getvalue()


def legacy(thing: Any) -> bytes:
    """Return a file of PyTorch before 1.6."""
    program, storages = pickled(thing, legacy=True)
    keys = [storage.key for storage in storages]
    parts = [pickle.dumps(MAGIC, 2), pickle.dumps(PROTOCOL, 2), pickle.dumps(SYSTEM, 2), program]
    parts.append(pickle.dumps(keys, 2))
    for storage in storages:
        parts += [storage.count.to_bytes(8, "little", signed=True), storage.raw]
    return b"".join(parts)

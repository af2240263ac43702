"""Constants of a network in one piece, as kernels read them in place."""

from __future__ import annotations

ALIGNMENT = 64
"""Bytes; a cache line, and what TVM's code assumes of a buffer."""


class Blob:
    """Grows by constants, each at a multiple of 64 bytes, equal ones once."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._places: dict[bytes, int] = {}

    def place(self, data: bytes) -> int:
        """Return where these bytes begin, after adding them if they are not there."""
        if data not in self._places:
            self._data.extend(bytes(-len(self._data) % ALIGNMENT))
            self._places[data] = len(self._data)
            self._data.extend(data)
        return self._places[data]

    def __bytes__(self) -> bytes:
        """Return all of it."""
        return bytes(self._data)

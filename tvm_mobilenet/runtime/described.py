"""What every loaded artifact says of itself, whatever runs it."""

from __future__ import annotations

from typing import Any


class Described:
    """A loaded artifact.

    Attributes
    ----------
    path : str
        The file.
    manifest : dict
        What the file says about itself.
    threads : int
        Threads of the processor that one call uses, here or on the board.
    """

    def __init__(self, path: str, manifest: dict[str, Any], threads: int) -> None:
        self.path = path
        self.manifest = manifest
        self.threads = threads

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, shape, dtype and layout of every input."""
        return list(self.manifest["inputs"])

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Name, shape, dtype and layout of every output."""
        return list(self.manifest["outputs"])

    @property
    def title(self) -> str:
        """The model, for people."""
        return str(self.manifest.get("title", self.manifest["model"]["name"]))

"""What every loaded artifact says of itself, whatever runs it."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.common.tables import Table, Tabular, by_size, facts_table


class Described(Tabular):
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

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has what it takes and gives."""
        return f"<{type(self).__name__} {self.title} from {self.path}>"

    def table(self) -> Table:
        """Return what it takes and gives, and where it is from."""
        facts = {"file": self.path}
        for role, tensors in (("input", self.inputs), ("output", self.outputs)):
            for one in tensors:
                facts[f"{role} {one['name']}"] = (
                    f"{by_size(one['shape'])} {one['dtype']} {one['layout']}"
                )
        facts["kernels"] = str(len(self.manifest["calls"]))
        facts["target"] = str(self.manifest["target"]["name"])
        return facts_table(self.title, facts)

    @property
    def title(self) -> str:
        """The model, for people."""
        return str(self.manifest.get("title", self.manifest["model"]["name"]))

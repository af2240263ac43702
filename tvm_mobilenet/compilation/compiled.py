"""What compiling returns: an artifact in a temporary folder, loaded when it is asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.common.tables import Table, Tabular
from tvm_mobilenet.compilation.report import CompileReport, report_of
from tvm_mobilenet.errors import ArtifactError

if TYPE_CHECKING:
    from tvm_mobilenet.runtime import Loaded


class Compiled(Tabular):
    """A network compiled and, for this machine, verified; not yet in its place.

    Attributes
    ----------
    manifest : dict
        What the artifact says of itself.
    """

    def __init__(self, manifest: dict[str, Any], folder: tempfile.TemporaryDirectory[str]) -> None:
        self.manifest = manifest
        self._folder = folder
        # Left to itself, the folder would warn that nobody cleaned it up.
        weakref.finalize(self, folder.cleanup)
        self._module: Loaded | None = None

    def __repr__(self) -> str:
        """Return one line; :attr:`report` says what was done, layer by layer."""
        found = self.manifest["verification"]
        told = f"verified to {found['relative']:.1e}" if found else "not verified"
        target = self.manifest["target"]["name"]
        kernels = len(self.manifest["calls"])
        title = self.manifest["title"]
        return f"<{type(self).__name__} {title} for {target}: {kernels} kernels, {told}>"

    def table(self) -> Table:
        """Return a row for each kernel; nothing is timed for it."""
        return report_of(self.manifest).table()

    @property
    def path(self) -> Path:
        """The artifact, in a temporary folder that lives as long as this object."""
        return artifact_in(self._folder.name)

    @property
    def module(self) -> Loaded:
        """The artifact, loaded.

        Raises
        ------
        ArtifactError
            It is for another machine.
        """
        from tvm_mobilenet.runtime import load

        if self._module is None:
            self._module = load(self.path)
        return self._module

    @property
    def report(self) -> CompileReport:
        """Layer by layer; timed, if the artifact runs here."""
        from tvm_mobilenet.runtime.inputs import noise

        if not runs_here(self.manifest):
            return report_of(self.manifest)
        return report_of(self.manifest, self.module.profile(noise(self.manifest["inputs"][0])))

    @property
    def header(self) -> str:
        """The C interface's header, for programs in C and C++.

        Raises
        ------
        InputError
            There is none: the artifact is for a GPU, or of the classic stack.
        """
        from tvm_mobilenet.artifact.native_header import header

        return header(self.manifest)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the artifact, whole or not at all.

        Parameters
        ----------
        path : path-like
            The ``.so``; one that is there is replaced.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from tvm_mobilenet.common.files import written_aside

        target = Path(path)
        with written_aside(target) as aside, self.path.open("rb") as source:
            shutil.copyfileobj(source, aside)
        target.chmod(0o755)
        return target


def artifact_in(folder: str) -> Path:
    """Return where the artifact lies in the folder of a compilation."""
    return Path(folder) / "artifact.so"


def runs_here(manifest: Mapping[str, Any]) -> bool:
    """Return whether this machine can run the artifact of a manifest."""
    from tvm_mobilenet.runtime import check_here

    try:
        check_here(manifest)
    except ArtifactError:
        return False
    return True

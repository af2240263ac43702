"""What compiling returns: an artifact in a temporary folder, loaded when it is asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.artifact.emission import HEADER, SHARED, Emit, check_name, suffix_of
from tvm_mobilenet.common.tables import Table, Tabular
from tvm_mobilenet.compilation.report import CompileReport, report_of
from tvm_mobilenet.errors import ArtifactError, InputError, OutputError

if TYPE_CHECKING:
    from tvm_mobilenet.runtime import Loaded


class Compiled(Tabular):
    """A network compiled and, for this machine, verified; not yet in its place.

    Attributes
    ----------
    manifest : dict
        What the artifact says of itself.
    emit : {"so", "a", "object", "c-header"}
        What :meth:`export` writes.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        folder: tempfile.TemporaryDirectory[str],
        emit: Emit = SHARED,
    ) -> None:
        self.manifest = manifest
        self.emit = emit
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
        """The artifact, in a temporary folder that lives as long as this object.

        A shared object whatever is emitted: it is what was verified, of the same code.

        Raises
        ------
        InputError
            Only the header was asked for.
        """
        if self.emit == HEADER:
            raise InputError(
                f"of {self.manifest['title']} only the header was asked for",
                "compile it with another emit",
            )
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

        if self.emit == HEADER or not runs_here(self.manifest):
            return report_of(self.manifest)
        return report_of(self.manifest, self.module.profile(noise(self.manifest["inputs"][0])))

    @property
    def header(self) -> str:
        """The C interface's header, for programs in C and C++.

        Raises
        ------
        CInterfaceError
            There is none: the artifact is for a GPU, or of the classic stack.
        """
        from tvm_mobilenet.artifact.native_header import header

        return header(self.manifest)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write what was asked for, whole or not at all.

        Parameters
        ----------
        path : path-like
            The ``.so``, ``.a``, ``.o`` or ``.h``; one that is there is replaced.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        InputError
            The file's name is another kind's.
        OutputError
            It cannot be written.
        """
        from tvm_mobilenet.common.files import written_aside

        check_name(path, self.emit)
        target = Path(path)
        found = artifact_in(self._folder.name, self.emit)
        with written_aside(target) as aside, found.open("rb") as source:
            shutil.copyfileobj(source, aside)
        if self.emit == SHARED:
            target.chmod(0o755)
        return target

    def package(self, folder: str | os.PathLike[str]) -> Path:
        """Write the library, its header, and what CMake and pkg-config find them by.

        Parameters
        ----------
        folder : path-like
            Made if it is not there. It can be moved as a whole.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        CInterfaceError, InputError
            There is no C interface; what was asked for is no library.
        OutputError
            It cannot be written.
        """
        from tvm_mobilenet.artifact.package import texts
        from tvm_mobilenet.common.files import written_aside

        library, files = texts(self.manifest, self.emit)
        target = Path(folder)
        try:
            for name in (library, *files):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make the folder {os.fspath(folder)!r}: {error.strerror}",
                "choose one where you may write",
            ) from error
        self.export(target / library)
        for name, text in files.items():
            with written_aside(target / name) as aside:
                aside.write(text.encode())
        return target


def artifact_in(folder: str, emit: Emit = SHARED) -> Path:
    """Return where what is emitted lies in the folder of a compilation."""
    return Path(folder) / f"artifact{suffix_of(emit)}"


def runs_here(manifest: Mapping[str, Any]) -> bool:
    """Return whether this machine can run the artifact of a manifest."""
    from tvm_mobilenet.runtime import check_here

    try:
        check_here(manifest)
    except ArtifactError:
        return False
    return True

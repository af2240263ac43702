"""From a network's code to its file, whatever kind of container that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.containers import CONTAINERS, Kind
from tvm_mobilenet.artifact.sources import SEAL, manifest_source, seal, section_source
from tvm_mobilenet.artifact.toolchain import Linker
from tvm_mobilenet.common.scratch import scratch

_ROOM, _LEAST = 2, 4096
"""The manifest's section, in sizes of the manifest before verification, and bytes beyond."""

Embedded = tuple[Callable[[Path], str], bytes]
"""Data, and what returns the C source that embeds a file with it."""


@dataclass(frozen=True, slots=True)
class Code:
    """A network compiled, not yet in a file: what every emitter ends in.

    Attributes
    ----------
    kind : Kind
        Which container the file will be.
    embedded : tuple of Embedded
        What the file holds beside the code.
    part : mapping
        What only this kind's manifest says, see ``containers.Container``.
    export : callable or None
        TVM's ``export_library`` of the host's code; None where there is none.
    """

    kind: Kind
    embedded: tuple[Embedded, ...] = ()
    part: Mapping[str, Any] | None = None
    export: Callable[..., object] | None = None

    def link(self, linker: Linker, reserved_bytes: int, output: Path) -> None:
        """Link the file, its manifest still empty.

        Even where nothing in it is executed, the file is a shared object of the host's: then
        one reader finds every manifest.

        Parameters
        ----------
        linker : Linker
            For the host's machine.
        reserved_bytes : int
            Size of the manifest's section.
        output : Path
            Shared object to write.

        Raises
        ------
        ToolchainError, OutputError
            The linker failed.
        """
        embedded = list(self.embedded)
        if CONTAINERS[self.kind].sealed and self.part is not None:
            embedded.append((partial(section_source, SEAL), seal(self.part).encode()))
        with scratch() as folder:
            text = manifest_source(reserved_bytes)
            for number, (source_of, content) in enumerate(embedded):
                blob = Path(folder) / f"{number}.bin"
                blob.write_bytes(content)
                text += source_of(blob)
            source = Path(folder) / "artifact.c"
            source.write_text(text)

            def link(linked: str, objects: Sequence[str], *_: object, **__: object) -> None:
                linker.link([*objects, source], linked)

            if self.export is None:
                linker.link([source], output)
            else:
                self.export(str(output), fcompile=link)


def write(manifest: dict[str, Any], code: Code, linker: Linker, output: Path) -> None:
    """Write an artifact, with room for its manifest, and tell the manifest what it became.

    Parameters
    ----------
    manifest : dict
        What is known so far. Its kind of container is added, and what only this kind says.
    code : Code
        What the network of the manifest became.
    linker : Linker
        For the host's machine.
    output : Path
        Shared object to write.

    Raises
    ------
    ToolchainError, OutputError
        The linker failed.
    """
    container = CONTAINERS[code.kind]
    manifest.update(stack=container.stack, container=container.kind)
    if container.part:
        manifest[container.part] = code.part
    code.link(linker, _ROOM * len(str(manifest)) + _LEAST, output)

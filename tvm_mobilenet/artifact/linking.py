"""From a network's code to its file, whatever kind of container that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.calls import NetworkCalls
from tvm_mobilenet.artifact.containers import CONTAINERS, Kind
from tvm_mobilenet.artifact.kernel_symbols import defines, hide_names, rename_for_two_doors
from tvm_mobilenet.artifact.native_header import NATIVE, VERSION, functions, renaming
from tvm_mobilenet.artifact.native_source import network_source
from tvm_mobilenet.artifact.sources import IMPORTS, SEAL, manifest_source, seal, section_source
from tvm_mobilenet.artifact.toolchain import Linker
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.triples import libc_of

_ROOM, _LEAST = 2, 4096
"""The manifest's section, in sizes of the manifest before verification, and bytes beyond."""

# -Bsymbolic: a second network in the process may have kernels of the same names.
_NATIVE_OPTIONS = ("-O2", "-std=gnu11", "-fvisibility=hidden", "-pthread", "-Wl,-Bsymbolic")
# Which glibc a program asks for, its own linker decides: old_glibc.h counts as included. Checked
# versions of functions, which some systems' compilers choose by themselves, are for programs.
_ANY_C_LIBRARY = ("-DTMN_OLD_GLIBC_H", "-U_FORTIFY_SOURCE")

Embedded = tuple[Callable[[Path], str], bytes]
"""Data, and what returns the C source that embeds a file with it."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the C interface has to know of a network.

    Attributes
    ----------
    calls : NetworkCalls
        By the names and in the order in which the virtual machine makes them.
    scratch_bytes : int
        That one part of a parallel region takes for itself at most.
    prefix : str
        What its functions' names begin with.
    """

    calls: NetworkCalls
    scratch_bytes: int
    prefix: str


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
    door : Door or None
        What the C interface is made from, where the file has one.
    """

    kind: Kind
    embedded: tuple[Embedded, ...] = ()
    part: Mapping[str, Any] | None = None
    export: Callable[..., object] | None = None
    door: Door | None = None

    def link(
        self, linker: Linker, manifest: Mapping[str, Any], output: Path, alone: Path | None = None
    ) -> None:
        """Link the file, its manifest still empty.

        Even where nothing in it is executed, the file is a shared object of the host's: then
        one reader finds every manifest.

        Parameters
        ----------
        linker : Linker
            For the host's machine.
        manifest : mapping
            What is known so far: as much room as it may take is reserved.
        output : Path
            Shared object to write.
        alone : Path, optional
            Where to write the same network as one relocatable object, if it has a C interface:
            it has no other, and shows no other names.

        Raises
        ------
        ToolchainError, OutputError
            The linker failed.
        """
        with scratch() as folder:
            sources = self._sources(manifest, Path(folder))
            options: list[str] = []
            if self.door is not None:
                options = [*_NATIVE_OPTIONS, f"-I{NATIVE}", *renaming(self.door.prefix)]

            def link(linked: str, objects: Sequence[str], *_: object, **__: object) -> None:
                if self.door is not None:
                    for path in objects:
                        rename_for_two_doors(path)
                linker.link([*objects, *sources], linked, options)
                if self.door is not None and alone is not None:
                    # What only TVM's virtual machine reads is left out.
                    kernels = [path for path in objects if not defines(path, IMPORTS)]
                    linker.merge([*kernels, *sources], alone, [*options, *_ANY_C_LIBRARY])
                    public = functions(self.door.prefix).values()
                    hide_names(alone, self.door.prefix, public)

            if self.export is None:
                linker.link(sources, output)
            else:
                self.export(str(output), fcompile=link)

    def _sources(self, manifest: Mapping[str, Any], folder: Path) -> list[Path]:
        """Write C sources of all but the network's kernels, and return them."""
        embedded = list(self.embedded)
        if CONTAINERS[self.kind].sealed and self.part is not None:
            embedded.append((partial(section_source, SEAL), seal(self.part).encode()))
        text = manifest_source(_room(manifest))
        for number, (source_of, content) in enumerate(embedded):
            blob = folder / f"{number}.bin"
            blob.write_bytes(content)
            text += source_of(blob)
        source = folder / "artifact.c"
        source.write_text(text)
        return [
            source,
            *(() if self.door is None else _native_sources(self.door, manifest, folder)),
        ]


def _room(manifest: Mapping[str, Any]) -> int:
    """Return the bytes to reserve for a manifest; what is as long as weights does not grow."""
    settled = len(str(manifest.get("quantized", "")))
    return _ROOM * (len(str(manifest)) - settled) + settled + _LEAST


def _native_sources(door: Door, manifest: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what is this network's, and return all sources of the C interface."""
    network = folder / "network.c"
    network.write_text(network_source(door.calls, door.scratch_bytes, manifest))
    return [network, *sorted(NATIVE.glob("*.c"))]


def write(
    manifest: dict[str, Any],
    code: Code,
    linker: Linker | None,
    output: Path,
    alone: Path | None = None,
) -> None:
    """Write an artifact, with room for its manifest, and tell the manifest what it became.

    Parameters
    ----------
    manifest : dict
        What is known so far. Its kind of container is added, and what only this kind says.
    code : Code
        What the network of the manifest became.
    linker : Linker or None
        For the host's machine; None where only the manifest is wanted.
    output : Path
        Shared object to write.
    alone : Path, optional
        As for :meth:`Code.link`.

    Raises
    ------
    TargetError
        The file is for musl, and only TVM's runtime could load it.
    ToolchainError, OutputError
        The linker failed.
    """
    if code.door is None and libc_of(manifest["target"]["triple"]) == "musl":
        raise TargetError(
            f"{manifest['title']} would be loaded by TVM's runtime, which is built for glibc alone",
            "for musl, compile for a processor with the main stack; else name a gnu triple",
        )
    container = CONTAINERS[code.kind]
    manifest.update(stack=container.stack, container=container.kind)
    if container.part:
        manifest[container.part] = code.part
    if code.door is not None:
        manifest["c_interface"] = {"version": VERSION, "prefix": code.door.prefix}
    if linker is not None:
        code.link(linker, manifest, output, alone)

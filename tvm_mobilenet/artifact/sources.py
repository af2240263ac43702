"""C sources of what an artifact holds beside its kernels: manifest, weights, device code.

Whatever links an artifact compiles them; nothing is executed before a kernel asks
for its weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECTION = ".tvm_mobilenet"
WEIGHTS = "tvm_mobilenet_weights"
MANIFEST = "tmn_manifest"
"""The manifest under a hidden name: another library's public one is never taken for it."""
PARAMETERS = "parameters"
"""What the classic stack calls the section of its weights, and in the manifest's graph where
each of them begins there, bytes."""
NO_OPERATION = "__nop"
"""What TVM's graph executor calls a change of shape that moves nothing."""
SEAL = "seal"
"""Name of the section of :func:`seal`."""
IMPORTS = "__tvm_ffi__library_bin"
"""Where TVM's loader finds what code imports: its virtual machine's part, a GPU's modules."""


def manifest_source(reserved_bytes: int) -> str:
    """Return C source that reserves room for a manifest in a shared object.

    Parameters
    ----------
    reserved_bytes : int
        Size of the section; the JSON text of the manifest must fit.

    Returns
    -------
    str
        Compile as C for any ELF target and link with the rest. The symbol is
        public because ``--gc-sections`` keeps what a shared object exports.
    """
    return (
        f'__attribute__((section("{SECTION}"), used, visibility("default"), aligned(64)))\n'
        f"const char tvm_mobilenet_manifest[{int(reserved_bytes)}] = {{'{{', '}}'}};\n"
        f"extern const char {MANIFEST}[{int(reserved_bytes)}] "
        '__attribute__((alias("tvm_mobilenet_manifest"), visibility("hidden")));\n'
    )


def weights_source(blob: str | os.PathLike[str]) -> str:
    """Return C source that embeds constants where kernels can read them in place.

    TVM's virtual machine copies its constants while it loads them and then holds
    them four times over at the peak. What the source defines is mapped from the
    file instead: never copied, and shared by processes that fork.

    Parameters
    ----------
    blob : path-like
        File with the raw bytes; the compiler reads it. Where an array starts at
        a multiple of 64, so does its address.

    Returns
    -------
    str
        Defines ``const void *tvm_mobilenet_weights(long long offset)``, hidden
        from other libraries. A kernel declares a buffer on
        ``call_extern("handle", WEIGHTS, offset)``. For any ELF target.
    """
    return f"""{_embedded(f".rodata.{WEIGHTS}", f"{WEIGHTS}_data", blob, hidden=True)}
extern const char {WEIGHTS}_data[] __attribute__((visibility("hidden")));
__attribute__((visibility("hidden"))) const void *{WEIGHTS}(long long offset) {{
  return {WEIGHTS}_data + offset;
}}
"""


def section_source(name: str, blob: str | os.PathLike[str]) -> str:
    """Return C source of a section that holds a file, for a loader that reads sections.

    Parameters
    ----------
    name : str
        ``"source"`` or ``"weights"``.
    blob : path-like
        The file; the compiler reads it.

    Returns
    -------
    str
        Defines the section :func:`section_name`, and a public symbol in it, as for
        :func:`manifest_source`. For any ELF target.
    """
    return _embedded(section_name(name), f"tvm_mobilenet_section_{name}", blob)


def seal(program: Mapping[str, Any]) -> str:
    """Return what a file's code says of the part of its manifest that drives it.

    Kernels look at no bounds: called otherwise than planned they write where they must not.

    Parameters
    ----------
    program : mapping
        ``plan`` or ``graph`` of a manifest, JSON-able.

    Returns
    -------
    str
        A SHA-256, for the section :data:`SEAL`.
    """
    text = json.dumps(program, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def imports_source(blob: str | os.PathLike[str]) -> str:
    """Return C source that embeds the modules that host code imports, such as a GPU's.

    Parameters
    ----------
    blob : path-like
        File with TVM's serialization of them; the compiler reads it.

    Returns
    -------
    str
        Defines the public symbol under which TVM's loader looks for them.
    """
    return _embedded(f".rodata.{IMPORTS}", IMPORTS, blob)


def section_name(name: str) -> str:
    """Return the ELF section of what :func:`section_source` calls `name`."""
    return f"{SECTION}.{name}"


def _embedded(
    section: str, symbol: str, blob: str | os.PathLike[str], *, hidden: bool = False
) -> str:
    """Return C source that puts a file into a section, under a symbol that others can link to."""
    quoted = str(Path(blob).resolve()).replace("\\", r"\\\\").replace('"', r"\\\"")
    scope = f".hidden {symbol}\\n.globl {symbol}" if hidden else f".globl {symbol}"
    return f"""__asm__(
  ".pushsection {section},\\"a\\",%progbits\\n"
  ".balign 64\\n"
  "{scope}\\n"
  ".type {symbol},%object\\n"
  "{symbol}:\\n"
  ".incbin \\"{quoted}\\"\\n"
  ".size {symbol},.-{symbol}\\n"
  ".popsection\\n");
"""

"""What linking with the `ziglang` package takes beyond its command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path


def zig_libraries(objects: Sequence[str]) -> list[str]:
    """Leave out zig's compiler runtime where no object uses it.

    zig compiles it at the first link for a machine, 16 s of the 16.5 s that
    this link took (2 cores, zig 0.17); where it is used, its own debug
    information (1 MB) is dropped.
    """
    runtime = any(map(uses_compiler_runtime, objects))
    return ["-Wl,--strip-debug"] if runtime else ["-nostdlib", "-lc"]


def uses_compiler_runtime(path: str) -> bool:
    """Return whether an object calls functions that compilers bring along themselves."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            # Its functions, and no others that TVM's code calls, begin with two underscores.
            # ARM's unwind tables name a personality that nothing calls or relocates.
            return table is None or any(
                re.match(r"__(?!tvm|TVM|aeabi_unwind_cpp_pr)", symbol.name)
                for symbol in table.iter_symbols()
                if symbol["st_shndx"] == "SHN_UNDEF"
            )
    except (OSError, ELFError):
        return True  # C source, or a file that the linker will complain about better


def zig_cache(aside: Path) -> dict[str, str]:
    """Give zig a cache of its own where the user's home takes none."""
    if os.environ.get("ZIG_GLOBAL_CACHE_DIR"):
        return {}
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = Path(home) / "zig"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return {"ZIG_GLOBAL_CACHE_DIR": str(aside / "zig")}
    return {} if os.access(cache, os.W_OK) else {"ZIG_GLOBAL_CACHE_DIR": str(aside / "zig")}

"""Caches and cores, as Linux publishes them under /sys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SYSFS = Path("/sys/devices/system/cpu")


def caches_and_cores(sysfs: Path, allowed: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the caches and cores that some logical processors share.

    Parameters
    ----------
    sysfs : Path
        ``/sys/devices/system/cpu``, or a copy.
    allowed : tuple of int
        Logical processors.

    Returns
    -------
    tuple of int
        Bytes of L1d and L2 a core, of all L3; physical cores. 0 where nothing is said.
    """
    core_of = {cpu: siblings(sysfs, cpu) for cpu in allowed}
    found: dict[int, dict[frozenset[int], int]] = {1: {}, 2: {}, 3: {}}
    for cpu in allowed:
        for level, size, sharers in _data_caches(sysfs / f"cpu{cpu}" / "cache"):
            if level in found:
                found[level][sharers or frozenset({cpu})] = size
    share = [
        min(
            (size // _cores_among(sharers, core_of) for sharers, size in found[level].items()),
            default=0,
        )
        for level in (1, 2)
    ]
    return share[0], share[1], sum(found[3].values()), max(1, len(set(core_of.values())))


def _cores_among(sharers: frozenset[int], core_of: dict[int, frozenset[int]]) -> int:
    return max(1, len({core_of[cpu] for cpu in sharers if cpu in core_of}))


def siblings(sysfs: Path, cpu: int) -> frozenset[int]:
    """Return the logical processors that are one physical core with `cpu`."""
    text = read(sysfs / f"cpu{cpu}" / "topology" / "thread_siblings_list").strip()
    return cpu_list(text) if text else frozenset({cpu})


def _data_caches(folder: Path) -> Iterator[tuple[int, int, frozenset[int]]]:
    for index in sorted(folder.glob("index*")):
        kind, size = read(index / "type").strip(), read(index / "size").strip()
        if kind not in ("Data", "Unified") or not re.fullmatch(r"\d+[KM]", size):
            continue
        scale = {"K": 1 << 10, "M": 1 << 20}[size[-1]]
        sharers = read(index / "shared_cpu_list").strip()
        yield int(read(index / "level")), int(size[:-1]) * scale, cpu_list(sharers)


def cpu_list(text: str) -> frozenset[int]:
    """Expand the kernel's list format, ``"0-3,8"`` → {0, 1, 2, 3, 8}."""
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def read(path: Path) -> str:
    """Return the text of a file of the system's, "" where there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # no /proc, as in a bare chroot: then only the baseline is certain

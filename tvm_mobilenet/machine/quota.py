"""How many processors this process may use: by its affinity, and by its control groups."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tvm_mobilenet.machine.topology import SYSFS, read, siblings


def usable_cores() -> int:
    """Return how many physical cores this process may keep busy, at least 1.

    They are those that its affinity allows, and no more than its control groups grant.
    """
    cores = len({siblings(SYSFS, cpu) for cpu in os.sched_getaffinity(0)})
    return max(1, min(cores, cpu_quota() or cores))


def cpu_quota(root: Path = Path("/")) -> int | None:
    """Return the processors that a container's limit amounts to (``docker run --cpus``).

    Parameters
    ----------
    root : Path
        Folder that takes the place of ``/``: its ``proc/self/cgroup`` says in which groups this
        process is, ``proc/self/mountinfo`` where their files are.

    Returns
    -------
    int or None
        The smallest limit of the group and of all groups around it that can be seen, versions
        1 and 2, rounded up: 1.5 processors keep two threads busy. None without a limit.
    """
    groups = list(_groups(read(root / "proc/self/cgroup")))
    limits = [
        limit
        for mounted, point, version, controllers in _mounts(read(root / "proc/self/mountinfo"))
        for kinds, group in groups
        if kinds == controllers or (version == 1 and "cpu" in kinds & controllers)
        for folder in _upwards(PurePosixPath(group), mounted, root / point.lstrip("/"))
        if (limit := (_second if version == 2 else _first)(folder)) is not None
    ]
    return max(1, math.ceil(min(limits))) if limits else None


def _groups(text: str) -> Iterator[tuple[frozenset[str], str]]:
    """Read ``/proc/self/cgroup``: controllers, none for version 2, and the group (cgroups(7))."""
    for line in text.splitlines():
        _, kinds, group = line.split(":", 2)
        yield frozenset(filter(None, kinds.split(","))), group


def _mounts(text: str) -> Iterator[tuple[PurePosixPath, str, int, frozenset[str]]]:
    """Read ``/proc/self/mountinfo``: group mounted, where, version, controllers (proc(5))."""
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        kind, *_, options = system.split(" ")
        if kind in ("cgroup", "cgroup2"):
            mounted, point = (_plain(field) for field in mount.split(" ")[3:5])
            version = 2 if kind == "cgroup2" else 1
            controllers = frozenset(options.split(",") if version == 1 else ())
            yield PurePosixPath(mounted), point, version, controllers


def _plain(field: str) -> str:
    r"""Undo how the kernel writes blanks in a path: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _upwards(group: PurePosixPath, mounted: PurePosixPath, point: Path) -> Iterator[Path]:
    """Yield the folders of a group and of those around it, as far as they are mounted."""
    # In a container the path may be the host's, while what is mounted begins at the container.
    inside = group.relative_to(mounted).parts if group.is_relative_to(mounted) else ()
    inside = () if ".." in inside else inside
    for depth in range(len(inside), -1, -1):
        yield point.joinpath(*inside[:depth])


def _second(folder: Path) -> float | None:
    """Return the limit of a group of version 2: ``"150000 100000"``, or ``"max 100000"``."""
    quota, _, period = read(folder / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _first(folder: Path) -> float | None:
    """Return the limit of a group of version 1, where -1 is none."""
    quota, period = (read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)

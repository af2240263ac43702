"""A folder of records: the best of each workload for compile, the history for the tuner."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

from tvm_mobilenet.errors import RecordsError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.prediction.fusion import Choice
from tvm_mobilenet.schedules.knobs import TRACE
from tvm_mobilenet.tuning.generation import generation, tvm_version
from tvm_mobilenet.tuning.log import Line, Log, append, read, rewrite, writing
from tvm_mobilenet.tuning.records import Record, target_key, threads_of

RecordsLike = str | os.PathLike[str] | Literal[False] | None
"""Whose records compile asks: a folder's, nobody's, or (None) those of the package. On the
classic stack also a log of AutoTVM's or Ansor's own, a file."""

HISTORY = "history.jsonl"
"""What was tried, for the tuner; compile does not read it."""

_FUSION = "fusion"


@dataclass(frozen=True, slots=True)
class Found:
    """The records that apply to one compilation.

    Attributes
    ----------
    kernels, fusions : dict of str to Record
        By workload.
    problems : tuple of str
        Lines and records that were not used, each a sentence.
    """

    kernels: dict[str, Record] = field(default_factory=dict)
    fusions: dict[str, Record] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def knobs_for(self, workload: str) -> Mapping[str, int | str] | None:
        """Return a kernel's recorded knobs, None where there are none."""
        record = self.kernels.get(workload)
        return record.knobs if record else None

    def fusion_for(self, workload: str) -> Choice | None:
        """Return whether layers share the kernel of this workload, None where nobody measured."""
        record = self.fusions.get(workload)
        if record is None:
            return None
        taken, other = ("fused", "unfused") if record.fused else ("unfused", "fused")
        against = f", {other} {record.instead * 1e6:.1f}" if record.instead is not None else ""
        why = f"measured: {taken} {record.seconds * 1e6:.1f}{against} us, {record.machine}"
        return Choice(bool(record.fused), why, "record")


class Store:
    """A folder of records: ``<target>/<operator>.jsonl``, ``<target>/fusion.jsonl``.

    Parameters
    ----------
    root : path-like, optional
        The package's own without.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        packaged = resources.files("tvm_mobilenet.tuning_logs")
        self.root = Path(str(packaged)) if root is None else Path(root)

    def logs(self) -> Iterator[tuple[str, Log]]:
        """Read every file of best records, with its folder's name.

        Raises
        ------
        RecordsError
            There is no such folder, or a file cannot be read.
        """
        if not self.root.is_dir():
            raise RecordsError(f"there is no folder {str(self.root)!r}", "name a folder of records")
        for path in sorted(self.root.glob("*/*.jsonl")):
            yield path.parent.name, read(path)

    def find(self, target: TargetSpec) -> Found:
        """Return the records that apply to a target and its cores.

        Those whose :func:`~tvm_mobilenet.tuning.records.target_key` and number of
        threads are the target's, and which are verified. Of two kernels the faster, of
        two fusions the later.

        Raises
        ------
        RecordsError
            There is no such folder, or a file cannot be read.
        """
        key = target_key(target)
        found = Found()
        problems: list[str] = []
        for folder, log in self.logs():
            if folder != key:
                continue
            problems.extend(str(damage) for damage in log.damaged)
            for record in log.records:
                if problem := _unusable(record, key):
                    problems.append(f"{self.root / key}: {problem}")
                elif record.threads == threads_of(target):
                    group = found.kernels if record.kind == "kernel" else found.fusions
                    group[record.workload] = _better(group.get(record.workload), record)
        return Found(found.kernels, found.fusions, tuple(problems))

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Write, alone.

        Raises
        ------
        RecordsBusyError
            Somebody else is writing; says who.
        """
        with writing(self.root):
            yield Writer(self.root)


class Writer:
    """Writes to a store; from :meth:`Store.writing`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def append(self, line: Line) -> None:
        """Add a line to the history, on the disk when this returns."""
        append(self._root / HISTORY, line)

    def keep(self, record: Record, instead: bool = False) -> bool:
        """Put a record among the best, if it is: what compile will use.

        Parameters
        ----------
        record : Record
            About a kernel it is kept if it is the fastest yet; about fusion always.
        instead : bool
            Whether it replaces what is there even if that claims to be faster: it was
            measured against that.

        Returns
        -------
        bool
            Whether it was kept.

        Raises
        ------
        RecordsError
            It is not verified.
        """
        if not record.verified:
            raise RecordsError(
                f"the record of {record.workload} is not verified", "verify its numbers first"
            )
        name = record.operator if record.kind == "kernel" else _FUSION
        path = self._root / record.target / f"{name}.jsonl"
        log = read(path)
        best: dict[object, Record] = {}
        for known in log.records:
            best[known.identity] = _better(best.get(known.identity), known)
        new = record if instead else _better(best.get(record.identity), record)
        best[record.identity] = new
        if best[record.identity] is not record:
            return False
        rewrite(path, (best[i] for i in sorted(best, key=str)), log.foreign)
        return True


def records_for(target: TargetSpec, records: RecordsLike) -> Found:
    """Return the records that a compilation shall use.

    Parameters
    ----------
    records : path-like, False or None
        A folder; nobody's; the package's own; on the classic stack also a tuner's own log.
    """
    if records is False:
        return Found()
    if records is not None and generation().stack == "relay" and Path(records).is_file():
        return _of_own_log(Path(records), target)
    store = Store(records)
    found = store.find(target)
    if records is not None and not (found.kernels or found.fusions or found.problems):
        where = f"{target_key(target)} on {threads_of(target)} threads"
        return Found(problems=(f"{store.root} has no record for {where}",))
    return found


def _of_own_log(path: Path, target: TargetSpec) -> Found:
    """Return the best of AutoTVM's or Ansor's log; compiling verifies what becomes of it."""
    from tvm_mobilenet.emit.relay.log_reader import best_of

    logged, problems = best_of(path, target)
    kernels = {
        trial.work.key: Record(
            kind="kernel",
            operator=trial.work.operator,
            workload=trial.work.key,
            target=target_key(target),
            threads=threads_of(target),
            knobs=trial.knobs,
            seconds=trial.seconds,
            repeats=1,
            spread=0.0,
            machine=path.name,
            date=trial.date,
            verified=False,
            tvm=tvm_version(),
        )
        for trial in logged
    }
    return Found(kernels, problems=tuple(problems))


def _unusable(record: Record, key: str) -> str:
    if record.target != key:
        return f"the record of {record.workload} is for {record.target}; not used"
    # A trace is TVM's own format, which each version reads its own way.
    if TRACE in (record.knobs or {}) and record.tvm != (tvm := tvm_version()):
        known = f"a trace of TVM {record.tvm}, not {tvm}"
        return f"the record of {record.workload} is {known}; not used"
    return "" if record.verified else f"the record of {record.workload} is not verified; not used"


def _better(known: Record | None, new: Record) -> Record:
    """Return the faster of two kernels; a new answer to a fusion replaces the old one."""
    if known is None or new.kind == "fusion":
        return new
    if known.verified is not new.verified:
        return known if known.verified else new
    return new if new.seconds < known.seconds else known

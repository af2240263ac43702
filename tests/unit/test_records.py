"""Tuning records: the line, the file, the folder, and which of them compile takes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tvm_mobilenet.errors import OutputError, RecordsBusyError, RecordsError
from tvm_mobilenet.machine import PRESETS, TargetSpec, parse
from tvm_mobilenet.tuning.log import LOCK, append, read, writing
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.store import Store, records_for

ZEN5 = PRESETS["znver5"]


def record(workload: str = "pool_n1", **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "kind": "kernel", "operator": workload.partition("_")[0], "workload": workload,
        "target": target_key(ZEN5), "threads": ZEN5.cores, "knobs": {"pixels": 7, "order": "mn"},
        "seconds": 2.5e-4, "instead": 2.75e-4, "repeats": 40, "spread": 0.01, "machine": "a desk",
        "date": "2026-01-02T03:04:05+00:00", "verified": True, "error": 1e-7, "tvm": "0.27.0",
    }  # fmt: skip
    return Record(**{**fields, **changes})


def fusion(workload: str = "tail_n1", **changes: Any) -> Record:
    return record(workload, **{"kind": "fusion", "knobs": None, "fused": True, **changes})


def test_a_line_reads_as_a_person_would_write_it() -> None:
    line = record().to_line()
    assert Record.from_line(line) == record()
    content = json.loads(line)
    assert content["version"] == 1
    assert content["knobs"] == {"pixels": 7, "order": "mn"}
    assert "fused" not in content
    assert b"\n" not in line


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"kind": "guess"}, "kind is 'guess'"),
        ({"knobs": None}, "knobs are None"),
        ({"knobs": {"pixels": 1.5}}, "knobs are"),
        ({"knobs": {"pixels": True}}, "knobs are"),
        ({"fused": True}, "fused is True, its kind 'kernel'"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"spread": 10**400}, "spread is 1000"),
        ({"threads": 0}, "threads is 0"),
        ({"target": "../../etc"}, "target is '../../etc'"),
        ({"target": ".."}, "target is '..'"),
        ({"operator": "a/b"}, "operator is 'a/b'"),
        ({"machine": 7}, "machine is 7"),
        ({"error": None}, "verified is True, error None"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(changes: Any, complaint: str) -> None:
    with pytest.raises(RecordsError, match=complaint):
        record(**changes)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"garbage", "no JSON"),
        (b'{"version": 1, "kind": "kernel"', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"version": 2}', "version 2, and this reads 1"),
        (b'{"kind": "kernel"}', "version None"),
        (b'{"version": 1, "kind": "kernel"}', "missing or unknown fields: date, machine"),
        (record().to_line()[:-1] + b', "mood": 1}', "missing or unknown fields: mood"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_a_bad_line_is_named_by_number_and_costs_no_other(
    tmp_path: Path, line: bytes, complaint: str
) -> None:
    path = tmp_path / "pool.jsonl"
    first, last = record("pool_a").to_line(), record("pool_b").to_line()
    path.write_bytes(b"\n".join((first, line, last)) + b"\n")
    log = read(path)
    assert [found.workload for found in log.records] == ["pool_a", "pool_b"]
    (damage,) = log.damaged
    assert damage.line == 2
    assert str(path) in str(damage)
    assert complaint in damage.why


def test_two_records_on_one_line_are_both_found(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_bytes(record("pool_a").to_line() + b"?" + record("pool_b").to_line())
    log = read(path)
    assert [found.workload for found in log.records] == ["pool_a", "pool_b"]
    assert len(log.damaged) == 1


def test_an_append_never_glues_to_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append(path, record("pool_a"))
    torn = record("pool_b").to_line()[:40]
    with path.open("ab") as file:
        file.write(torn)
    append(path, record("pool_c"))
    log = read(path)
    assert [found.workload for found in log.records] == ["pool_a", "pool_c"]
    assert [damage.line for damage in log.damaged] == [2]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """The limit on a file's size stands for a full disk: the write is cut in the middle."""
    path = tmp_path / "history.jsonl"
    append(path, record("pool_a"))
    before = path.read_bytes()
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_records import append, record, OutputError, Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 30}, {len(before) + 30}))
try:
    append(Path({str(path)!r}), record("pool_b"))
except OutputError as error:
    print(error.what)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot append to" in run.stdout
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot append"):
        append(tmp_path / "file" / "history.jsonl", record())
    with pytest.raises(OutputError, match="cannot write to"), Store(tmp_path / "file").writing():
        pass


_WRITER = """
import sys
sys.path.insert(0, {here!r})
from test_records import Store, record
with Store({root!r}).writing() as writer:
    for number in range({start}, 10**9):
        writer.append(record(f"pool_{{number}}", machine="m" * 300))
        writer.keep(record(f"pool_{{number % 3}}", seconds=1 / (1 + number)))
        print(number, flush=True)
"""


def _started(root: Path, start: int = 0) -> subprocess.Popen[str]:
    code = _WRITER.format(here=str(Path(__file__).parent), root=str(root), start=start)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == str(start)
    return process


def test_a_killed_writer_loses_nothing_that_it_had_finished(tmp_path: Path) -> None:
    finished = 0
    for attempt in range(8):
        process = _started(tmp_path, finished)
        time.sleep(0.003 * attempt * attempt)
        process.send_signal(signal.SIGKILL)
        said = [finished, *map(int, process.communicate(timeout=600)[0].split())]
        history = read(tmp_path / "history.jsonl")
        assert len(history.damaged) <= attempt + 1
        found = {int(entry.workload.removeprefix("pool_")) for entry in history.records}
        assert found >= set(range(said[-1] + 1))
        best = read(tmp_path / target_key(ZEN5) / "pool.jsonl")
        assert not best.damaged
        assert min(entry.seconds for entry in best.records) <= 1 / (1 + said[-1])
        finished = max(found) + 1
    assert finished > 8


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    process = _started(tmp_path)
    try:
        with (
            pytest.raises(RecordsBusyError, match=rf"written by process {process.pid} on .*: -c"),
            Store(tmp_path).writing(),
        ):
            pass
    finally:
        process.kill()
        process.communicate(timeout=600)
    with writing(tmp_path):  # free as soon as its holder is dead
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
        with pytest.raises(RecordsBusyError, match="process"), Store(tmp_path).writing():
            pass
        holder = _WRITER.format(here=str(Path(__file__).parent), root=str(tmp_path), start=0)
        other = subprocess.run(
            [sys.executable, "-c", holder], capture_output=True, text=True, check=False, timeout=600
        )
        assert "RecordsBusyError" in other.stderr
    with writing(tmp_path):
        pass


def test_the_lock_ends_with_its_holder_whatever_its_children_do(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_records import Path, writing
with writing(Path({str(tmp_path)!r})):
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    time.sleep(60)
"""
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.wait(timeout=600)
    try:
        os.kill(child, 0)
        deadline = time.monotonic() + 20  # until the child has run what it runs after a fork
        while True:
            try:
                with writing(tmp_path):
                    break
            except RecordsBusyError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.kill(child, signal.SIGKILL)
        run.stdout.close()


def test_the_best_is_kept_and_verified_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = tmp_path / target_key(ZEN5) / "pool.jsonl"
    with store.writing() as writer:
        assert writer.keep(record("pool_a", seconds=3e-4))
        assert writer.keep(record("pool_b", seconds=9e-4))
        assert writer.keep(record("pool_a", seconds=2e-4))
        assert not writer.keep(record("pool_a", seconds=4e-4))
        assert writer.keep(record("pool_a", seconds=5e-4, threads=1))
        with pytest.raises(RecordsError, match="not verified"):
            writer.keep(record("pool_a", seconds=1e-4, verified=False))
        with path.open("ab") as file:
            file.write(b'{"version": 9, "later": true}\ngarbage\n')
        assert writer.keep(record("pool_c"))
    found = [(entry.workload, entry.threads, entry.seconds) for entry in read(path).records]
    cores = ZEN5.cores
    assert found == [
        ("pool_a", 1, 5e-4), ("pool_a", cores, 2e-4), ("pool_b", cores, 9e-4),
        ("pool_c", cores, 2.5e-4),
    ]  # fmt: skip
    # What a later version wrote stays; garbage does not.
    assert [damage.why for damage in read(path).damaged] == [
        "the line is of version 9, and this reads 1"
    ]


def test_a_later_answer_about_fusion_replaces_the_earlier(tmp_path: Path) -> None:
    with Store(tmp_path).writing() as writer:
        assert writer.keep(fusion(fused=True, seconds=1e-4))
        assert writer.keep(fusion(fused=False, seconds=2e-4, instead=3e-4))
    found = Store(tmp_path).find(ZEN5)
    choice = found.fusion_for("tail_n1")
    assert choice is not None
    assert (choice.fused, choice.source) == (False, "record")
    assert choice.why == "measured: unfused 200.0, fused 300.0 us, a desk"
    assert found.fusion_for("tail_n2") is None


def _same_machine_as_preset(cpu: str) -> TargetSpec:
    """What ``native`` is on a machine like the preset, rented in another size."""
    return dataclasses.replace(PRESETS[cpu], name="native", l3_bytes=1 << 20)


@pytest.mark.parametrize(
    ("spec", "applies"),
    [
        (ZEN5, True),
        (_same_machine_as_preset("znver5"), True),
        (parse("x86_64-linux-gnu --mcpu=znver5"), True),
        (dataclasses.replace(ZEN5, cores=2), False),
        (dataclasses.replace(ZEN5, l2_bytes=1 << 19), False),
        (dataclasses.replace(ZEN5, features=("-avx512f",)), False),
        (PRESETS["znver4"], False),
        (PRESETS["x86-64-v4"], False),
        (PRESETS["x86-64-v3"], False),
        (PRESETS["rpi4"], False),
    ],
)
def test_records_apply_to_their_target_and_threads_alone(
    tmp_path: Path, spec: TargetSpec, applies: bool
) -> None:
    with Store(tmp_path).writing() as writer:
        writer.keep(record())
        writer.keep(fusion())
    found = records_for(spec, tmp_path)
    assert (found.knobs_for("pool_n1") is not None) is applies
    assert (found.fusion_for("tail_n1") is not None) is applies
    assert found.knobs_for("pool_n2") is None
    # Asked for a folder that has nothing for it, it does not keep silent.
    assert bool(found.problems) is not applies
    assert records_for(spec, False).knobs_for("pool_n1") is None


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = tmp_path / target_key(ZEN5)
    append(folder / "pool.jsonl", record("pool_doubtful", verified=False))
    append(folder / "pool.jsonl", record("pool_stray", target="aarch64_cortex-a72"))
    append(folder / "pool.jsonl", record("pool_fine"))
    with (folder / "pool.jsonl").open("ab") as file:
        file.write(b"torn")
    found = Store(tmp_path).find(ZEN5)
    assert list(found.kernels) == ["pool_fine"]
    text = "\n".join(found.problems)
    assert "pool_doubtful is not verified" in text
    assert "pool_stray is for aarch64_cortex-a72" in text
    assert "pool.jsonl, line 4: the line is no JSON; skipped" in text


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="there is no folder"):
        records_for(ZEN5, tmp_path / "nowhere")


def test_the_package_brings_records_that_are_whole_verified_and_real() -> None:
    for folder, log in Store().logs():
        assert not log.damaged
        for entry in log.records:
            assert entry.target == folder
            assert entry.verified
            assert "qemu" not in entry.machine.lower()

"""Any record survives being written and read; damage costs only the lines that it hits."""

from __future__ import annotations

import contextlib
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tvm_mobilenet.tuning.log import append, read, rewrite
from tvm_mobilenet.tuning.records import Record

NAMES = st.text(string.ascii_letters + string.digits, min_size=1)
MEASURES = st.floats(0, 1e6)
TEXT = st.text()  # line breaks, quotes, lone surrogates


@st.composite
def records(draw: Any) -> Record:
    kernel = draw(st.booleans())
    verified = draw(st.booleans())
    return Record(
        kind="kernel" if kernel else "fusion",
        operator=draw(NAMES),
        workload=draw(TEXT),
        target=draw(NAMES),
        threads=draw(st.integers(1, 4096)),
        knobs=draw(st.dictionaries(TEXT, st.integers() | TEXT)) if kernel else None,
        fused=None if kernel else draw(st.booleans()),
        seconds=draw(MEASURES),
        instead=draw(st.none() | MEASURES),
        repeats=draw(st.integers(1, 10**6)),
        spread=draw(MEASURES),
        machine=draw(TEXT),
        date=draw(TEXT),
        verified=verified,
        error=draw(MEASURES if verified else st.none() | MEASURES),
        tvm=draw(TEXT),
    )


@contextlib.contextmanager
def in_a_file(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(content)
        yield path


@given(records())
def test_any_record_survives_a_line(record: Record) -> None:
    assert Record.from_line(record.to_line()) == record


@given(st.lists(records(), max_size=5))
def test_any_records_survive_a_file(written: list[Record]) -> None:
    with in_a_file(b"") as path:
        for record in written:
            append(path, record)
        assert list(read(path).records) == written
        rewrite(path, reversed(written))
        log = read(path)
    assert list(log.records) == written[::-1]
    assert not log.damaged


@given(st.lists(records(), min_size=2, max_size=4), st.data())
def test_damage_loses_no_record_that_it_does_not_touch(written: list[Record], data: Any) -> None:
    """Bytes overwritten anywhere, line breaks included."""
    lines = [record.to_line() for record in written]
    content = bytearray(b"\n".join(lines) + b"\n")
    start = data.draw(st.integers(0, len(content) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=30))[: len(content) - start]
    content[start : start + len(junk)] = junk
    with in_a_file(bytes(content)) as path:
        log = read(path)
    begin = 0
    for record, line in zip(written, lines, strict=True):
        end = begin + len(line)
        if end <= start or start + len(junk) <= begin:
            assert record in log.records
        begin = end + 1


@given(st.lists(records(), min_size=1, max_size=3), records(), st.data())
def test_a_torn_end_loses_only_itself(written: list[Record], later: Record, data: Any) -> None:
    content = b"\n".join(record.to_line() for record in written) + b"\n"
    cut = data.draw(st.integers(0, len(content)))
    with in_a_file(content[:cut]) as path:
        append(path, later)
        found = list(read(path).records)
    whole = content[:cut].count(b"\n")
    assert found[:whole] == written[:whole]
    assert found[-1] == later
    assert len(found) >= whole + 1

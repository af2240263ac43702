"""What is loaded is what was there when it was loaded, and goes when nobody holds it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from parts import wait_for
from tiny_network import WEIGHT, example, expected, manifest

from tvm_mobilenet.errors import ArtifactError, InputError, TruncatedArtifactError
from tvm_mobilenet.runtime import Loaded, artifact, library, load, loading, private

_PADDED = np.zeros((32, 3), np.float32)
_PADDED[: len(WEIGHT)] = WEIGHT


def scaled(path: Path, to: Path, factor: float) -> Path:
    """Write the network whose answers are so many times as large; `to` is a new file."""
    data = path.read_bytes()
    assert data.count(_PADDED.tobytes()) == 1
    made = to.with_name(f"{to.name}.aside")
    made.write_bytes(data.replace(_PADDED.tobytes(), (factor * _PADDED).tobytes()))
    artifact.write_manifest(made, {**manifest(), "title": f"times {factor}"})
    made.replace(to)
    return to


def assert_scaled(loaded: Loaded, factor: float) -> None:
    x = example()
    assert loaded.title == f"times {factor}"
    np.testing.assert_allclose(loaded(x), factor * expected(x), atol=1e-3)


def _rename(new: Path, path: Path) -> None:
    new.replace(path)


def _in_place(new: Path, path: Path) -> None:
    before = path.stat().st_ino
    path.write_bytes(new.read_bytes())
    assert path.stat().st_ino == before


def _cut_off(new: Path, path: Path) -> None:
    os.truncate(path, 0)
    _in_place(new, path)


def _delete(new: Path, path: Path) -> None:
    path.unlink()
    shutil.copy(new, path)


def _link(new: Path, path: Path) -> None:
    path.unlink()
    path.symlink_to(new)


@pytest.mark.parametrize("replace", [_rename, _in_place, _cut_off, _delete, _link])
def test_a_path_gives_the_network_that_is_there_now(
    replace: Callable[[Path, Path], None], path: Path, tmp_path: Path
) -> None:
    file = scaled(path, tmp_path / "net.so", 1.0)
    first = load(file)
    assert_scaled(first, 1.0)
    replace(scaled(path, tmp_path / "new.so", 2.0), file)
    second = load(file)
    assert_scaled(second, 2.0)
    assert_scaled(first, 1.0)
    threads = [threading.Thread(target=assert_scaled, args=(first, 1.0))]  # bound only now
    threads[0].start()
    threads[0].join()
    del first
    assert_scaled(second, 2.0)


def test_a_link_gives_what_it_leads_to(path: Path, tmp_path: Path) -> None:
    one, two = (scaled(path, tmp_path / f"{n}.so", n) for n in (1.0, 2.0))
    link = tmp_path / "link.so"
    loaded = []
    for file in (one, two):
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        loaded.append(load(link))
    for found, factor in zip(loaded, (1.0, 2.0), strict=True):
        assert_scaled(found, factor)


def test_the_file_may_go(path: Path, tmp_path: Path) -> None:
    file = scaled(path, tmp_path / "net.so", 3.0)
    loaded = load(file)
    file.unlink()
    assert_scaled(loaded, 3.0)
    assert len(loaded.trace(example())) == 2
    assert loaded.kernels(example()).split(0, repeats=1).regions > 0


def test_what_was_checked_is_what_is_loaded(path: Path, tmp_path: Path, monkeypatch) -> None:
    file = scaled(path, tmp_path / "net.so", 1.0)
    other = scaled(path, tmp_path / "other.so", 2.0).read_bytes()
    check = loading.check_here

    def slow_check(*arguments: object) -> None:
        check(*arguments)
        file.write_bytes(other)

    monkeypatch.setattr(loading, "check_here", slow_check)
    assert_scaled(load(file), 1.0)


def test_nobody_can_write_into_what_is_loaded(path: Path) -> None:
    loaded = load(path)
    with open(loaded._code.name, "r+b", buffering=0) as file, pytest.raises(PermissionError):
        file.write(b"\0")
    with pytest.raises(PermissionError):
        os.truncate(loaded._code.name, 0)


def test_the_same_content_is_loaded_once(path: Path, tmp_path: Path) -> None:
    one, two = load(path, threads=1), load(shutil.copy(path, tmp_path / "copy.so"), threads=2)
    assert one._code is two._code
    x = example()
    np.testing.assert_array_equal(one(x), two(x))
    assert load(scaled(path, tmp_path / "other.so", 1.0))._code is not one._code


def test_threads_that_load_at_once_get_what_they_asked_for(path: Path, tmp_path: Path) -> None:
    files = {n: scaled(path, tmp_path / f"{n}.so", n) for n in (1.0, 2.0, 3.0)}
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work(turn: int) -> None:
        try:
            barrier.wait(10)
            for i in range(12):
                factor = 1.0 + (turn + i) % 3
                assert_scaled(load(files[factor], threads=1), factor)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


# Where there is no memory without a name.


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[None]:
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _forbidden(*_: object) -> int:
    raise OSError(errno.EACCES, "not here")


@pytest.mark.parametrize("lacks", ["memfd", "proc"])
def test_without_it_a_temporary_file_serves_and_does_not_stay(
    lacks: str, path: Path, tmp_path: Path, monkeypatch
) -> None:
    file = scaled(path, tmp_path / "net.so", 4.0)
    folder = tmp_path / "tmp"
    folder.mkdir()
    if lacks == "memfd":
        monkeypatch.setattr(os, "memfd_create", _forbidden)
    else:
        monkeypatch.setattr(private, "_is_named", lambda number, name: False)
    with temporary_folder(folder):
        loaded = load(file)
    assert loaded._code.name.startswith(str(folder))
    assert not list(folder.iterdir())
    _in_place(scaled(path, tmp_path / "new.so", 5.0), file)
    assert_scaled(loaded, 4.0)
    assert loaded.kernels(example()).split(0, repeats=1).regions > 0


def test_nowhere_to_put_it_is_an_error_with_a_name(path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "memfd_create", _forbidden)
    with (
        temporary_folder(tmp_path / "missing"),
        pytest.raises(ArtifactError, match=r"cannot be copied to be loaded: No such file"),
    ):
        load(path)


def test_no_memory_is_an_error_with_a_name(path: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(private, "_copy", full)
    with pytest.raises(ArtifactError, match=r"No space left on device\n.*as the file has bytes"):
        load(path)


@pytest.mark.parametrize("refusals", [3, 1000])
def test_sealing_is_tried_again(
    refusals: int, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux refuses, on a busy machine, while it holds a page of the copy itself."""
    real, left = private.fcntl.fcntl, iter(range(refusals))

    def busy(file: object, command: int, argument: int) -> object:
        if next(left, None) is not None:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return real(file, command, argument)

    monkeypatch.setattr(private.fcntl, "fcntl", busy)
    new = scaled(path, tmp_path / "sealed.so", 5)
    if refusals > 100:
        with pytest.raises(ArtifactError, match="cannot be copied"):
            load(new)
    else:
        assert_scaled(load(new), 5)


def test_no_folder_for_temporary_files_is_needed(path: Path, tmp_path: Path) -> None:
    file = scaled(path, tmp_path / "net.so", 6.0)
    with temporary_folder(tmp_path / "missing"):
        assert_scaled(load(file), 6.0)


def test_a_file_that_is_cut_off_while_it_is_copied_is_refused(
    path: Path, tmp_path: Path, monkeypatch
) -> None:
    file = scaled(path, tmp_path / "net.so", 1.0)

    def half(source, target, *_: object) -> None:
        target.write(source.read(file.stat().st_size // 2))

    monkeypatch.setattr(private, "_copy", half)
    with pytest.raises(TruncatedArtifactError, match="cut off"):
        load(file)


# What goes, and when.


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def mapped() -> int:
    return sum("/memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def _call(loaded: Loaded) -> None:
    loaded(example())


def _look(loaded: Loaded) -> None:
    loaded.trace(example())
    kernels = loaded.kernels(example())
    kernels.split(0, repeats=1)
    kernels.replay()


def _call_elsewhere(loaded: Loaded) -> None:
    thread = threading.Thread(target=loaded, args=(example(),))
    thread.start()
    thread.join()


def _refuse(loaded: Loaded) -> None:
    with pytest.raises(ArtifactError, match="expected"):
        raise ArtifactError("expected")
    with contextlib.suppress(Exception):
        loaded(np.zeros(3))


@pytest.mark.usefixtures("uncollected")
def test_what_nobody_holds_is_unloaded_at_once(path: Path, tmp_path: Path) -> None:
    """Called, traced, profiled or refused: without waiting for the garbage collector."""
    uses = (_call, _look, _call_elsewhere, _refuse)

    def life(number: int) -> None:
        loaded = load(scaled(path, tmp_path / "net.so", 1.0 + number), threads=1)
        for use in uses[: 1 + number % len(uses)]:
            use(loaded)

    for number in range(4):
        life(number)
    before = mapped(), len(os.listdir("/proc/self/fd")), len(library._loaded)
    grown = []
    for first in (4, 44, 84):  # what other tests left may grow once, not each time
        resident = resident_kb()
        for number in range(first, first + 40):
            life(number)
        assert (mapped(), len(os.listdir("/proc/self/fd")), len(library._loaded)) == before
        grown.append(resident_kb() - resident)
    assert min(grown) < 3000  # they have 40 × 200 KB


@pytest.mark.usefixtures("uncollected")
def test_threads_that_make_calls_for_others_do_not_keep_it(path: Path, tmp_path: Path) -> None:
    before = mapped()
    for number in range(5):
        loaded = load(scaled(path, tmp_path / "net.so", 1.0 + number), threads=2)
        _call_elsewhere(loaded)
        with pytest.raises(InputError, match="is float64"):
            loaded(example().astype(float))
    del loaded
    assert wait_for(lambda: mapped() == before), "they forget a call just after it was answered"


@pytest.mark.usefixtures("uncollected")
def test_kernels_and_other_modules_keep_it(path: Path, tmp_path: Path) -> None:
    file = scaled(path, tmp_path / "net.so", 2.0)
    before, names = mapped(), set(library._loaded)
    one, two = load(file, threads=1), load(file, threads=1)
    del one
    assert_scaled(two, 2.0)
    kernels = two.kernels(example())
    del two
    assert mapped() > before
    assert all(span > 0 for span in kernels.replay())
    del kernels
    assert mapped() == before
    assert library._loaded == names


@pytest.mark.usefixtures("uncollected")
def test_a_circle_that_is_collected_does_not_give_its_name_away(path: Path, tmp_path: Path) -> None:
    """As of an exception and its frames: finalizers run in any order, and a function is left."""
    loaded = load(scaled(path, tmp_path / "one.so", 2.0), threads=1)
    function, name = loaded._code.module.imports[0].get_function("pool_kernel"), loaded._code.name
    circle: list[object] = [loaded._code.copy, loaded]
    circle.append(circle)
    del loaded, circle
    gc.collect()
    assert function is not None
    others = [load(scaled(path, tmp_path / "two.so", 3.0 + i), threads=1) for i in range(4)]
    assert name not in {other._code.name for other in others}
    for i, other in enumerate(others):
        assert_scaled(other, 3.0 + i)


@pytest.mark.usefixtures("uncollected")
def test_a_function_that_somebody_keeps_keeps_its_name_too(path: Path, tmp_path: Path) -> None:
    """Its number would else be the next copy's, and the loader take that for this one."""
    before = len(os.listdir("/proc/self/fd"))
    first = load(scaled(path, tmp_path / "net.so", 1.0))
    function = first._code.module.imports[0].get_function("pool_kernel")
    name = first._code.name
    del first
    second = load(scaled(path, tmp_path / "net.so", 2.0))
    assert second._code.name != name
    assert_scaled(second, 2.0)
    del function, second
    load(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("uncollected")
def test_it_may_be_dropped_by_another_thread_in_the_midst_of_a_call(
    path: Path, tmp_path: Path
) -> None:
    x = example()
    held = [load(scaled(path, tmp_path / "net.so", 7.0), threads=1)]
    ready, answers = threading.Barrier(3), []
    before = mapped()

    def call() -> None:
        loaded = held[0]
        loaded(x)
        ready.wait(10)
        answers.extend(loaded(x) for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    held.clear()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 40
    for answer in answers:  # they outlive what computed them
        np.testing.assert_allclose(answer, 7.0 * expected(x), atol=1e-3)
    assert mapped() < before

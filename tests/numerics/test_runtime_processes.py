"""A small network in threads, in forks and in fresh processes, and what those load."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_network import WEIGHT, assert_right, compile_network, example

from tvm_mobilenet.errors import InputError, RuntimeLibraryError
from tvm_mobilenet.machine.quota import usable_cores
from tvm_mobilenet.runtime import Loaded, load, tvm_library
from tvm_mobilenet.runtime.threads import thread_count

ROOT = Path(__file__).parents[2]


def test_threads_calling_one_module_get_their_own_answers(module: Loaded) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        try:
            inputs = [example(10 * seed + i) for i in range(5)]
            barrier.wait(10)
            for _ in range(40):
                for x in inputs:
                    assert_right(module(x), x)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_the_number_of_threads_of_tvms_pools(paths: dict[str, Path], monkeypatch) -> None:
    import os

    path = paths["tvm"]
    before = os.sched_getaffinity(0)
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    # What a parallel region of this thread is cut into: tvm::runtime::threading::MaxConcurrency().
    running = ctypes.CDLL(None)._ZN3tvm7runtime9threading14MaxConcurrencyEv
    one, all_of_them, three = load(path, threads=1), load(path), load(path, threads=3)
    assert all_of_them.threads == usable_cores()
    answers: list[tuple[int, int]] = []

    def call() -> None:  # in a thread of its own: the size of a pool is settled once
        x = example()
        for _ in range(20):  # until it has one
            assert_right(three(x), x)
        for module in (one, three, all_of_them, one, three):
            assert_right(module(x), x)
            answers.append((module.threads, running()))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    assert answers == [(n, n) for n in (1, 3, usable_cores(), 1, 3)]
    assert os.sched_getaffinity(0) == before, "the caller must not be pinned"
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    assert load(path).threads == 1
    assert load(path, threads=3).threads == 3


def test_a_pool_serves_all_modules_of_as_many_threads(paths: dict[str, Path]) -> None:
    """It ends with the last of them."""
    program = """
import os, sys
import numpy as np
import tvm_mobilenet as tm
tasks = lambda: len(os.listdir("/proc/self/task"))
x = np.ones((1, 3, 12, 12), np.float32)
before = tasks()
modules = [tm.load(sys.argv[1], threads=n) for n in (1, 3, 3, 5)]
answers = [module(x) for module in modules]
assert all((answer == answers[0]).all() for answer in answers)
grown = [tasks() - before]
while modules:
    modules.pop()
    grown.append(tasks() - before)
print(*grown)
"""
    command = [sys.executable, "-c", program, str(paths["c"])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["6", "2", "2", "0", "0"]


@pytest.mark.parametrize("threads", [0, -1, "two", 1.5, True, 1025, 10**20])
def test_a_number_of_threads_that_is_none_is_refused(threads) -> None:
    with pytest.raises(InputError, match="threads is"):
        thread_count(threads)


LISTS = [("4,2", 4), ("2,4,1", 2), (" 3 , 2 ", 3), ("5", 5), ("\t6\n", 6), ("+7,1", 7)]


@pytest.mark.parametrize("variable", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize(("value", "threads"), LISTS)
def test_of_a_list_as_openmp_has_it_the_first_number_counts(
    variable: str, value: str, threads: int, path: Path, monkeypatch
) -> None:
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.setenv(variable, value)
    assert load(path).threads == threads
    assert thread_count(1) == 1, "what is asked for by name counts more"


@pytest.mark.parametrize("variable", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["many", "4,", ",4", "0", "4,0", "-1", "4 2", "2.5", "9999"])
def test_a_bad_environment_variable_is_named(variable: str, value: str, monkeypatch) -> None:
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable} is '{value}'"):
        thread_count(None)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_says_nothing(value: str, monkeypatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert thread_count(None) == 3


def test_more_threads_than_tvms_pool_has_are_refused(paths: dict[str, Path]) -> None:
    load(paths["tvm"], threads=2)(example())
    with pytest.raises(InputError, match="has a pool of"):
        load(paths["tvm"], threads=usable_cores() + 9)(example())


@pytest.mark.parametrize("threads", [1, 2, 7, 200])
def test_any_number_of_threads_is_right(paths: dict[str, Path], threads: int) -> None:
    x = example()
    assert_right(load(paths["c"], threads=threads)(x), x)


FORKING = """
import os, sys, threading
import numpy as np
from tvm_mobilenet.errors import InputError
import tvm_mobilenet.runtime as runtime
two, one = (runtime.load(sys.argv[1], threads=n) for n in (2, 1))
x = np.ones((1, 3, 12, 12), np.float32)
want = two(x)
child = os.fork()
if child == 0:
    status = 1
    try:
        two(x)
    except InputError as error:
        answers = [one(x)]
        thread = threading.Thread(target=lambda: answers.append(two(x)))
        thread.start()
        thread.join()
        right = all((answer == want).all() for answer in answers)
        status = 0 if right and "fork" in str(error) and len(answers) == 2 else 2
    finally:
        os._exit(status)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_is_told_and_does_not_hang(paths: dict[str, Path]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(paths["tvm"])]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_missing_runtime_library_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("TVM_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(RuntimeLibraryError, match=r"no libtvm_runtime\.so in .*[\s\S]*pip install"):
        tvm_library.find_runtime()


CHILD = """
import sys, time
start = time.process_time()
import numpy as np
import tvm_mobilenet.runtime as runtime
module = runtime.load(sys.argv[1], threads=1)
x = np.ones((1, 3, 12, 12), np.float32)
y = module(x)
seconds = time.process_time() - start
maps = open("/proc/self/maps").read()
assert ("libtvm_runtime.so" in maps) == (sys.argv[2] == "tvm")
assert ("tvm_ffi" in sys.modules) == (sys.argv[2] == "tvm")
assert "libtvm_compiler" not in maps, "the compiler is mapped"
assert "tvm" not in sys.modules, "tvm is imported"
# Not ru_maxrss, which a child inherits from whoever started it.
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(seconds, peak, *y[0, :2])
"""


@pytest.mark.alone
def test_a_fresh_process_needs_the_runtime_library_at_most(path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), path.stem],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    seconds, peak, *y = map(float, result.stdout.split())
    print(f"import, load and first inference {seconds:.2f} s, peak {peak:.0f} MB")
    np.testing.assert_allclose(y, 144 * WEIGHT[:2].sum(axis=1), rtol=1e-4)
    # 0.13 s and 62 MB where measured.
    assert seconds < 1.0
    assert peak < 100


def test_what_memory_a_file_of_real_size_takes(path: Path, tmp_path: Path) -> None:
    """While they are read, constants of TVM's virtual machine exist four times, ours once."""
    heavy = tmp_path / "heavy.so"
    compile_network(heavy, weight_bytes=17 << 20, door=path.stem)
    peaks = []
    for file in (path, heavy):
        command = [sys.executable, "-c", CHILD, str(file), path.stem]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(result.stdout.split()[1]))
    print(f"peak {peaks[0]:.0f} MB, with 17 MiB of constants {peaks[1]:.0f} MB")
    assert peaks[1] - peaks[0] < (4.2 if path.stem == "tvm" else 1.3) * 17

"""A small network in threads, in forks and in fresh processes, and what those load."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_network import WEIGHT, assert_right, compile_network, example

from tvm_mobilenet.errors import InputError, RuntimeLibraryError
from tvm_mobilenet.runtime import Module, library, load
from tvm_mobilenet.runtime.threads import available_threads, thread_count

ROOT = Path(__file__).parents[2]


def test_threads_calling_one_module_get_their_own_answers(module: Module) -> None:
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


def test_the_number_of_threads(path: Path, monkeypatch) -> None:
    import os

    import tvm_ffi

    before = os.sched_getaffinity(0)
    running = tvm_ffi.get_global_func("runtime.NumThreads")
    one, all_of_them = load(path, threads=1), load(path)
    x = example()
    for module, threads in ((one, 1), (all_of_them, available_threads()), (one, 1)):
        assert_right(module(x), x)
        assert module.threads == threads
        assert running() == threads
    assert os.sched_getaffinity(0) == before, "the caller must not be pinned"
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    assert load(path).threads == 1
    assert load(path, threads=3).threads == 3


@pytest.mark.parametrize("threads", [0, -1, "two", 1.5, True])
def test_a_number_of_threads_that_is_none_is_refused(threads) -> None:
    with pytest.raises(InputError, match="threads is"):
        thread_count(threads)


def test_a_bad_environment_variable_is_named(monkeypatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "many")
    with pytest.raises(InputError, match="TVM_NUM_THREADS is 'many'"):
        thread_count(None)


def test_more_threads_than_the_pool_has_are_refused(path: Path) -> None:
    load(path, threads=1)(example())
    with pytest.raises(InputError, match="has a pool of"):
        load(path, threads=1000)(example())


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


def test_a_forked_process_is_told_and_does_not_hang(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(path)]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_missing_runtime_library_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("TVM_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(RuntimeLibraryError, match=r"no libtvm_runtime\.so in .*[\s\S]*pip install"):
        library.find_runtime()


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
assert "libtvm_runtime.so" in maps
assert "libtvm_compiler" not in maps, "the compiler is mapped"
assert "tvm" not in sys.modules, "tvm is imported"
# Not ru_maxrss, which a child inherits from whoever started it.
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(seconds, peak, *y[0, :2])
"""


@pytest.mark.alone
def test_a_fresh_process_needs_the_runtime_library_alone(path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
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
    """Constants of TVM's virtual machine exist four times while they are read."""
    heavy = tmp_path / "heavy.so"
    compile_network(heavy, weight_bytes=17 << 20)
    peaks = []
    for file in (path, heavy):
        command = [sys.executable, "-c", CHILD, str(file)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(result.stdout.split()[1]))
    print(f"peak {peaks[0]:.0f} MB, with 17 MiB of constants {peaks[1]:.0f} MB")
    assert peaks[1] - peaks[0] < 4.2 * 17

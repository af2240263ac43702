"""Threads that come, call a module and go, and forks: what they leave behind is nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from tiny_network import example, expected

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "threads.md"


def run(program: str, *arguments: object, cwd: Path = ROOT) -> str:
    """Run a program in a process of its own, so that its threads can be counted."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


REQUESTS = """
import os, sys, threading
import numpy as np
import tvm_mobilenet as tm
module = tm.load(sys.argv[1], threads=1)
x = np.ones((1, 3, 12, 12), np.float32)
want, answers = module(x), []
def state():
    return len(os.listdir("/proc/self/task")), int(open("/proc/self/statm").read().split()[1])
def serve(count):
    for _ in range(count):
        thread = threading.Thread(target=lambda: answers.append((module(x) == want).all()))
        thread.start()
        thread.join()
serve(50)
before = state()
serve(int(sys.argv[2]))
after = state()
print(all(answers), len(answers), after[0] - before[0], (after[1] - before[1]) * 4)
"""


def test_a_thread_per_request_on_one_thread_leaves_nothing(path: Path) -> None:
    right, count, threads, kilobytes = run(REQUESTS, path, 1000).split()
    assert (right, count) == ("True", "1050")
    assert int(threads) <= 3  # those that Python has joined may still be about to end
    assert int(kilobytes) < 2000


POOLS = """
import os, sys, threading, time
import numpy as np
import tvm_mobilenet as tm
from tvm_mobilenet.errors import InputError
tasks = lambda: len(os.listdir("/proc/self/task"))
two, three = (tm.load(sys.argv[1], threads=n) for n in (2, 3))
x = np.ones((1, 3, 12, 12), np.float32)
want = two(x)
before = tasks()
def settled(count):
    deadline = time.monotonic() + 60
    while tasks() > count and time.monotonic() < deadline: time.sleep(0.05)
    return tasks() - before
def call(times=1):
    for _ in range(times): assert (two(x) == want).all()
    grown.append(tasks() - before)
def refused():
    try: two(x[0])
    except InputError: grown.append(tasks() - before)
def request(*arguments, to=call):
    thread = threading.Thread(target=to, args=arguments)
    thread.start()
    thread.join()
grown = []
for _ in range(200): request()
request(to=refused)
print(len(grown), settled(before + 2))
grown = []
request(40)
print(grown[0], settled(before + 2))
together = threading.Barrier(3)
def meet():
    together.wait()
    call(5)
threads = [threading.Thread(target=meet) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(settled(before + 6))
for module in (two, three, two): request(to=lambda: grown.append(module(x)))
assert all((answer == want).all() for answer in grown[-3:])
"""


def test_passing_threads_share_tvms_pools_and_those_that_stay_have_their_own(
    paths: dict[str, Path],
) -> None:
    passing, staying, together = run(POOLS, paths["tvm"]).splitlines()
    # One thread makes their calls, and has a pool of one worker.
    assert passing.split() == ["201", "2"]
    grown, left = map(int, staying.split())
    # The caller, and two workers of its pool: it may call `three` next.
    assert grown == 2 + 1 + 2
    assert left == 2, "its pool ends with it"
    assert 2 <= int(together) <= 6


def test_threads_that_come_and_go_share_our_pool(paths: dict[str, Path]) -> None:
    """Nothing for whoever calls; threads that Python has joined may still be about to end."""
    passing, staying, together = run(POOLS, paths["c"]).splitlines()
    assert passing.split()[0] == "201"
    assert int(passing.split()[1]) <= 2
    assert int(staying.split()[0]) <= 1 + 2, "the caller alone"
    assert int(together) <= 3


def test_a_call_that_another_thread_makes_ends_with_the_interpreter(path: Path) -> None:
    program = """
import sys, threading
import numpy as np
import tvm_mobilenet as tm
module = tm.load(sys.argv[1], threads=2)
x = np.ones((1, 3, 12, 12), np.float32)
def late():
    threading.main_thread().join()  # by now nothing takes work any more
    print(module(x).shape)
threading.Thread(target=late).start()
"""
    assert run(program, path) == "(1, 21)\n"


FORK = """
import os, sys, time
import numpy as np
import tvm_mobilenet as tm
one, two = (tm.load(sys.argv[1], threads=n) for n in (1, 2))
x = np.ones((1, 3, 12, 12), np.float32)
want = two(x)
def asleep():
    states = [open(f"/proc/self/task/{t}/stat").read().rpartition(")")[2].split()[0]
              for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    return set(states) == {"S"}
for _ in range(3):
    while not all(asleep() or time.sleep(0.2) for _ in range(3)): pass
    child = os.fork()
    if child == 0:
        assert (one(x) == want).all()
        assert (tm.load(sys.argv[1], threads=1)(x) == want).all()
        sys.exit(7)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert (two(x) == want).all()
            sys.exit(os.waitstatus_to_exitcode(status) != 7)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
sys.exit("the children hang")
"""


def test_a_child_forked_while_workers_sleep_calls_and_ends(path: Path) -> None:
    """One of three: on a busy machine TVM's workers may sleep again before the system forks."""
    run(FORK, path)


FORK_BETWEEN_CALLS = """
import os, sys, threading
import numpy as np
import tvm_mobilenet as tm
two = tm.load(sys.argv[1], threads=2)
x = np.ones((1, 3, 12, 12), np.float32)
answers = []
def request():
    thread = threading.Thread(target=lambda: answers.append(two(x)))
    thread.start()
    thread.join()
request()
child = os.fork()
request()
assert len(answers) == 2 and (answers[0] == answers[1]).all()
if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_has_threads_of_its_own_that_make_calls(path: Path) -> None:
    run(FORK_BETWEEN_CALLS, path)


def test_the_guides_server(path: Path, tmp_path: Path) -> None:
    (example_,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "mobilenet.so").write_bytes(path.read_bytes())
    np.save(tmp_path / "x.npy", example())
    program = f"""{example_}
import os, threading
import numpy as np
x = np.load("x.npy")
answers = [handle(x)]
before = len(os.listdir("/proc/self/task"))
def request(): answers.append(handle(x))
for _ in range(25):
    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
assert len(answers) == 101 and all((a == answers[0]).all() for a in answers)
assert len(os.listdir("/proc/self/task")) <= before + 1 + 4  # one more worker, those that end
np.save("y.npy", answers[0])
"""
    run(program, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected(example()), atol=1e-4)

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
tasks = lambda: len(os.listdir("/proc/self/task"))
one, two, four = (tm.load(sys.argv[1], threads=n) for n in (1, 2, 4))
x = np.ones((1, 3, 12, 12), np.float32)
want = one(x)
before, grown, done = tasks(), [], threading.Event()
def call(module):
    assert (module(x) == want).all()
    grown.append(tasks() - before)
    done.wait()
threads = [threading.Thread(target=call, args=(one,)) for _ in range(3)]
for thread in threads: thread.start()
while len(grown) < 3: time.sleep(0.01)
assert max(grown) <= 3, grown  # the callers themselves
alone = threading.Thread(target=call, args=(two,))
alone.start()
while len(grown) < 4: time.sleep(0.01)
print(grown[-1])
done.set()
for thread in (*threads, alone): thread.join()
for _ in range(600):
    if tasks() <= before: break
    time.sleep(0.1)
print(tasks() - before)
"""


def test_a_pool_is_no_larger_than_asked_for_and_ends_with_its_thread(path: Path) -> None:
    grown, left = map(int, run(POOLS, path).split())
    # Four callers and the workers of the last: the three that `four` may want later.
    assert grown == 4 + 3
    assert left <= 0


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
while not all(asleep() or time.sleep(0.2) for _ in range(3)): pass
child = os.fork()
if child == 0:
    assert (one(x) == want).all()
    assert (tm.load(sys.argv[1], threads=1)(x) == want).all()
    sys.exit(7)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        assert (two(x) == want).all()
        sys.exit(os.waitstatus_to_exitcode(status) != 7)
    time.sleep(0.01)
os.kill(child, 9)
sys.exit("the child hangs")
"""


def test_a_child_forked_while_workers_sleep_calls_and_ends(path: Path) -> None:
    run(FORK, path)


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

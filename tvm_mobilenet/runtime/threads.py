"""How many threads a call may use: one setting per Python thread.

TVM keeps one pool of workers per calling thread and fixes its size at first
use; afterwards fewer workers can be used, but never more. By default it also
halves the processors of an x86 machine (taking them for hyper-threads), pins
the caller to the first of them, and lets workers that wait keep theirs busy for a tenth of a
second and more, even if their caller has ended. Here the size is stated, nothing is pinned, waiting
is short, a call on one thread makes no pool, and threads that come for a few calls share some.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.common.limits import MOST_THREADS
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.machine.quota import usable_cores

if TYPE_CHECKING:
    from concurrent.futures import Executor

# TVM's AffinityMode::kSpecifyThreadShareAllCore, the one mode that sets the concurrency too
# (src/runtime/thread_pool.cc, threading::Configure).
_SHARE_ALL = -3
# tvm::runtime::threading::SetMaxConcurrency(int), of the calling thread. Where it is 1, TVM runs
# a parallel region on the caller, and makes no pool (TVMBackendParallelLaunch).
_SET_CONCURRENCY = "_ZN3tvm7runtime9threading17SetMaxConcurrencyEi"
_SETTINGS = {
    # With this, TVM names processors but pins nothing to them.
    "TVM_BIND_THREADS": "0",
    # How often a worker that waits yields its processor before it sleeps: for 3 to 15 ms, longer
    # than a kernel on one thread. Workers of a thread that has ended do so too before they end.
    "TVM_THREAD_POOL_SPIN_COUNT": "10000",
}


_FEW = 16
"""Calls of a Python thread that others make for it, each for 0.03 ms, before it has a pool."""


class _State(threading.local):
    calls = 0
    room = 0
    used = 0
    workers = 0
    configure: Any = None
    asked = 1
    """The class's, hence all threads': the most that a module of this process will use."""


_state = _State()


def expect_threads(count: int) -> None:
    """Note that a module will call with so many: pools that are made from now on have room."""
    _State.asked = max(_State.asked, count)


def use_threads(ffi: Any, count: int) -> None:
    """Let calls from this Python thread use `count` threads, itself included.

    Parameters
    ----------
    ffi : module
        What :func:`~tvm_mobilenet.runtime.tvm_library.load_runtime` returned, or TVM 0.19.
    count : int
        At least 1.

    Raises
    ------
    InputError
        The pool of this thread was made smaller before, or lost to a fork.
    """
    if _state.used == count:
        return
    if count == 1:
        getattr(ctypes.CDLL(None), _SET_CONCURRENCY)(1)
        _state.used = 1
        return
    if _state.workers == 0:
        for variable, value in _SETTINGS.items():
            os.environ.setdefault(variable, value)
        _state.workers = max(count, _room())
        _state.configure = ffi.get_global_func("runtime.config_threadpool")
        _configure(_state.workers)
    if count > _state.workers:
        raise InputError(
            f"{count} threads wanted, but this Python thread has a pool of {_state.workers}, made "
            "for an earlier module or, before a fork, in the parent process",
            "call the module from a new thread, or load the one with most threads first",
        )
    _configure(count)


def _configure(count: int) -> None:
    """Let parallel regions of this thread be shared by so many of its pool."""
    _state.configure(_SHARE_ALL, 0, ["0"] * count)
    _state.used = count


def call_elsewhere(threads: int, call: Callable[[Any], Any], x: Any) -> Any:
    """Let a thread that stays make a call for one that may be about to end.

    Parameters
    ----------
    threads : int
        That the call uses.
    call : callable
        From an input to outputs.
    x : array
        The input.

    Returns
    -------
    object
        What `call` returned or raised; None if this thread shall make the call itself: it needs no
        pool, has one, or has come so often that it deserves one.
    """
    if threads == 1 or _state.workers or _state.calls >= _FEW or _is_main():
        return None
    _state.calls += 1
    try:
        future = _callers(threads).submit(call, x)
    except RuntimeError:  # the interpreter is ending, or the system has no more threads
        return None
    try:
        return future.result()
    finally:
        del future  # else an error would hold it, and it the error


@functools.cache
def _callers(threads: int) -> Executor:
    """Return threads that stay and have pools of this size.

    There are as many as ever made calls for others at the same time.
    """
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MOST_THREADS, "tvm_mobilenet", initializer=_settle)


def _settle() -> None:
    _state.calls, _state.room = _FEW, 1


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _room() -> int:
    """Return how large a pool may ever be wanted: idle workers sleep, but each is a thread."""
    return _state.room or (usable_cores() if _is_main() else _State.asked)


def _wake_workers() -> None:
    """Before a fork: the child would wait for ever, as it exits, for a worker that sleeps.

    glibc lets it join threads that it does not have, but not destroy what one of them sleeps on. So
    let the workers of this thread meet in an empty parallel region: they are awake for a while,
    longer than a fork takes unless the machine is very busy. A child that ends by ``os._exit``, as
    those of ``multiprocessing`` do, never waits.
    """
    if _state.workers > 1:
        _configure(_state.workers)
        runtime = ctypes.CDLL(None)
        runtime.TVMBackendParallelLaunch(runtime.TVMBackendParallelBarrier, None, 0)


def _forget_workers() -> None:
    """After a fork: the pools are here, their workers are not, and waiting for them never ends."""
    _callers.cache_clear()
    if _state.workers:
        _state.workers, _state.used = 1, 0


os.register_at_fork(before=_wake_workers, after_in_child=_forget_workers)


def thread_count(threads: int | None) -> int:
    """Settle how many threads a module uses.

    Parameters
    ----------
    threads : int or None
        Asked for; None takes ``TVM_NUM_THREADS``, then ``OMP_NUM_THREADS``, of whose list
        (``4,2``: one number for each level of nesting) the first counts, then
        :func:`~tvm_mobilenet.machine.quota.usable_cores`.

    Raises
    ------
    InputError
        No integer between 1 and :data:`~tvm_mobilenet.common.limits.MOST_THREADS`.
    """
    source = "threads"
    value: object = threads
    for variable in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        if value is None and os.environ.get(variable, "").strip():
            source, value = variable, os.environ[variable]
    count = usable_cores() if value is None else _first(value)
    if not 1 <= count <= MOST_THREADS:
        raise InputError(f"{source} is {value!r}", f"give a number of threads, 1 to {MOST_THREADS}")
    return count


def _first(value: object) -> int:
    """Return the first of a list of positive numbers, 0 for anything else."""
    try:
        numbers = [int(part) for part in str(value).split(",")]
    except ValueError:
        return 0
    return numbers[0] if min(numbers) > 0 and not isinstance(value, bool) else 0

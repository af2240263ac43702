"""How many threads a call may use: one setting per Python thread.

TVM keeps one pool of workers per calling thread and fixes its size at first
use; afterwards fewer workers can be used, but never more. By default it also
halves the processors of an x86 machine (taking them for hyper-threads) and pins
the caller to the first of them. Here the size is stated, and nothing is pinned.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

from tvm_mobilenet.errors import InputError
from tvm_mobilenet.limits import MOST_CORES

# TVM's AffinityMode::kSpecifyThreadShareAllCore, the one mode that sets the concurrency too
# (src/runtime/thread_pool.cc, threading::Configure).
_SHARE_ALL = -3


class _State(threading.local):
    used = 0
    workers = 0


_state = _State()


def _forget_workers() -> None:
    """After a fork: the pool is here, its workers are not, and waiting for them never ends."""
    if _state.workers:
        _state.workers, _state.used = 1, 0


os.register_at_fork(after_in_child=_forget_workers)


def use_threads(ffi: Any, count: int) -> None:
    """Let calls from this Python thread use `count` threads, itself included.

    Parameters
    ----------
    ffi : module
        What :func:`~tvm_mobilenet.runtime.library.load_runtime` returned, or TVM 0.19.
    count : int
        At least 1.

    Raises
    ------
    InputError
        The pool of this thread was made smaller before, or lost to a fork.
    """
    if _state.used == count:
        return
    configure = ffi.get_global_func("runtime.config_threadpool")
    if _state.workers == 0:
        # With the variable set, TVM names processors but pins nothing to them.
        os.environ.setdefault("TVM_BIND_THREADS", "0")
        # As large as it may ever be wanted: idle workers sleep.
        _state.workers = max(count, available_threads())
        configure(_SHARE_ALL, 0, ["0"] * _state.workers)
    if count > _state.workers:
        raise InputError(
            f"{count} threads wanted, but this Python thread has a pool of {_state.workers}, made "
            "for an earlier module or, before a fork, in the parent process",
            "call the module from a new thread, or load the one with most threads first",
        )
    configure(_SHARE_ALL, 0, ["0"] * count)
    _state.used = count


def thread_count(threads: int | None) -> int:
    """Settle how many threads a module uses.

    Parameters
    ----------
    threads : int or None
        Asked for; None takes ``TVM_NUM_THREADS``, then ``OMP_NUM_THREADS`` as
        TVM does, then the physical cores that this process may use.

    Raises
    ------
    InputError
        No integer between 1 and :data:`~tvm_mobilenet.limits.MOST_CORES`.
    """
    source = "threads"
    value: object = threads
    for variable in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        if value is None and os.environ.get(variable):
            source, value = variable, os.environ[variable]
    if value is None:
        return available_threads()
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_CORES or isinstance(value, bool):
        raise InputError(f"{source} is {value!r}", f"give a number of threads, 1 to {MOST_CORES}")
    return count


@functools.cache
def available_threads() -> int:
    """Return the physical cores that this process may use, at least 1."""
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.add(file.read().strip())
        except OSError:  # no topology published (some containers and boards): each counts
            cores.add(str(cpu))
    return max(1, len(cores))

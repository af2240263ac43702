"""Time a candidate honestly: warm, often enough, beside a control, with weights from afar.

In a network the weights of a kernel were last used a whole call ago, and its input has just
been written. So the weights take turns among as many copies as the network reads in
between, up to several times L2, and the input stays where it is.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.kernel_case import kernel_case
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.runtime.threads import use_threads
from tvm_mobilenet.target import ITEM_BYTES, LINE_BYTES
from tvm_mobilenet.tuning.generation import calls
from tvm_mobilenet.tuning.sampling import (
    CONTROLS,
    GUARD,
    MOST_COPIES,
    SAMPLE_S,
    WARM_UP_S,
    NotANumberError,
    beside,
    blank,
    judge,
    repeated,
)

Call = tuple[Any, ...]


class Stand:
    """The buffers that the candidates of one workload are run on.

    Parameters
    ----------
    fields : mapping
        Of the workload.
    cold_bytes : int
        Weights that pass between two uses of the same.

    Attributes
    ----------
    calls : iterator of tuple
        Arguments, the weights in turns, without end.
    """

    def __init__(self, fields: Mapping[str, Any], cold_bytes: int) -> None:
        self.work = Workload.from_dict(fields)
        self._case = kernel_case(self.work)
        data, *weights = self._case.inputs
        size = sum(array.nbytes for array in weights)
        copies = min(max(math.ceil(cold_bytes / size), 1), MOST_COPIES) if size else 1
        # Guards on both sides of what a candidate may write.
        space = _aligned(self._case.want.size + 2 * GUARD)
        self._guarded = space
        self._out = space[GUARD:-GUARD].reshape(self._case.want.shape)
        self._inputs = [[_copied(array) for array in weights] for _ in range(copies)]
        self._data = _copied(data)
        tensor = calls().from_dlpack
        first, last = tensor(self._data), tensor(self._out)
        self._calls: list[Call] = [(first, *map(tensor, arrays), last) for arrays in self._inputs]
        self.calls: Iterator[Call] = itertools.cycle(self._calls)

    def check(self, function: Any) -> float:
        """Run a candidate once; return its largest relative error.

        Raises
        ------
        VerificationError
            It is wrong.
        """
        self._guarded[...] = blank(self._case)
        function(*self._calls[0])
        inputs = (self._data, *self._inputs[0])
        if not all(map(np.array_equal, inputs, self._case.inputs)):
            raise VerificationError("it wrote into its inputs")
        return judge(self._case, self._guarded)


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one candidate, and time it.

    Parameters
    ----------
    request : mapping
        ``work``, ``cold_bytes``: see :class:`Stand`; ``path``: of the candidate;
        ``control``: path of the control kernel; ``threads``, ``lanes``; ``best``: seconds
        of the best known, or None.

    Returns
    -------
    dict
        ``outcome``, and ``seconds``, ``repeats``, ``spread``, ``control``, ``error``, or
        ``note``.
    """
    use_threads(calls(), request["threads"])
    stand = _stand(*_frozen(request))
    function = _function(request["path"], stand.work.key)
    try:
        error = stand.check(function)
        timed = _timed(function, stand, request)
        stand.check(function)
    except NotANumberError as error:
        return {"outcome": "nan", "note": error.what}
    except VerificationError as error:
        return {"outcome": "wrong", "note": error.what}
    return {"outcome": "ok", "error": error, **timed}


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time candidates in turns.

    Parameters
    ----------
    request : mapping
        As of :func:`measure`, with ``paths`` for ``path``, and ``rounds``.

    Returns
    -------
    dict
        ``samples``: seconds by candidate and round.
    """
    use_threads(calls(), request["threads"])
    stand = _stand(*_frozen(request))
    functions = [_function(path, stand.work.key) for path in request["paths"]]
    samples: list[list[float]] = [[] for _ in functions]
    counts = [_warm(function, stand)[1] for function in functions]
    for turn in range(request["rounds"]):
        for i in range(len(functions)):
            at = (i + turn) % len(functions)
            _sample(functions[at], stand, max(counts[at] // 4, 1))  # the caches are its own
            samples[at].append(_sample(functions[at], stand, counts[at]))
    return {"samples": samples}


def _timed(function: Any, stand: Stand, request: Mapping[str, Any]) -> dict[str, Any]:
    control = _control(request["control"], request["threads"], request["lanes"])

    def repeat() -> tuple[float, int, float]:
        once, count = _warm(function, stand)
        take = lambda number: [_sample(function, stand, count) for _ in range(number)]  # noqa: E731
        return repeated(take, once, request["best"], 1)

    return beside(control, repeat)


def _warm(function: Any, stand: Stand) -> tuple[float, int]:
    """Call until it is warm; return seconds of a call, and how many of them make a sample."""
    begin = time.perf_counter()
    done = 0
    while time.perf_counter() - begin < WARM_UP_S or done < 3:
        function(*next(stand.calls))
        done += 1
    once = (time.perf_counter() - begin) / done
    return once, max(math.ceil(SAMPLE_S / once), 1)


def _sample(function: Any, stand: Stand, count: int) -> float:
    calls = list(itertools.islice(stand.calls, count))
    begin = time.perf_counter()
    for arguments in calls:
        function(*arguments)
    return (time.perf_counter() - begin) / count


@functools.lru_cache(maxsize=1)
def _control(path: str, threads: int, lanes: int) -> Any:
    """Return what times the control kernel: the least of some calls, seconds."""
    from tvm_mobilenet.bench.peak import CHAINS

    function, tensor = _function(path, "main"), calls().from_dlpack
    x, y = _aligned(lanes), _aligned(threads * CHAINS * lanes).reshape(threads, CHAINS, lanes)
    x.fill(0.999)
    y.fill(0.0)
    arguments = tensor(x), tensor(y)

    def run() -> float:
        times = []
        for _ in range(CONTROLS):
            begin = time.perf_counter()
            function(*arguments)
            times.append(time.perf_counter() - begin)
        return min(times)

    return run


def _function(path: str, name: str) -> Any:
    return calls().load_module(path).get_function(name)


def _frozen(request: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], int]:
    fields = request["work"].items()
    frozen = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in fields)
    return frozen, request["cold_bytes"]


@functools.lru_cache(maxsize=1)
def _stand(fields: tuple[tuple[str, Any], ...], cold_bytes: int) -> Stand:
    return Stand(dict(fields), cold_bytes)


_PAGE = 4096
_places = itertools.count()


def _aligned(count: int) -> NDArray[np.float32]:
    """Return float32 at the start of a cache line, each array at another place in its page.

    At one place, loads would wait for stores to addresses that differ by a multiple of a page.
    """
    size = ITEM_BYTES["float32"] * count
    space = np.empty(size + 2 * _PAGE, np.uint8)
    line = 17 * next(_places) % (_PAGE // LINE_BYTES)
    begin = -space.ctypes.data % _PAGE + LINE_BYTES * line
    return space[begin : begin + size].view(np.float32)


def _copied(array: NDArray[np.float32]) -> NDArray[np.float32]:
    copy = _aligned(array.size).reshape(array.shape)
    copy[...] = array
    return copy

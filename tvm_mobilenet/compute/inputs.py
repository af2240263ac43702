"""The inputs of a definition: new placeholders, or tensors that a graph already has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tvm import te

from tvm_mobilenet.machine import Dtype

_given: ContextVar[Iterator[Any] | None] = ContextVar("given", default=None)


def placeholder(shape: Sequence[int], dtype: Dtype = "float32", *, name: str) -> Any:
    """Return the next input of a definition: a placeholder, unless tensors are given."""
    tensors = _given.get()
    if tensors is None:
        return te.placeholder(shape, dtype, name=name)
    return next(tensors)


@contextmanager
def given(tensors: Sequence[Any]) -> Iterator[None]:
    """Build a definition on these tensors, the inputs in order, as Relay's strategies require."""
    token = _given.set(iter(tensors))
    try:
        yield
    finally:
        _given.reset(token)

"""Where a definition's inputs come from: fresh placeholders, or a graph's own tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tvm import te

from tvm_mobilenet.target import Dtype

_given: ContextVar[Iterator[Any] | None] = ContextVar("given", default=None)


def placeholder(shape: Sequence[int], dtype: Dtype = "float32", *, name: str) -> Any:
    """Return the next input of a definition: a placeholder, unless tensors are given.

    Parameters
    ----------
    name : str
        Of a placeholder.
    """
    tensors = _given.get()
    if tensors is None:
        return te.placeholder(shape, dtype, name=name)
    return next(tensors)


@contextmanager
def given(tensors: Sequence[Any]) -> Iterator[None]:
    """Build a definition on these tensors: Relay asks for an operator's value that way.

    Parameters
    ----------
    tensors : sequence of te.Tensor
        In the order and of the shapes of the definition's inputs.
    """
    token = _given.set(iter(tensors))
    try:
        yield
    finally:
        _given.reset(token)

"""The stack of this environment: asked for once, at the top, and passed down."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tvm_mobilenet.common.stacks import installed_stack

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.adapter import StackAdapter


@functools.cache
def this_stack() -> StackAdapter:
    """Return what this environment's TVM can do, and how."""
    if installed_stack() == "relay":
        from tvm_mobilenet.compilation.relay import Relay

        return Relay()
    from tvm_mobilenet.compilation.relax import Relax

    return Relax()

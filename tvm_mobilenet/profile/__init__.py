"""Where the time of a call goes: every kernel in the network, alone, and against its bound.

In the network a kernel finds its inputs wherever the one before left them; alone
it has just used them. The difference is what memory costs. On several threads,
each thread's part of the work is timed too, which tells what threads wait for:
each other, or the pool.

``session`` measures, ``breakdown`` holds the outcome, ``roofline`` draws it.
"""

from __future__ import annotations

from tvm_mobilenet.profile.breakdown import KernelProfile, ProfileReport
from tvm_mobilenet.profile.session import profile

__all__ = ["KernelProfile", "ProfileReport", "profile"]

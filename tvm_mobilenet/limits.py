"""How large things may be: what TVM, a linker and a reader of foreign files can hold."""

from __future__ import annotations

LARGEST_TENSOR = 2**31 - 1
"""Elements: TVM's kernels index with 32-bit integers."""

LARGEST_WEIGHTS = 2**31 - 1
"""Bytes of all weights: code reaches its constants by signed 32-bit distances (the small code
model of the x86-64 and AArch64 ABIs)."""

LARGEST_RESIZE = 64
"""How many times larger than what is cut out of it an image may be made."""

MOST_CORES = 4096
"""Twice the threads of the largest machines there are."""

MOST_THREADS = 1024
"""Of a call: more are a mistake, and TVM ends the process where the system refuses one."""

MOST_TRIALS = 10**6
"""Of a tuning run: weeks, at a tenth of a second each."""

"""Largest sizes, set by what TVM, a linker and a reader of foreign files can handle."""

from __future__ import annotations

LARGEST_TENSOR = 2**31 - 1
"""Elements of a tensor: TVM's kernels index with 32-bit integers."""

LARGEST_WEIGHTS = 2**31 - 1
"""Bytes of all weights: code reaches its constants by signed 32-bit distances (the small code
model of the x86-64 and AArch64 ABIs)."""

LARGEST_RESIZE = 64
"""How many times larger than the part that is cut out an image may be resized."""

MOST_CORES = 4096
"""Twice the threads of the largest machines there are."""

MOST_THREADS = 1024
"""Threads of a call: more are a mistake, and TVM ends the process if the system refuses one."""

MOST_TRIALS = 10**6
"""Trials of a tuning run, which take weeks at a tenth of a second each."""

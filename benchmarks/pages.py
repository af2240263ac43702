"""What it costs that an artifact's pages lie anywhere: V1 from small pages and from large ones.

Two processes by turns, as one process has one copy of a file:

    python benchmarks/pages.py mobilenet.so
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TURN = """
import sys, time
import numpy as np
from tvm_mobilenet.runtime import load, private
if sys.argv[2] == "small":
    private.collapse = lambda _file: False
module = load(sys.argv[1], threads=1)
(entry,) = module.manifest["inputs"]
x = np.zeros(entry["shape"], entry["dtype"])
times, end = [], time.perf_counter() + 1.5
while time.perf_counter() < end:
    start = time.perf_counter()
    module(x)
    times.append(time.perf_counter() - start)
print(np.median(times) * 1e6)
"""


def main() -> None:
    """Print both medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    found: dict[str, list[float]] = {"small": [], "large": []}
    for _ in range(given.turns):
        for pages, times in found.items():
            command = [sys.executable, "-c", TURN, given.artifact, pages]
            times.append(float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    small, large = (statistics.median(times) for times in found.values())
    print(f"small pages {small:.1f} µs, large {large:.1f} µs: {small / large:.3f} ×")


if __name__ == "__main__":
    main()

"""Every kernel of a network in one Markdown table: its bound, alone, and inside the network.

    python benchmarks/layers.py --threads 1 --alpha 1.0 --resolution 224

What ``tvm-mobilenet profile`` measures, for a network that is compiled here and now.
"""

from __future__ import annotations

import argparse
import sys

import tvm_mobilenet as tm


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    compiled = tm.compile(tm.mobilenet_v1(alpha=options.alpha, resolution=options.resolution))
    report = tm.profile(compiled.path, threads=options.threads)

    peak = report.machine.peak_gflops
    print(f"{report.model}, {options.threads} threads, peak {peak:.0f} GFLOP/s\n")
    print("| layer | schedule | bound µs | alone µs | of peak | in the network µs | of peak |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for row in report.rows:
        spans = (row.alone_us, row.network_us)
        alone, inside = (f"{row.compute_us / span:.0%}" if row.macs else "-" for span in spans)
        print(
            f"| {' + '.join(row.layers)} | {row.schedule} | {row.bound_us:.1f} "
            f"| {row.alone_us:.1f} | {alone} | {row.network_us:.1f} | {inside} |"
        )
    sums = report.totals()
    print(f"| sum | | {sums['bound']:.0f} | {sums['alone']:.0f} | | {sums['network']:.0f} | |")
    print(f"\nOne call, from NumPy to NumPy: {report.call_us:.0f} µs.")
    if report.disturbed:
        print("Other processes used the processors meanwhile.", file=sys.stderr)


if __name__ == "__main__":
    main()

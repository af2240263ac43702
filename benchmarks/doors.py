"""One file through both doors: TVM's virtual machine, our C interface from Python and from C.

In turns in one process, each for some calls; medians over all turns, µs:

    python benchmarks/doors.py --threads 1 2
    python benchmarks/doors.py --memory    # a C program with V1 1.0/224 in it, and its start
    python benchmarks/doors.py --growth    # 10,000 loads, 1,000 threads, 1,000 contexts
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.module import Module
from tvm_mobilenet.runtime.native_library import Context
from tvm_mobilenet.runtime.private import private_copy
from tvm_mobilenet.runtime.vm import VmModule

NETWORKS: dict[str, Callable[[], Any]] = {
    "V1 0.25/128": lambda: tm.mobilenet_v1(alpha=0.25, resolution=128),
    "V3-Small": tm.mobilenet_v3_small,
    "V2": tm.mobilenet_v2,
    "V1 1.0/224": tm.mobilenet_v1,
}
TIMER = """
#include <stdint.h>
#include <time.h>
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}
void timed(int (*run)(void*, void*, void*), void* context, void* in, void* out, int n, double* us) {
  for (int i = 0; i < n; i++) {
    double begun = now();
    run(context, in, out);
    us[i] = now() - begun;
  }
}
"""
PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "net.h"
static float image[3 * 224 * 224], scores[1000];
int main(void) {
  struct timespec a, b;
  char line[128];
  const void* inputs[] = {image};
  void* outputs[] = {scores};
  net_options options = {.threads = 2};
  net_context* context;
  clock_gettime(CLOCK_MONOTONIC, &a);
  if (net_create(&options, &context) || net_run(context, inputs, outputs)) return 1;
  clock_gettime(CLOCK_MONOTONIC, &b);
  double ms = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
  printf("created and run once: %.1f ms\\n", ms);
  for (int i = 0; i < 100; i++) net_run(context, inputs, outputs);
  FILE* status = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, status)) {
    if (line[0] == 'V' && line[2] == 'R' && line[4] == 'S') printf("%s", line);
    if (line[0] == 'R' && line[1] == 's') printf("%s", line);
  }
  net_destroy(context);
  return 0;
}
"""
START = """
import time, numpy
begun = time.perf_counter()
import tvm_mobilenet as tm
module = tm.load({path!r}, threads=2)
x = numpy.zeros(module.inputs[0]["shape"], "float32")
module(x)
print((time.perf_counter() - begun) * 1e3)
"""


def ways(path: Path, threads: int, timer: Any) -> dict[str, Callable[[int], list[float]]]:
    """Return, by its name, each way to call the file: from a number of calls to their times."""
    native = tm.load(path, threads=threads)
    assert isinstance(native, Module)
    with private_copy(path) as copy:
        vm = VmModule.open(str(path), native.manifest, copy, threads, None)
    (entry,) = native.inputs
    x = aligned_empty(entry["shape"], entry["dtype"])
    x[...] = np.random.default_rng(0).standard_normal(entry["shape"])
    assert native(x).tobytes() == vm(x).tobytes()

    def python(module: Any) -> Callable[[int], list[float]]:
        def run(count: int) -> list[float]:
            times = []
            for _ in range(count):
                begun = time.perf_counter()
                module(x)
                times.append((time.perf_counter() - begun) * 1e6)
            return times

        return run

    context = Context(native._library, threads, (1, 1), str(path))
    out = aligned_empty((1, 1000), np.float32)
    context.inputs[0], context.outputs[0] = x.ctypes.data, out.ctypes.data

    def c(count: int) -> list[float]:
        found = (ctypes.c_double * count)()
        at = [ctypes.c_void_p(address) for address in context.at]
        timer.timed(native._library.run, *at, count, found)
        return list(found)

    c.held = out  # type: ignore[attr-defined]
    return {"virtual machine": python(vm), "C, from Python": python(native), "C": c}


def speed(threads: list[int], turns: int, names: list[str]) -> None:
    """Print medians and how many times faster than the virtual machine they are."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "timer.c"
        source.write_text(TIMER)
        library = str(source.with_suffix(".so"))
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(source), "-o", library], check=True)
        timer = ctypes.CDLL(library)
        for name in names:
            path = tm.compile(NETWORKS[name](), verify=False).export(Path(folder) / "net.so")
            for count in threads:
                found: dict[str, list[float]] = {}
                every = ways(path, count, timer)
                for _ in range(turns):
                    for way, run in every.items():
                        run(3)
                        found.setdefault(way, []).append(statistics.median(run(30)))
                medians = {way: statistics.median(times) for way, times in found.items()}
                first = medians["virtual machine"]
                told = ", ".join(f"{w} {t:.1f} ({first / t:.3f} x)" for w, t in medians.items())
                print(f"{name}, {count} threads: {told}", flush=True)


def memory() -> None:
    """Print what a program in C takes, and how long loading and the first inference do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = tm.compile(tm.mobilenet_v1(), prefix="net", verify=False)
        path = compiled.export(folder / "libnet.so")
        (folder / "net.h").write_text(compiled.header)
        (folder / "main.c").write_text(PROGRAM)
        made = str(folder / "main")
        link = [str(folder / "main.c"), str(path), f"-Wl,-rpath,{folder}", "-o", made]
        subprocess.run(["gcc", "-O2", *link], check=True)
        print(subprocess.run([made], check=True, stdout=subprocess.PIPE, text=True).stdout, end="")
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", START.format(path=str(path))],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout
            )
            for _ in range(7)
        ]
        print(f"Python, without NumPy's import: loaded and run once in {min(times):.1f} ms")


def state() -> tuple[float, int, int]:
    """Return MB of this process in memory, its threads, its open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks, files = (len(os.listdir(f"/proc/self/{what}")) for what in ("task", "fd"))
    return pages * os.sysconf("SC_PAGESIZE") / 1e6, tasks, files


def growth() -> None:
    """Print what loads, threads and contexts leave behind."""
    with tempfile.TemporaryDirectory() as name:
        model = tm.mobilenet_v1(alpha=0.25, resolution=32)
        path = tm.compile(model, verify=False).export(Path(name) / "net.so")
        x = np.zeros((1, 3, 32, 32), np.float32)

        def load() -> None:
            tm.load(path, threads=2)(x)

        def thread() -> None:
            one = threading.Thread(target=module, args=(x,))
            one.start()
            one.join()

        def context() -> None:
            Context(module._library, 3, (1, 1), str(path))

        load()
        for what, count, once in (
            ("loads", 10_000, load),
            ("threads", 1_000, thread),
            ("contexts", 1_000, context),
        ):
            module = tm.load(path, threads=2)
            for _ in range(100):
                once()
            before = state()
            for _ in range(count):
                once()
            after = state()
            told = ", ".join(
                f"{a:.1f} -> {b:.1f} {unit}"
                for a, b, unit in zip(before, after, ("MB", "threads", "files"), strict=True)
            )
            print(f"{count} {what}: {told}", flush=True)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=31)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--growth", action="store_true")
    given = parser.parse_args()
    if given.memory:
        memory()
    elif given.growth:
        growth()
    else:
        speed(given.threads, given.turns, given.networks)


if __name__ == "__main__":
    main()

"""Two kernels that TVM schedules itself, for tests of what loads and runs artifacts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tvm_mobilenet.artifact.sources import manifest_source
from tvm_mobilenet.machine import host
from tvm_mobilenet.runtime import artifact
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.recipe import preprocess_for

SIZE, CHANNELS, BLOCK = 12, 21, 16
WEIGHT = np.random.default_rng(0).standard_normal((CHANNELS, 3)).astype(np.float32)


def compile_network(path: Path, weight_bytes: int = 0, door: str = "tvm") -> None:
    """A pointwise layer in the blocked layout, then the sum over pixels, NCHW to NC.

    The loop over pixels is parallel. With `weight_bytes`, a constant of that size is summed up
    and added, so that the file weighs what a real one does. The `door` "c" adds the C interface
    as `compile` does; without, TVM's own pipeline makes the file.
    """
    network = _network(weight_bytes)
    if door == "c":
        from tvm_mobilenet.artifact.linking import write
        from tvm_mobilenet.artifact.toolchain import find_linker
        from tvm_mobilenet.emit.relax.codegen import generate

        code, _ = generate(SimpleNamespace(mod=network), host(), "tiny")
        made = manifest(weight_bytes > 0)
        write(made, code, find_linker(host()), path)
        artifact.write_manifest(path, made)
        return
    import tvm
    from tvm import relax

    executable = relax.build(network, tvm.target.Target(host().tvm_dict()))
    source = path.with_suffix(".c")
    source.write_text(manifest_source(8192))

    def link(output, objects, **_):
        command = ["cc", "-shared", "-fPIC", "-o", output, *objects, str(source), "-lm"]
        subprocess.run(command, check=True)

    executable.export_library(str(path), fcompile=link)
    artifact.write_manifest(path, manifest(weight_bytes > 0))


def _network(weight_bytes: int):
    import tvm
    from tvm import relax, te

    blocks = -(-CHANNELS // BLOCK)
    padded = np.zeros((blocks * BLOCK, 3), np.float32)
    padded[:CHANNELS] = WEIGHT

    def pointwise(x, w):
        k = te.reduce_axis((0, 3), "k")
        return te.compute(
            (1, blocks, SIZE * SIZE, BLOCK),
            lambda n, o, p, c: te.sum(x[n, k, p // SIZE, p % SIZE] * w[o * BLOCK + c, k], axis=k),
            name="pointwise",
        )

    def pool(x):
        p = te.reduce_axis((0, SIZE * SIZE), "p")
        return te.compute(
            (1, CHANNELS), lambda n, c: te.sum(x[n, c // BLOCK, p, c % BLOCK], axis=p), name="pool"
        )

    def add_sum(x, w):
        i, j = (te.reduce_axis((0, int(n)), a) for n, a in zip(w.shape, "ij", strict=True))
        total = te.compute((1,), lambda _: te.sum(w[i, j], axis=[i, j]), name="total")
        return te.compute((1, CHANNELS), lambda n, c: x[n, c] + total[0], name="plus")

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, SIZE, SIZE), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_te(
                pointwise, x, relax.const(padded), primfunc_name_hint="pointwise_kernel"
            )
            y = builder.emit_te(pool, y, primfunc_name_hint="pool_kernel")
            if weight_bytes:
                constant = relax.const(np.zeros((weight_bytes // 4096, 1024), np.float32))
                y = builder.emit_te(add_sum, y, constant, primfunc_name_hint="add_kernel")
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    network = builder.get()
    variable = network.get_global_var("pointwise_kernel")
    schedule = tvm.s_tir.Schedule(network[variable])
    loops = schedule.get_loops(schedule.get_sblock("pointwise"))
    schedule.parallel(next(loop for loop in loops if int(schedule.get(loop).extent) == SIZE**2))
    network.update_func(
        variable, schedule.mod["main"].with_attr("global_symbol", "pointwise_kernel")
    )
    return network


_PLAIN = {"operator": "test", "schedule": "tvm", "source": "fallback", "knobs": {}, "macs": 0}


def manifest(heavy: bool = False) -> dict[str, object]:
    spec = host()
    return {
        "format": 1,
        "producer": "test",
        "stack": "relax",
        "tvm": "0.27.0.post1",
        "tvm_ffi": "0.1.14.post1",
        "model": {"name": "tiny", "options": {}},
        "title": "Tiny",
        "macs": CHANNELS * 3 * SIZE**2,
        "params": CHANNELS * 3,
        "inputs": [
            {"name": "x", "shape": [1, 3, SIZE, SIZE], "dtype": "float32", "layout": "NCHW"}
        ],
        "outputs": [{"name": "y", "shape": [1, CHANNELS], "dtype": "float32", "layout": "NC"}],
        "preprocess": preprocess_for(SIZE),
        "target": spec.to_dict(),
        "machine": spec.machine,
        "os": spec.os,
        "needs": list(spec.needs),
        "weights": {"source": "seed:0", "sha256": "0" * 64},
        "calls": [
            {
                "kernel": "pointwise_kernel",
                "layers": ["pointwise"],
                **_PLAIN,
                "output": {"layout": "NCHWc", "shape": [1, CHANNELS, SIZE, SIZE], "block": BLOCK},
            },
            {
                "kernel": "pool_kernel",
                "layers": ["pool"],
                **_PLAIN,
                "output": {"layout": "NC", "shape": [1, CHANNELS]},
            },
            *[
                {
                    "kernel": "add_kernel",
                    "layers": ["add"],
                    **_PLAIN,
                    "output": {"layout": "NC", "shape": [1, CHANNELS]},
                }
            ]
            * heavy,
        ],
    }


def example(seed: int = 1) -> np.ndarray:
    x = aligned_empty((1, 3, SIZE, SIZE), np.float32)
    x[:] = np.random.default_rng(seed).standard_normal(x.shape)
    return x


def expected(x: np.ndarray) -> np.ndarray:
    return np.einsum("oc,nchw->no", WEIGHT.astype(np.float64), np.asarray(x, np.float64))


def assert_right(y: np.ndarray, x: np.ndarray) -> None:
    assert y.dtype == np.float32
    assert y.shape == (1, CHANNELS)
    np.testing.assert_allclose(y, expected(x), atol=1e-4)

"""A small network through TVM's runtime library: what goes in, what comes out, what is loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tvm_mobilenet.errors import ArtifactError, InputError, RuntimeLibraryError
from tvm_mobilenet.runtime import Module, artifact, library, load
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.module import unblocked
from tvm_mobilenet.runtime.threads import available_threads, thread_count
from tvm_mobilenet.sources import manifest_source
from tvm_mobilenet.target import host

SIZE, CHANNELS, BLOCK = 12, 21, 16
ROOT = Path(__file__).parents[2]
WEIGHT = np.random.default_rng(0).standard_normal((CHANNELS, 3)).astype(np.float32)


def compile_network(path: Path, weight_bytes: int = 0) -> None:
    """A pointwise layer in the blocked layout, then the sum over pixels, NCHW to NC.

    The loop over pixels is parallel. With `weight_bytes`, a constant of that size is summed up
    and added, so that the file weighs what a real one does.
    """
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
    executable = relax.build(network, tvm.target.Target(host().tvm_dict()))

    source = path.with_suffix(".c")
    source.write_text(manifest_source(8192))

    def link(output, objects, **_):
        command = ["cc", "-shared", "-fPIC", "-o", output, *objects, str(source), "-lm"]
        subprocess.run(command, check=True)

    executable.export_library(str(path), fcompile=link)
    artifact.write_manifest(path, manifest())


def manifest() -> dict[str, object]:
    spec = host()
    return {
        "format": 1,
        "producer": "test",
        "stack": "relax",
        "tvm": "0.27.0.post1",
        "tvm_ffi": "0.1.14.post1",
        "model": {"name": "tiny", "options": {}},
        "title": "Tiny",
        "inputs": [
            {"name": "x", "shape": [1, 3, SIZE, SIZE], "dtype": "float32", "layout": "NCHW"}
        ],
        "outputs": [{"name": "y", "shape": [1, CHANNELS], "dtype": "float32", "layout": "NC"}],
        "preprocess": {},
        "target": spec.to_dict(),
        "machine": spec.machine,
        "os": spec.os,
        "needs": list(spec.needs),
        "weights": {"source": "seed:0", "sha256": "0" * 64},
        "calls": [
            {
                "kernel": "pointwise_kernel",
                "layers": ["pointwise"],
                "output": {"layout": "NCHWc", "shape": [1, CHANNELS, SIZE, SIZE], "block": BLOCK},
            },
            {
                "kernel": "pool_kernel",
                "layers": ["pool"],
                "output": {"layout": "NC", "shape": [1, CHANNELS]},
            },
        ],
    }


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runtime") / "tiny.so"
    compile_network(path)
    return path


@pytest.fixture(scope="session")
def module(path: Path) -> Module:
    return load(path)


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


def test_the_output_is_right_fresh_and_writable(module: Module) -> None:
    x = example()
    first = module(x)
    kept = first.copy()
    second = module(-2 * x)
    assert_right(first, x)
    assert_right(second, -2 * x)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    second[:] = 7
    assert_right(module(x), x)


def test_what_the_module_says_of_itself(module: Module, path: Path) -> None:
    assert module.manifest == artifact.read_manifest(path)
    assert module.title == "Tiny"
    assert module.inputs[0]["shape"] == [1, 3, SIZE, SIZE]
    assert module.outputs[0]["name"] == "y"
    assert "Tiny" in repr(module)


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_any_alignment_is_right(module: Module, offset: int) -> None:
    """An address that vector loads cannot take would end the process."""
    x = example()
    raw = aligned_empty((x.nbytes + 64,), np.uint8)
    shifted = raw[offset : offset + x.nbytes].view(np.float32).reshape(x.shape)
    shifted[:] = x
    assert_right(module(shifted), x)


def test_aligned_input_is_read_in_place(module: Module) -> None:
    module(example())
    x = example()
    read_only = x.view()
    read_only.flags.writeable = False
    staging = module._binding.staging
    assert staging.tensor(x).data_ptr() == x.ctypes.data
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert staging.tensor(read_only).data_ptr() == x.ctypes.data
    assert_right(module(read_only), x)


def test_other_strides_are_copied(module: Module) -> None:
    x = example()
    staging = module._binding.staging
    nhwc_in_memory = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (nhwc_in_memory, x[:, :, ::-1], np.broadcast_to(x[:, :1], x.shape)):
        assert staging.tensor(other).data_ptr() != other.ctypes.data
        assert_right(module(other), other)


class Foreign:
    """An array of another library: nothing but DLPack."""

    def __init__(self, x: np.ndarray, device: tuple[int, int] = (1, 0), error: str = "") -> None:
        self.x, self.device, self.error = x, device, error

    def __dlpack__(self, **options: object) -> object:
        if self.error:
            raise BufferError(self.error)
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_dlpack_is_read_in_place(module: Module) -> None:
    import tvm_ffi

    x = example()
    staging = module._binding.staging
    for foreign in (Foreign(x), tvm_ffi.from_dlpack(x)):
        assert staging.tensor(foreign).data_ptr() == x.ctypes.data
        assert_right(module(foreign), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.astype(np.float64), r"is float64 .* expected float32.*\n.*astype"),
        (lambda x: (x * 9).astype(np.uint8), "is uint8"),
        (lambda x: x[0], r"batch axis is missing: give x\[None\]"),
        (lambda x: x.transpose(0, 2, 3, 1), "this is NHWC"),
        (lambda x: x[0].transpose(1, 2, 0), "one image, HWC"),
        (lambda x: np.repeat(x, 4, axis=0), "compile it with batch=4"),
        (lambda x: x[:, :, :8, :8], f"scale the images to {SIZE} × {SIZE}"),
        (lambda x: x.ravel(), r"give shape \(1, 3, 12, 12\)"),
        (lambda x: x.tolist(), "is a list"),
        (lambda x: None, "is a NoneType"),
        (lambda x: "photo.jpg", "is a str"),
        (lambda x: Foreign(x, device=(2, 0)), "is on cuda"),
        (lambda x: Foreign(x, device=(99, 0)), "is on DLPack device 99"),
        (lambda x: Foreign(x, error="requires grad"), r"requires grad[\s\S]*detach"),
        (lambda x: Foreign(x.astype(np.float64)), "is float64"),
    ],
)
def test_what_does_not_fit_is_refused(module: Module, make, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        module(make(example()))
    assert "input 'x'" in caught.value.what
    assert "expected float32 of shape (1, 3, 12, 12) (NCHW)" in caught.value.what


def test_a_batch_model_says_so_to_one_image(path: Path, tmp_path: Path) -> None:
    from tvm_mobilenet.runtime.inputs import Expected

    record = {"name": "x", "shape": [8, 3, 4, 4], "dtype": "float32", "layout": "NCHW"}
    with pytest.raises(InputError, match="8 images at a time: compile it with batch=1"):
        Expected(record).check((1, 3, 4, 4), np.dtype(np.float32))


def test_threads_calling_one_module_get_their_own_answers(module: Module) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        try:
            inputs = [example(10 * seed + i) for i in range(5)]
            barrier.wait(10)
            for _ in range(40):
                for x in inputs:
                    assert_right(module(x), x)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_the_number_of_threads(path: Path, monkeypatch) -> None:
    import os

    import tvm_ffi

    before = os.sched_getaffinity(0)
    running = tvm_ffi.get_global_func("runtime.NumThreads")
    one, all_of_them = load(path, threads=1), load(path)
    x = example()
    for module, threads in ((one, 1), (all_of_them, available_threads()), (one, 1)):
        assert_right(module(x), x)
        assert module.threads == threads
        assert running() == threads
    assert os.sched_getaffinity(0) == before, "the caller must not be pinned"
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    assert load(path).threads == 1
    assert load(path, threads=3).threads == 3


@pytest.mark.parametrize("threads", [0, -1, "two", 1.5, True])
def test_a_number_of_threads_that_is_none_is_refused(threads) -> None:
    with pytest.raises(InputError, match="threads is"):
        thread_count(threads)


def test_a_bad_environment_variable_is_named(monkeypatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "many")
    with pytest.raises(InputError, match="TVM_NUM_THREADS is 'many'"):
        thread_count(None)


def test_more_threads_than_the_pool_has_are_refused(path: Path) -> None:
    load(path, threads=1)(example())
    with pytest.raises(InputError, match="has a pool of"):
        load(path, threads=1000)(example())


FORKING = """
import os, sys, threading
import numpy as np
from tvm_mobilenet.errors import InputError
import tvm_mobilenet.runtime as runtime
two, one = (runtime.load(sys.argv[1], threads=n) for n in (2, 1))
x = np.ones((1, 3, 12, 12), np.float32)
want = two(x)
child = os.fork()
if child == 0:
    status = 1
    try:
        two(x)
    except InputError as error:
        answers = [one(x)]
        thread = threading.Thread(target=lambda: answers.append(two(x)))
        thread.start()
        thread.join()
        right = all((answer == want).all() for answer in answers)
        status = 0 if right and "fork" in str(error) and len(answers) == 2 else 2
    finally:
        os._exit(status)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_is_told_and_does_not_hang(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(path)]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_trace_is_in_plain_layout(module: Module) -> None:
    x = example()
    pointwise, pool = module.trace(x)
    assert pointwise.call["layers"] == ["pointwise"]
    want = np.einsum("oc,nchw->nohw", WEIGHT, x)
    assert pointwise.output.shape == want.shape
    np.testing.assert_allclose(pointwise.output, want, atol=1e-5)
    assert_right(pool.output, x)
    assert_right(module(x), x)


def test_unblocking_equals_its_definition() -> None:
    blocked = np.arange(2 * 2 * 6 * 4, dtype=np.float32).reshape(2, 2, 6, 4)
    plain = unblocked(blocked, {"layout": "NCHWc", "shape": [2, 7, 2, 3], "block": 4})
    for n, c, h, w in np.ndindex(plain.shape):
        assert plain[n, c, h, w] == blocked[n, c // 4, h * 3 + w, c % 4]


def test_the_profile_has_every_kernel(module: Module) -> None:
    profile = module.profile(example(), repeats=5)
    assert [call["kernel"] for call, _ in profile.calls] == ["pointwise_kernel", "pool_kernel"]
    assert all(0 < span < 1e5 for _, span in profile.calls)
    assert 0 < profile.total < 1e5


def test_a_manifest_that_lists_other_kernels_is_noticed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(path.read_bytes())
    calls = manifest()["calls"]
    artifact.write_manifest(other, {**manifest(), "calls": [*calls, calls[0]]})
    with pytest.raises(ArtifactError, match="ran 2 kernels, its manifest lists 3"):
        load(other).trace(example())


def test_plain_tvm_loads_the_same_file(path: Path) -> None:
    import tvm

    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    x = example()
    assert_right(machine["main"](tvm.runtime.tensor(x)).numpy(), x)


def test_a_missing_runtime_library_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("TVM_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(RuntimeLibraryError, match=r"no libtvm_runtime\.so in .*[\s\S]*pip install"):
        library.find_runtime()


CHILD = """
import sys, time
start = time.perf_counter()
import numpy as np
import tvm_mobilenet.runtime as runtime
module = runtime.load(sys.argv[1], threads=1)
x = np.ones((1, 3, 12, 12), np.float32)
y = module(x)
seconds = time.perf_counter() - start
maps = open("/proc/self/maps").read()
assert "libtvm_runtime.so" in maps
assert "libtvm_compiler" not in maps, "the compiler is mapped"
assert "tvm" not in sys.modules, "tvm is imported"
# Not ru_maxrss, which a child inherits from whoever started it.
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(seconds, peak, *y[0, :2])
"""


def test_a_fresh_process_needs_the_runtime_library_alone(path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    seconds, peak, *y = map(float, result.stdout.split())
    print(f"import, load and first inference {seconds:.2f} s, peak {peak:.0f} MB")
    np.testing.assert_allclose(y, 144 * WEIGHT[:2].sum(axis=1), rtol=1e-4)
    # 0.13 s and 62 MB where measured.
    assert seconds < 1.0
    assert peak < 100


def test_what_memory_a_file_of_real_size_takes(path: Path, tmp_path: Path) -> None:
    """Constants of TVM's virtual machine exist four times while they are read."""
    heavy = tmp_path / "heavy.so"
    compile_network(heavy, weight_bytes=17 << 20)
    peaks = []
    for file in (path, heavy):
        command = [sys.executable, "-c", CHILD, str(file)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(result.stdout.split()[1]))
    print(f"peak {peaks[0]:.0f} MB, with 17 MiB of constants {peaks[1]:.0f} MB")
    assert peaks[1] - peaks[0] < 4.2 * 17

"""The comparison itself: arithmetic, isolation, peers, and the processor's peak."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet.bench import peak, peers
from tvm_mobilenet.bench.comparison import OURS, PEAK, ROUNDED, BenchReport, Row, geometric_mean
from tvm_mobilenet.bench.litert_files import write_tflite
from tvm_mobilenet.bench.ncnn_files import write_ncnn
from tvm_mobilenet.bench.pool import Worker, workers
from tvm_mobilenet.bench.rounds import check_batch, check_numbers, timed_round
from tvm_mobilenet.bench.session import _write_for_peers
from tvm_mobilenet.errors import InputError, PeerError
from tvm_mobilenet.machine import PRESETS, host
from tvm_mobilenet.models import build, mobilenet_v1, reference
from tvm_mobilenet.models.initialization import initialize
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.spec import Activate, Conv2d, Dense, Layer, Model
from tvm_mobilenet.network.fold import folded
from tvm_mobilenet.verify.artifact import sample_input


def report(*extra: Row) -> BenchReport:
    rows = (
        Row(OURS, 1, median_ms=5.0, p10_ms=4.9, p90_ms=5.2),
        Row("onnxruntime", 1, median_ms=6.0, p10_ms=5.9, p90_ms=6.2, relative_error=1e-6),
        *extra,
    )
    return BenchReport("MobileNet V1 1.0/224", 500_000_000, {1: 250.0}, rows)


def test_bound_ratio_and_share() -> None:
    made = report()
    assert made.bound_ms == {1: pytest.approx(4.0)}
    assert made.ratio == {1: {"onnxruntime": pytest.approx(1.2)}}
    assert made.gflops(made.rows[0]) == pytest.approx(200.0)
    assert made.share(made.rows[0]) == pytest.approx(0.8)


def test_json_is_that_of_the_issue() -> None:
    data = report().to_dict()
    assert list(data) == ["model", "batch", "contexts", "bound_ms", "rows", "ratio"]
    assert data["model"] == "MobileNet V1 1.0/224"
    assert list(data["bound_ms"]) == ["1"]
    assert data["rows"][0] == {
        "runtime": "tvm_mobilenet",
        "version": "",
        "threads": 1,
        "median_ms": 5.0,
        "min_ms": None,
        "p10_ms": 4.9,
        "p90_ms": 5.2,
        "p99_ms": None,
        "max_ms": None,
        "calls": 0,
        "images_per_second": 200.0,
    }
    assert data["ratio"] == {"1": {"onnxruntime": pytest.approx(1.2)}}


@pytest.mark.parametrize("error", [2e-3, math.nan, math.inf])
def test_another_network_is_flagged(error: float) -> None:
    odd = Row("ncnn", 1, 1.0, 1.0, 1.0, relative_error=error)
    assert report(odd).disagreeing == (odd,)
    assert report().disagreeing == ()


def test_a_busy_machine_shows() -> None:
    made = report()
    assert not made.disturbed
    assert not dataclasses.replace(made, peak_spread={1: 1.02, 2: 1.05}).disturbed
    assert dataclasses.replace(made, peak_spread={1: 1.02, 2: 1.5}).disturbed


def test_geometric_mean() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert math.isnan(geometric_mean([]))


def test_round_times_every_call_after_warming() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    times = timed_round(call, 0.02)
    assert 0 < len(times) < calls
    assert min(times) >= 0
    assert len(timed_round(call, 1e-9)) == 1


def test_unknown_and_missing_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match="did you mean 'onnxruntime'"):
        peers.check_peers(["onnxruntim"])
    monkeypatch.setitem(peers.PEERS, "runtime_that_nobody_has", peers.open_ncnn)
    with pytest.raises(PeerError, match=r"tvm-mobilenet\[bench\]"):
        peers.check_peers(["runtime_that_nobody_has"])


@pytest.mark.parametrize(
    ("threads", "rounds", "seconds"),
    [((), 1, 1.0), ((0,), 1, 1.0), ((100_000,), 1, 1.0), ((1,), 0, 1.0), ((1,), 1, math.nan)],
)
def test_numbers_that_make_no_sense(threads: tuple[int, ...], rounds: int, seconds: float) -> None:
    with pytest.raises(InputError):
        check_numbers(threads, rounds, seconds)


@pytest.fixture(scope="module")
def small() -> tuple[Model, dict[str, Any]]:
    # An odd size, so that padding differs between sides.
    model = mobilenet_v1(alpha=0.25, resolution=49, classes=10)
    return model, initialize(model, 1)


def request_for(runtime: str, folder: Path, threads: int = 1) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "threads": threads,
        "folder": str(folder),
        "input": str(folder / "input.npy"),
        "output": str(folder / f"{runtime}.npy"),
        "target": host().to_dict(),
    }


@pytest.fixture
def folder(tmp_path: Path, small: tuple[Model, dict[str, Any]]) -> Path:
    model, weights = small
    x = np.random.default_rng(0).standard_normal(model.input_shape, np.float32)
    np.save(tmp_path / "input.npy", x)
    _write_for_peers(Network(model, weights, "arrays"), tuple(peers.PEERS), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", peers.FLOAT32)
def test_a_peer_computes_the_same_network(
    name: str, folder: Path, small: tuple[Model, dict[str, Any]]
) -> None:
    model, weights = small
    with workers([request_for(name, folder)]) as (worker,):
        assert min(worker.round(0.01)) > 0
        assert min(worker.round(0.01)) > 0  # it comes back after having been stopped
    want = reference.run(model, weights, np.load(folder / "input.npy"))
    assert reference.relative_error(np.load(folder / f"{name}.npy"), want) < 1e-4


def test_openvino_as_installed_is_bfloat16_or_refused(
    folder: Path, small: tuple[Model, dict[str, Any]]
) -> None:
    import openvino

    model, weights = small
    x = np.load(folder / "input.npy")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(PeerError, match="no bfloat16"):
            peers.open_openvino_bf16(folder, 1, x)
        return
    got = peers.open_openvino_bf16(folder, 1, x)()
    assert 1e-3 < reference.relative_error(got, reference.run(model, weights, x)) < ROUNDED


def state_of(worker: Worker) -> str:
    stat = Path(f"/proc/{worker._process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_only_one_worker_runs_at_a_time(folder: Path) -> None:
    with workers([request_for("onnxruntime", folder), request_for("ncnn", folder)]) as started:
        assert [state_of(worker) for worker in started] == ["T", "T"]
        started[0].round(0.01)
        assert [state_of(worker) for worker in started] == ["T", "T"]
        processes = [worker._process for worker in started]
    assert [process.poll() for process in processes] == [-9, -9]


def test_a_peer_that_fails_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "input.npy", np.zeros((1, 3, 49, 49), np.float32))
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(PeerError, match="onnxruntime failed on 1 threads"):
        Worker(request_for("onnxruntime", tmp_path))


def test_a_peer_that_dies_is_named(folder: Path) -> None:
    with workers([request_for("ncnn", folder)]) as (worker,):
        worker._process.kill()
        with pytest.raises(PeerError, match="the process of ncnn died: Killed"):
            worker.round(0.01)


FAMILIES: dict[str, dict[str, Any]] = {
    **{name: {"alpha": 0.5} for name in ("v1", "v2", "v3-large", "v3-small", "v4-conv-small")},
    "efficientnet-lite0": {},
    "mnasnet-a1": {"alpha": 0.5},
    "mobileone-s0": {},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_ncnn_computes_every_model(name: str, tmp_path: Path, capfd: Any) -> None:
    import ncnn

    model = build(name, resolution=64, classes=20, **FAMILIES[name])
    weights = initialize(model)
    files = tmp_path / "a.param", tmp_path / "a.bin"
    write_ncnn(model, weights, *files)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(files[0])) == net.load_model(str(files[1])) == 0
    x = sample_input(model.input_shape)
    extractor = net.create_extractor()
    extractor.input("input", ncnn.Mat(x[0]))
    _, got = extractor.extract("softmax")
    want = reference.run(model, weights, x)[0]
    assert reference.relative_error(np.array(got).ravel(), want) < 1e-5
    assert "deprecated" not in capfd.readouterr().err


def litert_error(model: Model, folder: Path) -> float:
    """Return how far LiteRT is from the reference on a model with weights of seed 0."""
    weights = initialize(model)
    write_tflite(model, weights, folder / peers.TFLITE_FILE)
    x = sample_input(model.input_shape)
    got = peers.open_litert(folder, 1, x)()
    return reference.relative_error(got, reference.run(model, weights, x))


@pytest.mark.parametrize("name", FAMILIES)
def test_litert_computes_every_model(name: str, tmp_path: Path) -> None:
    model = build(name, resolution=64, classes=20, batch=2, **FAMILIES[name])
    assert litert_error(model, tmp_path) < 1e-5


_MAP = (1, 8, 7, 9)


def conv(**more: Any) -> Conv2d:
    options: dict[str, Any] = {"out_channels": 8, "kernel": (3, 3), "bias": True, **more}
    return Conv2d(name="c", inputs=("input",), in_shape=_MAP, **options)


@pytest.mark.parametrize(
    "layer",
    [
        conv(padding=(1, 1, 1, 1), strides=(2, 1)),  # TensorFlow's own on no side
        conv(padding=(0, 2, 1, 0), activation="relu"),
        conv(groups=2, activation="relu6"),
        conv(groups=8, out_channels=16, activation="hardswish"),  # depthwise, two for each
        conv(groups=8, padding=(1, 1, 1, 1), batch_norm=1e-3, activation="hardsigmoid"),
        *(Activate("a", ("input",), _MAP, kind) for kind in ("relu", "hardswish", "hardsigmoid")),
        Dense("d", ("input",), (3, 5), 4, bias=False, activation="hardsigmoid"),
        LpNormalization("n", ("input",), (3, 5)),
    ],
    ids=lambda layer: f"{layer.name}-{getattr(layer, 'activation', '')}",
)
def test_litert_computes_every_layer(layer: Layer, tmp_path: Path) -> None:
    assert litert_error(Model("m", "M", {}, layer.in_shape, (layer,)), tmp_path) < 1e-6


def test_what_litert_lacks_is_named(tmp_path: Path) -> None:
    layer = Layer("strange", ("input",), _MAP)
    with pytest.raises(PeerError, match="Layer 'strange' is not written for LiteRT yet"):
        write_tflite(Model("m", "M", {}, _MAP, (layer,)), {}, tmp_path / peers.TFLITE_FILE)


def test_ncnn_takes_one_image(tmp_path: Path) -> None:
    model = mobilenet_v1(alpha=0.25, resolution=32, classes=10, batch=2)
    with pytest.raises(PeerError, match="one image"):
        write_ncnn(model, initialize(model), tmp_path / "a.param", tmp_path / "a.bin")


def test_folding_is_batch_norm() -> None:
    layer = Conv2d(
        name="c",
        inputs=("input",),
        in_shape=(1, 3, 5, 5),
        out_channels=4,
        kernel=(3, 3),
        bias=True,
        batch_norm=1e-3,
    )
    rng = np.random.default_rng(0)
    weights = {k: rng.uniform(0.5, 1.5, s) for k, s in layer.parameters.items()}
    affine = folded(layer, weights)
    x = rng.standard_normal((1, 3, 5, 5))
    plain = Conv2d(
        name="c", inputs=("input",), in_shape=x.shape, out_channels=4, kernel=(3, 3), bias=True
    )
    got = reference.run_layer(plain, {"c.weight": affine.weight, "c.bias": affine.bias}, x)
    np.testing.assert_allclose(got, reference.run_layer(layer, weights, x), rtol=1e-5)


@pytest.mark.parametrize("name", ["native", "x86-64", "x86-64-v3", "x86-64-v4", "rpi4"])
def test_peak_kernel_stays_in_registers(name: str) -> None:
    """Between the first and the last multiply-add of the loop, nothing touches the stack."""
    import re

    import tvm

    spec = host() if name == "native" else PRESETS[name]
    built = tvm.compile(
        peak.chains_module(1, spec.lanes), target=tvm.target.Target(spec.tvm_dict())
    )
    assembly = built.mod.inspect_source("asm")
    if spec.machine == "aarch64":
        multiply, spill = r"\bfml[as]\b|\bfmadd\b|\bfmla\.4s", r"\b(str|ldr)\s+q\d+, \[sp"
    else:
        multiply = r"vfm\w*ps" if spec.fma else r"\bv?mulps"
        spill = r"[xyz]mm\d+, -?\d*\(%[re]sp\)|\(%[re]sp\), %[xyz]mm"
    found = list(re.finditer(multiply, assembly))
    assert len(found) >= peak.CHAINS
    assert not re.findall(spill, assembly[found[0].start() : found[-1].end()])


def test_measured_peak_is_of_this_processor() -> None:
    """Between one scalar multiply-add a nanosecond and what no processor reaches."""
    with workers([{**request_for(PEAK, Path()), "threads": 1}]) as (worker,):
        times = worker.round(0.1)
    gflops = worker.operations / float(np.median(times)) / 1e9
    lanes = host().lanes
    assert 2 * lanes * 0.2 < gflops < 2 * lanes * 4 * 6


def test_worker_runs_with_this_interpreter(folder: Path) -> None:
    with workers([request_for("ncnn", folder)]) as (worker,):
        assert worker._process.args[0] == sys.executable  # type: ignore[index]


# Turns, batches, contexts.


def test_iterations_are_counted_and_the_warm_up_is_not_timed() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    assert len(timed_round(call, 10.0, iterations=7, warmup=0.0)) == 7
    assert calls == 8  # one to warm up
    assert len(timed_round(call, 1e-9, iterations=3)) == 3
    before = calls
    timed_round(call, 1e-9, warmup=0.01, iterations=1)
    assert calls > before + 2


def test_a_row_sums_its_calls_up() -> None:
    row = Row.of("ncnn", 1, [0.001 * i for i in range(1, 102)], contexts=2)
    assert (row.min_ms, row.median_ms, row.max_ms) == pytest.approx((1.0, 51.0, 101.0))
    assert row.p99_ms == pytest.approx(100.0)
    assert row.calls == 101
    assert row.calls_per_second == pytest.approx(2 / 0.051)


def test_contexts_and_batches_count_in_the_throughput_and_the_bound() -> None:
    row = Row.of(OURS, 1, [0.01, 0.01], contexts=2)
    made = BenchReport("net", 100_000_000, {1: 100.0}, (row,), batch=8, contexts=2)
    assert made.images_per_second(row) == pytest.approx(8 * 2 * 100)
    # 2 × 0.1 GMAC at a time, at 100 GFLOP/s of both cores together.
    assert made.bound_ms == {1: pytest.approx(4.0)}
    assert made.share(row) == pytest.approx(0.4)
    assert made.table().title == "net, batch 8, 2 contexts at a time"


def test_rows_beyond_the_peak_are_told() -> None:
    row = Row.of(OURS, 1, [0.001])
    made = BenchReport("net", 100_000_000, {1: 100.0}, (row,))
    assert "measured low" in " ".join(made.table().notes)
    assert "measured low" not in " ".join(report().table().notes)


@pytest.mark.parametrize(
    "options",
    [
        {"contexts": 0},
        {"contexts": 100_000},
        {"iterations": 0},
        {"warmup": -1.0},
        {"warmup": math.inf},
    ],
)
def test_turns_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        check_numbers((1,), 1, 1.0, **options)


def test_another_batch_is_refused() -> None:
    manifest = {"inputs": [{"shape": [4, 3, 8, 8]}]}
    check_batch(manifest, "net.so", None)
    check_batch(manifest, "net.so", 4)
    with pytest.raises(InputError, match=r"net\.so takes 4 images a call, not 8"):
        check_batch(manifest, "net.so", 8)

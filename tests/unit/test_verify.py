"""The verifier accepts what is right to rounding, and names what is not."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from fake_module import MODEL, NAMES, WEIGHTS, Fake

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.spec import (
    INPUT,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.runtime.instrument import Trace
from tvm_mobilenet.verify.artifact import sample_input, verify
from tvm_mobilenet.verify.bound import guaranteed_bound


def test_a_right_module_passes() -> None:
    report = verify(Fake(), MODEL, WEIGHTS)
    report.check()
    assert report.passed
    assert [row.layers[0] for row in report.rows] == NAMES
    assert all(row.alone <= row.tolerance < 1e-4 for row in report.rows)
    assert report.rows[0].alone > 0
    assert report.relative < 1e-6
    assert report.to_dict()["tolerance"] == 1e-5


def test_layers_in_one_kernel_are_checked_together() -> None:
    pairs = [[f"block{i}.dw", f"block{i}.pw"] for i in range(1, 14)]
    groups = [["conv1"], *pairs, ["pool"], ["classifier", "softmax"]]
    report = verify(Fake(groups=groups), MODEL, WEIGHTS)
    report.check()
    assert report.rows[1].layers == ("block1.dw", "block1.pw")
    # Neither is excused by what it is fused with.
    for bad in ("block4.dw", "classifier"):
        fake = Fake(groups=groups, spoil={bad: lambda y: y * np.float32(1.001)})
        with pytest.raises(VerificationError, match=bad):
            verify(fake, MODEL, WEIGHTS).check()


@pytest.mark.parametrize(
    "name", ["conv1", "block1.dw", "block7.pw", "block13.dw", "pool", "softmax"]
)
def test_the_first_wrong_layer_is_named_and_the_later_ones_are_not(name: str) -> None:
    fake = Fake(spoil={name: lambda y: y * np.float32(1 + 1e-4)})
    report = verify(fake, MODEL, WEIGHTS)
    assert [row.layers[0] for row in report.rows if not row.passed] == [name]
    with pytest.raises(VerificationError, match=rf"layer {name} \(k_{name}\) is wrong.*1\.00e-04"):
        report.check()


def test_one_wrong_element_is_found() -> None:
    def spoil(y):
        y[0, 3, 0, 0] += 0.01
        return y

    with pytest.raises(VerificationError, match=r"block2\.pw"):
        verify(Fake(spoil={"block2.pw": spoil}), MODEL, WEIGHTS).check()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    def spoil(y):
        y = y.copy()
        y.flat[1] = value
        return y

    for fake in (Fake(spoil={"softmax": spoil}), Fake(after=spoil)):
        report = verify(fake, MODEL, WEIGHTS)
        assert not report.passed
        with pytest.raises(VerificationError):
            report.check()
    with pytest.raises(VerificationError, match=r"block3\.dw"), np.errstate(invalid="ignore"):
        verify(Fake(spoil={"block3.dw": spoil}), MODEL, WEIGHTS).check()


def test_a_wrong_output_after_right_layers_is_found() -> None:
    with pytest.raises(VerificationError, match="each layer alone is right"):
        verify(Fake(after=lambda y: y[:, ::-1]), MODEL, WEIGHTS).check()


def test_a_confident_network_is_judged_by_its_logits() -> None:
    """Softmax magnifies what is right to rounding; what is not, it does not excuse."""
    weights = dict(WEIGHTS)
    # Two classes tie far above the rest: their shares hang on the last digits of their logits.
    weights["classifier.weight"] = np.zeros_like(WEIGHTS["classifier.weight"])
    weights["classifier.weight"][:2] = 0.5
    weights["classifier.bias"] = np.zeros_like(WEIGHTS["classifier.bias"])

    def off_by(relative: float):
        signs = np.where(np.arange(10) % 2, 1, -1)
        module = Fake(
            weights=weights,
            spoil={"classifier": lambda y: (y * (1 + relative * signs)).astype(np.float32)},
        )
        return verify(module, MODEL, weights)

    report = off_by(3e-6)
    assert report.relative > 1e-5
    assert report.tolerance > 1e-5
    report.check()
    report = off_by(3e-5)
    assert report.tolerance == 1e-5
    assert not report.passed


def test_other_weights_fail() -> None:
    with pytest.raises(VerificationError, match="conv1"):
        verify(Fake(weights=initialize(MODEL, seed=4)), MODEL, WEIGHTS).check()


def test_another_models_artifact_is_refused() -> None:
    with pytest.raises(VerificationError, match="not those of"):
        verify(Fake(groups=[[name] for name in NAMES[:-1]]), MODEL, WEIGHTS)


def test_an_activation_of_another_shape_is_refused() -> None:
    fake = Fake()
    whole = fake.trace
    fake.trace = lambda x: [Trace(t.call, t.output[:, :4]) for t in whole(x)]
    with pytest.raises(VerificationError, match="conv1 has shape"):
        verify(fake, MODEL, WEIGHTS)


def cancelling() -> tuple[Model, dict[str, np.ndarray], np.ndarray]:
    """A dot product whose terms cancel to a thousandth of a millionth of their size."""
    dense = Dense("fc", (INPUT,), (1, 512), out_features=1, bias=False)
    model = Model("m", "Cancelling", {}, (1, 512), (dense,))
    rng = np.random.default_rng(0)
    w = rng.uniform(1, 2, (1, 512)).astype(np.float32)
    x = np.ones((1, 512), np.float32)
    x[0, 256:] = -1
    w[0, 256:] = w[0, :256]
    w[0, 0] += np.float32(2**-20)
    return model, {"fc.weight": w}, x


def test_rounding_that_cancellation_magnifies_is_accepted_up_to_its_bound() -> None:
    model, weights, x = cancelling()
    exact = reference.run(model, weights, x)
    # 512 terms of about 1.5 may lose 520 * 2**-24 * 768 = 0.024, against a sum of 1e-6.
    for error, fine in ((2e-2, True), (3e-2, False)):
        module = Fake(model, weights, spoil={"fc": lambda y, e=error: y + np.float32(e)})
        row = verify(module, model, weights, x).rows[0]
        assert row.passed is fine
        assert row.alone == pytest.approx(error / exact.item(), rel=0.1)


def test_the_guaranteed_bound_holds_for_float32_and_is_not_vacuous() -> None:
    """Through convolution, batch norm, ReLU6 and softmax, against NumPy's float32."""
    conv = Conv2d(
        "c", (INPUT,), (1, 64, 5, 5), out_channels=32, kernel=(1, 1), batch_norm=1e-3,
        activation="relu6",
    )  # fmt: skip
    model = Model("m", "M", {}, (1, 64, 5, 5), (conv,))
    rng = np.random.default_rng(0)
    weights = {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32)
        for name, shape in model.parameters.items()
    }
    x = rng.standard_normal((1, 64, 5, 5)).astype(np.float32)
    values = {INPUT: x, "c": reference.run(model, weights, x)}
    bound = guaranteed_bound((conv,), weights, values)
    scale = weights["c.bn.gamma"] / np.sqrt(weights["c.bn.variance"] + np.float32(1e-3))
    y = weights["c.weight"][:, :, 0, 0] @ x.reshape(64, 25)
    y = (y - weights["c.bn.mean"][:, None]) * scale[:, None] + weights["c.bn.beta"][:, None]
    error = np.abs(y.clip(0, 6).reshape(values["c"].shape) - values["c"])
    assert (error <= bound).all()
    assert bound.max() < 1e-3

    softmax = Softmax("s", (INPUT,), (1, 10))
    logits = rng.standard_normal((1, 10)) * 10
    p = reference.run_layer(softmax, {}, logits)
    bound = guaranteed_bound((softmax,), {}, {INPUT: logits, "s": p})
    assert (np.abs(reference.run_layer(softmax, {}, logits.astype(np.float32)) - p) <= bound).all()
    assert (bound < 1e-4 * p).all()


def in_halves(x):
    return np.asarray(x).astype(np.float16).astype(np.float32)


def test_float16_may_lose_what_float16_loses() -> None:
    """Weights and maps in halves pass as such, and as float32 do not; nor does a wrong map."""
    maps = {name: in_halves for name in NAMES if name not in {"classifier", "softmax"}}
    rounded = {name: in_halves(w) if w.ndim > 1 else w for name, w in WEIGHTS.items()}
    halves = Fake(weights=rounded, spoil=maps)
    halves.stored = "float16"
    report = verify(halves, MODEL, WEIGHTS)
    report.check()
    assert 1e-5 < report.relative < report.tolerance == 1e-2
    assert all(row.alone <= row.tolerance < 1e-2 for row in report.rows)
    halves.stored = None
    assert not verify(halves, MODEL, WEIGHTS).passed
    spoil = maps | {"block3.pw": lambda y: in_halves(y) * np.float32(1.02)}
    halves = Fake(weights=rounded, spoil=spoil)
    halves.stored = "float16"
    with pytest.raises(VerificationError, match=r"block3\.pw"):
        verify(halves, MODEL, WEIGHTS).check()


def test_the_sample_looks_like_a_photograph() -> None:
    x = sample_input((2, 3, 64, 48))
    assert x.shape == (2, 3, 64, 48)
    assert x.dtype == np.float32
    assert abs(x.mean()) < 0.1
    assert 0.8 < x.std() < 1.05
    neighbours = np.corrcoef(x[..., 1:].ravel(), x[..., :-1].ravel())[0, 1]
    assert neighbours > 0.7, "pixels beside each other resemble each other"
    np.testing.assert_array_equal(x, sample_input((2, 3, 64, 48)))
    assert not np.array_equal(x, sample_input((2, 3, 64, 48), seed=1))


def test_a_report_can_be_replaced_but_not_changed() -> None:
    report = verify(Fake(), MODEL, WEIGHTS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.relative = 0.0
    assert not dataclasses.replace(report, relative=float("nan")).passed
    assert SimpleNamespace(**report.to_dict()).max_abs == report.max_abs


def test_the_bound_of_sums_scales_and_hard_activations_holds_for_float32() -> None:
    """And is no more than what float32 could need."""
    rng = np.random.default_rng(7)
    shape, pooled = (2, 12, 5, 5), (2, 12, 1, 1)
    layers = (
        Conv2d("a", (INPUT,), shape, 12, (3, 3), (1, 1), (1, 1, 1, 1), 12, True, None, "hardswish"),
        GlobalAvgPool("p", ("a",), shape, keep_map=True),
        Conv2d("g", ("p",), pooled, 12, (1, 1), bias=True, activation="hardsigmoid"),
        Scale("s", ("a", "g"), shape),
        Add("y", ("s", INPUT), shape),
    )
    model = Model("m", "M", {}, shape, layers)
    weights = initialize(model, 1)
    x = rng.normal(0, 2, shape).astype(np.float32)
    values = {INPUT: x, **reference.run(model, weights, x, keep_layers=True)}
    rounded = {INPUT: x}
    for layer in layers:
        inputs = [rounded[name] for name in layer.inputs]
        rounded[layer.name] = reference.run_layer(layer, weights, *inputs).astype(np.float32)
    for count in range(1, len(layers) + 1):
        bound = guaranteed_bound(layers[:count], weights, values)
        assert bound is not None
        name = layers[count - 1].name
        assert np.all(np.abs(rounded[name] - values[name]) <= bound)
        assert np.all(bound <= 1e-4 * np.abs(values[name]).max())

    halves = {INPUT: x}
    coarse = {name: in_halves(w) if w.ndim > 1 else w for name, w in weights.items()}
    for layer in layers:
        inputs = [halves[name] for name in layer.inputs]
        halves[layer.name] = in_halves(reference.run_layer(layer, coarse, *inputs))
    for count in range(1, len(layers) + 1):
        bound = guaranteed_bound(layers[:count], weights, values, "float16")
        name = layers[count - 1].name
        assert np.all(np.abs(halves[name] - values[name]) <= bound)
        assert np.all(bound <= 0.2 * np.abs(values[name]).max())

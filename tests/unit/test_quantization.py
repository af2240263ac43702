"""Ranges, weights, corrected biases: a network quantised by images, and what that cost."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tvm_mobilenet.errors import InputError, InvalidModelError, QuantizationError
from tvm_mobilenet.models import build
from tvm_mobilenet.models import reference as float_reference
from tvm_mobilenet.models.convolution import convolve, mean_sums
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import FLOAT
from tvm_mobilenet.models.quantized.weights import rounded, weight_type
from tvm_mobilenet.models.spec import INPUT, Add, Conv2d, GlobalAvgPool, Model, Softmax
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.quantization.budget import Budget, fewest
from tvm_mobilenet.quantization.calibration import quantize, types_for
from tvm_mobilenet.quantization.observation import observe
from tvm_mobilenet.quantization.post_training import post_training
from tvm_mobilenet.quantization.quality import Quality, quality
from tvm_mobilenet.quantization.ranges import METHODS, Histogram, range_of, type_of
from tvm_mobilenet.quantization.sensitivity import hurting


def seen(*parts: object) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(np.asarray(part, np.float64))
    return found


def test_what_is_counted_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 10.0**k, 500) for k in range(-4, 3)] + [np.zeros(7)]
    one, other = seen(*parts), seen(*parts[::-1])
    assert (one.exponent, one.first, one.low) == (other.exponent, other.first, other.low)
    np.testing.assert_array_equal(one.counts, other.counts)
    assert one.counts.sum() == 3507
    assert 2048 < len(one.counts) <= 4096
    every = np.concatenate(parts)
    counts, _ = np.histogram(every, np.append(one.centers - 2.0 ** (one.exponent - 1), np.inf))
    np.testing.assert_array_equal(one.counts, counts)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e39])
def test_what_has_no_range(odd: float) -> None:
    with pytest.raises(QuantizationError, match="have no range"):
        seen([1.0, odd])


def test_ranges() -> None:
    rng = np.random.default_rng(0)
    bulk, outlier = rng.normal(0, 1, 100_000), [40.0]
    found = seen(bulk, outlier)
    assert range_of(found, "minmax") == (bulk.min(), 40.0)
    low, high = range_of(found, "percentile")
    assert (low, high) == pytest.approx(tuple(np.quantile(bulk, (1e-4, 1 - 1e-4))), abs=0.1)
    least = range_of(found, "mse")
    assert bulk.min() <= least[0] < -3
    assert 3 < least[1] < 40  # one number in 100,000 is clipped
    assert range_of(seen([2.0, 5.0]), "minmax") == (0.0, 5.0)
    images = seen([[2.0, -1.0], [4.0, 1.0]], [[9.0, -2.0]])
    assert range_of(images, "average") == (-1.0, 5.0)
    for method in METHODS:
        assert range_of(seen(np.zeros(9)), method) == (0.0, 0.0)


@pytest.mark.parametrize("tail", [0.0, 1.0])
def test_least_squared_error_is_no_worse_than_any_other(tail: float) -> None:
    rng = np.random.default_rng(1)
    numbers = np.concatenate([rng.laplace(0, 1, 20_000), tail * rng.normal(0, 30, 20)])

    def error(of) -> float:
        to = type_of(of)
        elements = np.clip(np.rint(numbers / to.scale[0]) + to.zero_point, 0, 255)
        return float(((to.scale[0] * (elements - to.zero_point) - numbers) ** 2).sum())

    found = seen(numbers)
    best = error(range_of(found, "mse"))
    assert best < error(range_of(found, "minmax"))
    for part in (0.25, 0.5, 0.75):
        assert best < 1.02 * error((part * found.low, part * found.high))


def test_types_of_ranges() -> None:
    relu6 = type_of((0.0, 6.0))
    assert (relu6.scale, relu6.zero_point) == ((6 / 255,), 0)
    assert type_of((-1.0, 1.0)).zero_point in (127, 128)
    assert type_of((-3.0, 0.0)).zero_point == 255
    assert type_of((0.0, 0.0)).scale == (1.0,)


def test_weights_have_the_scale_of_their_channel() -> None:
    weight = np.array([[1.0, -2.54], [0.0, 0.0], [1e-9, -1e-9], [12.7, 0.1]])
    of = weight_type(weight)
    assert of.scale[0] == pytest.approx(0.02)
    got = rounded(weight, of)
    assert got.tolist() == [[50, -127], [0, 0], [0, 0], [127, 1]]
    assert weight_type(np.zeros((2, 3))).scale == (1 / 127, 1 / 127)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_means_of_sums_need_no_convolution(groups: int) -> None:
    rng = np.random.default_rng(2)
    layer = Conv2d("c", (INPUT,), (2, 4, 7, 6), 8, (3, 2), (2, 1), (1, 0, 2, 1), groups)
    weight, x = rng.normal(size=layer.weight_shape), rng.normal(size=layer.in_shape)
    want = convolve(layer, weight, x).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(mean_sums(layer, weight, x), want, rtol=1e-12)


def images_for(model: Model, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, model.input_shape) for _ in range(count)]


V2 = build("v2", alpha=0.35, resolution=32, classes=10)
V3 = build("v3-small", alpha=0.5, resolution=32, classes=10)


@pytest.mark.parametrize("model", [V2, V3], ids=["v2", "v3"])
def test_a_network_of_integers(model: Model) -> None:
    weights = initialize(model)
    images = images_for(model, 3)
    network = quantize(model, weights, images)
    again = quantize(model, weights, images)
    assert network.model == again.model
    for name, array in network.weights.items():
        np.testing.assert_array_equal(array, again.weights[name])
    found = quality(model, weights, network, images_for(model, 2, seed=1)).layers
    assert list(found) == [layer.name for layer in model.layers]
    logits = model.layer(model.outputs[0]).inputs[0]
    assert found[model.layers[0].name] > 30
    assert found[logits] > 15
    in_float = {type(model.layer(name)) for name in found if name not in network.model.records}
    assert in_float == {Softmax}
    assert network.model.type_of(logits) == FLOAT


def test_one_addend_is_sums_and_the_other_elements() -> None:
    """A kernel adds what another left in memory to its own sums, and rounds once."""
    network = quantize(V2, initialize(V2), images_for(V2, 1), correct_biases=False).model
    adds = [layer for layer in network.model.layers if isinstance(layer, Add)]
    assert len(adds) == 10
    for add in adds:
        kinds = {name: network.type_of(name).quantized for name in add.inputs}
        assert sorted(kinds.values()) == [False, True]
        (sums,) = (name for name, quantized in kinds.items() if not quantized)
        assert network.model.layer(sums).kind == "pointwise"  # type: ignore[attr-defined]


def test_biases_take_what_the_mean_has_moved_by() -> None:
    """On the images that they were corrected with, means of linear layers are as in float."""
    shape = (1, 8, 9, 9)
    layers = (
        Conv2d("a", (INPUT,), shape, 8, (3, 3), (1, 1), (1, 1, 1, 1), 8, activation="relu"),
        Conv2d("b", ("a",), shape, 16, (1, 1)),
    )
    model = Model("m", "M", {}, shape, layers)
    weights = initialize(model)
    weights["b.weight"][3] *= 1e-3
    images = images_for(model, 4)
    moved = {}
    for correct in (False, True):
        network = quantize(model, weights, images, method="minmax", correct_biases=correct)
        difference = 0.0
        for image in images:
            want = float_reference.run(model, weights, image)
            got = reference.run(network.model, network.weights, image)["b"]
            difference = difference + (got - want).mean(axis=(0, 2, 3)) / len(images)
        moved[correct] = np.abs(difference).max()
    assert moved[True] < 1e-6
    assert moved[False] > 1e-4


def test_average_extremes_leave_what_weights_moved_the_mean_by_to_the_bias() -> None:
    """Of the float values, whatever the ranges clip."""
    shape = (1, 8, 9, 9)
    model = Model("m", "M", {}, shape, (Conv2d("a", (INPUT,), shape, 8, (3, 3)),))
    weights = initialize(model)
    images = images_for(model, 4)
    images[0][0, 0, 0, 0] = 50.0
    network = quantize(model, weights, images, method="average")
    scale = np.asarray(network.model.records["a"].weight.scale)[:, None, None, None]
    conv = dataclasses.replace(model.layers[0], bias=True)
    wide = dataclasses.replace(model, layers=(conv,))
    rounded = network.weights | {"a.weight": network.weights["a.weight"] * scale}
    plain = {**weights, "a.bias": np.zeros(8)}
    moved = [
        float_reference.run(wide, rounded, x) - float_reference.run(wide, plain, x) for x in images
    ]
    assert np.abs(np.mean(moved, axis=(0, 1, 3, 4))).max() < 1e-5


def test_what_is_better_for_the_logits_is_taken() -> None:
    network = Network(V2, initialize(V2), "arrays")
    images = images_for(V2, 4)
    found = {
        method: post_training(network, images, method=method)[1]
        for method in ("auto", "mse", "average")
    }
    better = max((found["mse"], found["average"]), key=lambda report: report.logits)
    assert found["auto"] == better


def test_numbers_far_outside_ruin_what_clips_nothing() -> None:
    shape = (1, 4, 96, 96)
    model = Model("m", "M", {}, shape, (Conv2d("c", (INPUT,), shape, 4, (1, 1)),))
    weights = initialize(model)
    images = images_for(model, 1)
    images[0][0, :2, 0, 0] = 200.0
    fresh = images_for(model, 1, seed=3)
    found = {
        method: quality(
            model, weights, quantize(model, weights, images, method=method), fresh
        ).layers["c"]
        for method in ("minmax", "percentile")
    }
    assert found["percentile"] > found["minmax"] + 10


def test_layers_that_are_kept() -> None:
    first = V2.layers[0].name
    kept = [first, *(layer.name for layer in V2.layers if isinstance(layer, GlobalAvgPool | Add))]
    weights = initialize(V2)
    network = quantize(V2, weights, images_for(V2, 1), keep=kept)
    assert not set(kept) & set(network.model.records)
    np.testing.assert_array_equal(network.weights[f"{first}.weight"], weights[f"{first}.weight"])
    assert quality(V2, weights, network, images_for(V2, 1)).layers[first] > 120  # float32
    everything = [layer.name for layer in V2.layers]
    network = quantize(V2, weights, images_for(V2, 1), keep=everything)
    assert network.model.model == V2
    assert network.model.records == {}


def test_what_cannot_be_quantised_is_named() -> None:
    weights, images = initialize(V2), images_for(V2, 1)
    with pytest.raises(QuantizationError, match="no image to calibrate with"):
        quantize(V2, weights, [])
    with pytest.raises(QuantizationError, match="unknown method 'best'"):
        quantize(V2, weights, images, method="best")
    with pytest.raises(InvalidModelError, match="no layer 'nobody'"):
        quantize(V2, weights, images, keep=["nobody"])
    with pytest.raises(InputError, match="give shape"):
        quantize(V2, weights, [images[0][:, :, :-1]])
    images[0][0, 0, 0, 0] = math.nan
    with pytest.raises(QuantizationError, match=r"'input' cannot be quantised: .* no range"):
        quantize(V2, weights, images)


def test_means_are_those_of_what_activations_read() -> None:
    model = Model(
        "m",
        "M",
        {},
        (1, 3, 4, 4),
        (Conv2d("c", (INPUT,), (1, 3, 4, 4), 3, (1, 1), activation="hardsigmoid"),),
    )
    weights = {"c.weight": 10 * np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)}
    images = [np.full((1, 3, 4, 4), value) for value in (-1.0, 3.0)]
    found = observe(model, weights, images)
    np.testing.assert_allclose(found.means["c"], 10)
    assert (found.sums["c"].low, found.sums["c"].high) == (-10, 30)
    assert (found.values["c"].low, found.values["c"].high) == (0, 1)
    record = quantize(model, weights, images, method="minmax").model.records["c"]
    assert record.before == type_of((-3.0, 3.0))


@pytest.mark.parametrize("needed", [*range(1, 12), 99])
def test_as_few_layers_stay_in_float_as_it_takes(needed: int) -> None:
    order, tried = [str(at) for at in range(11)], []

    def attempt(some: object) -> int:
        tried.append(some)
        return len(tried[-1])

    assert fewest(order, attempt, lambda count: count >= needed) == min(needed, 11)
    assert all(some == order[: len(some)] for some in tried)
    assert len(tried) <= 8


def test_which_layers_hurt() -> None:
    """One value, of which nearly all elements stand for numbers that never come, ruins V2."""
    weights, images = initialize(V2), images_for(V2, 2)
    seen = observe(V2, weights, images)
    types = types_for(seen, "mse")
    integers = quantize(V2, weights, images, seen=seen, correct_biases=False).model.records
    spared = hurting(V2, weights, integers, types, images)
    assert list(spared) == [layer.name for layer in V2.layers if layer.name in integers]
    assert all(math.isfinite(power) and power > 0 for power in spared.values())
    add = next(layer for layer in V2.layers if isinstance(layer, Add))
    types[add.name] = type_of((-1e4, 1e4))
    hurt = hurting(V2, weights, integers, types, images)
    worse = {name for name in hurt if hurt[name] > spared[name]}
    assert worse == {add.name, *(layer.name for layer in V2.layers if add.name in layer.inputs)}
    assert sorted(hurt, key=lambda name: -hurt[name])[0] in worse


def test_noises_that_are_measured_apart_add_up() -> None:
    """To what the logits have in the network of integers, within a factor of two."""
    weights, images = initialize(V2), images_for(V2, 4)
    seen = observe(V2, weights, images)
    network = quantize(V2, weights, images, seen=seen)
    types = types_for(seen, "mse")
    every = hurting(V2, weights, network.model.records, types, images)
    found = 10 ** (-quality(V2, weights, network, images).logits / 10)
    # Each value counts for its layer and for those that read it: twice or three times.
    assert found / 2 < sum(every.values()) / len(images) / 2 < 3 * found


def test_budgets() -> None:
    cost = Quality({}, 20.0, 0.75)
    assert Budget().allows(cost)
    assert Budget(20.0, 0.75).allows(cost)
    assert not Budget(20.1, 0.75).allows(cost)
    assert not Budget(agreement=0.76).allows(cost)

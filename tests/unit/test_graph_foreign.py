"""Graphs that are not MobileNet's: what is ours is taken, what is not is left, both work."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tvm
from graphs import constant, image, module, operators, run
from tvm import relax
from tvm_mobilenet.graph.block_layout import block_layout
from tvm_mobilenet.graph.fold_batch_norm import fold_batch_norm
from tvm_mobilenet.graph.fuse_epilogue import fuse_epilogue
from tvm_mobilenet.graph.pack_weights import pack_weights

from tvm_mobilenet.graph.legalize_rest import legalize_rest
from tvm_mobilenet.graph.schedule_kernels import schedule_kernels
from tvm_mobilenet.operators.workload import channel_block
from tvm_mobilenet.target import PRESETS, host

nn, op = relax.op.nn, relax.op
TARGET = dataclasses.replace(host(), cores=1)
IMAGE = (1, 3, 12, 12)


def phases(mod: Any) -> tuple[Any, Any]:
    """The module in blocks with packed weights, and the scheduled one."""
    blocked = pack_weights(block_layout(fuse_epilogue(fold_batch_norm(mod)), TARGET))
    legal = legalize_rest(blocked, tvm.target.Target(TARGET.tvm_dict()))
    return blocked, schedule_kernels(legal, TARGET, lambda _: None)[0]


def same(mod: Any, shape: tuple[int, ...] = IMAGE) -> Any:
    """Assert that the scheduled module computes what `mod` does; return the blocked one."""
    x = image(shape)
    blocked, scheduled = phases(mod)
    np.testing.assert_allclose(run(scheduled, x), run(mod, x), rtol=2e-5, atol=2e-5)
    return blocked


def ours(mod: Any) -> dict[str, int]:
    """Calls of our kernels by operator."""
    found: dict[str, int] = {}
    for name, count in operators(mod).items():
        operator = name.split("_")[0]
        if operator in ("conv", "depthwise", "pointwise", "pool", "dense", "softmax"):
            found[operator] = found.get(operator, 0) + count
    return found


def conv3(emit: Any, x: Any, channels: int, seed: int = 0, **options: Any) -> Any:
    taken = int(x.ty.shape[1])
    options = {"padding": (1, 1, 1, 1)} | options
    return emit(nn.conv2d(x, constant((channels, taken, 3, 3), seed), **options))


def conv1(emit: Any, x: Any, channels: int, seed: int = 1) -> Any:
    return emit(nn.conv2d(x, constant((channels, int(x.ty.shape[1]), 1, 1), seed)))


def depthwise(emit: Any, x: Any, seed: int = 2) -> Any:
    channels = int(x.ty.shape[1])
    weight = constant((channels, 1, 3, 3), seed)
    return emit(nn.conv2d(x, weight, padding=(1, 1, 1, 1), groups=channels))


def test_a_foreign_operator_between_our_kernels() -> None:
    """The map is converted once to plain for it, and once back."""

    def body(emit: Any, x: Any) -> Any:
        y = emit(nn.leakyrelu(conv3(emit, x, 24), 0.1))
        return emit(op.clip(conv1(emit, depthwise(emit, y), 40), 0.0, 6.0))

    blocked = same(module(IMAGE, body))
    assert ours(blocked) == {"conv": 1, "depthwise": 1, "pointwise": 1}
    found = operators(blocked)
    assert found["relax.nn.leakyrelu"] == 1
    # From blocks before it, to blocks behind it, from blocks at the end.
    assert found["relax.permute_dims"] == 3


def test_a_blocked_map_with_a_blocked_and_a_plain_reader_is_converted_once() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(nn.relu(conv3(emit, x, 17)))
        left, right = depthwise(emit, y), emit(op.sigmoid(y))
        return emit(op.concat([left, right], axis=1))

    blocked = same(module(IMAGE, body))
    assert ours(blocked) == {"conv": 1, "depthwise": 1}
    assert operators(blocked)["relax.permute_dims"] == 2


def test_a_residual_connection() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 24)
        z = conv1(emit, emit(nn.relu(depthwise(emit, y))), 24)
        return emit(op.add(y, z))

    assert ours(same(module(IMAGE, body))) == {"conv": 1, "depthwise": 1, "pointwise": 1}


def test_convolutions_behind_each_other_read_plain_maps() -> None:
    """Our full convolution takes NCHW: one behind a blocked map gets it converted."""

    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, emit(nn.relu(conv3(emit, x, 8))), 20, seed=3, strides=(2, 2))
        return conv3(emit, y, 5, seed=4, padding=(0, 0, 1, 1))

    assert ours(same(module((2, 3, 12, 12), body), (2, 3, 12, 12))) == {"conv": 3}


def test_a_strided_pointwise_convolution() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 16)
        return emit(nn.conv2d(y, constant((24, 16, 1, 1)), strides=(2, 2)))

    same(module(IMAGE, body))


def test_no_softmax_no_classifier() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(op.mean(conv1(emit, conv3(emit, x, 8), 33), axis=[2, 3]))

    assert ours(same(module(IMAGE, body))) == {"conv": 1, "pointwise": 1, "pool": 1}


def test_a_softmax_of_another_axis_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(nn.softmax(emit(op.mean(conv3(emit, x, 24), axis=[2, 3])), axis=0))
        return emit(nn.softmax(emit(op.reshape(y, (1, 4, 6))), axis=-1))

    blocked = same(module(IMAGE, body))
    assert ours(blocked) == {"conv": 1, "pool": 1}
    assert operators(blocked)["relax.nn.softmax"] == 2


def test_a_pool_that_keeps_its_dimensions() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(op.mean(conv3(emit, x, 8), axis=[2, 3], keepdims=True))
        return conv1(emit, y, 24)

    same(module(IMAGE, body))


def test_a_pool_of_other_axes_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(op.mean(conv3(emit, x, 8), axis=[1]))

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.mean"] == 1


def test_a_grouped_convolution_is_left_alone() -> None:
    """Neither full nor depthwise: two groups of channels."""

    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        return emit(nn.conv2d(y, constant((12, 4, 3, 3)), padding=(1, 1, 1, 1), groups=2))

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.nn.conv2d"] == 1


def test_a_depthwise_convolution_with_a_multiplier_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        return emit(nn.conv2d(y, constant((16, 1, 3, 3)), padding=(1, 1, 1, 1), groups=8))

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.nn.conv2d"] == 1


def test_a_dilated_convolution_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        return conv1(emit, conv3(emit, x, 8, padding=(2, 2, 2, 2), dilation=(2, 2)), 16)

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.nn.conv2d"] == 1
    assert ours(blocked) == {"pointwise": 1}


def test_another_layout_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(op.permute_dims(x, (0, 2, 3, 1)))
        weight = constant((8, 3, 3, 3))
        return emit(nn.conv2d(y, weight, data_layout="NHWC", kernel_layout="OHWI"))

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.nn.conv2d"] == 1


def test_weights_that_are_computed_are_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        weight = emit(op.reshape(emit(op.strided_slice(x, [2, 3], [0, 0], [3, 3])), (1, 3, 3, 3)))
        return emit(nn.conv2d(x, weight))

    assert operators(same(module(IMAGE, body)))["relax.nn.conv2d"] == 1


@pytest.mark.parametrize("bounds", [(0.0, 5.0), (-1.0, 6.0), (1.0, 6.0)])
def test_a_clip_that_is_not_relu6_is_not_taken_for_it(bounds: tuple[float, float]) -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(op.clip(conv3(emit, x, 8), *bounds))

    blocked = same(module(IMAGE, body))
    assert operators(blocked)["relax.clip"] == 1


@pytest.mark.parametrize(
    "shape", [(1, 8, 1, 1), (8, 1, 1), (1, 8, 12, 12), (1,), (12,), (1, 1, 1, 12), (2, 8, 1, 1)]
)
def test_constants_added_behind_a_convolution(shape: tuple[int, ...]) -> None:
    """One value a channel is a bias; whatever else broadcasts is not, and is added as it is."""

    def body(emit: Any, x: Any) -> Any:
        return emit(nn.relu(emit(op.add(conv3(emit, x, 8), constant(shape, 9)))))

    same(module(IMAGE, body))


def test_a_constant_of_another_shape_added_behind_a_dense_layer() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(op.mean(conv3(emit, x, 8), axis=[2, 3]))
        y = emit(op.add(emit(op.matmul(y, constant((8, 5)))), constant((2, 5), 3)))
        return emit(op.matmul(emit(nn.relu(y)), constant((5, 3), 4)))

    same(module((2, 3, 12, 12), body), (2, 3, 12, 12))


def test_an_intermediate_value_that_somebody_else_reads_is_not_swallowed() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        return emit(op.multiply(emit(nn.relu(y)), y))

    same(module(IMAGE, body))


def test_an_intermediate_value_in_a_tuple_is_not_swallowed() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        return emit(op.concat([emit(nn.relu(y)), y], axis=1))

    same(module(IMAGE, body))


def test_two_outputs_of_which_one_is_inside_a_group() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(IMAGE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(nn.conv2d(x, constant((8, 3, 3, 3))))
            z = builder.emit_output(nn.relu(y))
        builder.emit_func_output(relax.Tuple([y, z]))
    blocked, scheduled = phases(builder.get())
    for mod in (blocked, scheduled):
        machine = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
        left, right = (t.numpy() for t in machine["main"](tvm.runtime.tensor(image(IMAGE))))
        np.testing.assert_array_equal(np.maximum(left, 0), right)
        assert left.min() < 0


def test_another_type_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        weight = relax.const(np.ones((8, 3, 3, 3)), "float64")
        y = emit(nn.conv2d(emit(op.astype(x, "float64")), weight))
        return emit(op.astype(y, "float32"))

    assert operators(same(module(IMAGE, body)))["relax.nn.conv2d"] == 1


def test_the_same_value_twice_in_one_operator() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        return emit(op.add(y, y))

    same(module(IMAGE, body))


def test_a_matrix_product_of_higher_rank_is_left_alone() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(op.matmul(conv3(emit, x, 8), constant((12, 5))))

    assert operators(same(module(IMAGE, body)))["relax.matmul"] == 1


def test_batch_norm_folds_through_a_bias_and_not_without_a_convolution() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(op.add(conv3(emit, x, 8), constant((1, 8, 1, 1), 5)))
        for seed in (10, 20):
            statistics = [constant((8,), seed + i) for i in range(3)]
            variance = relax.const(np.linspace(0.5, 2, 8, dtype=np.float32))
            norm = emit(nn.batch_norm(y, *statistics, variance, axis=1, training=False))
            y = emit(nn.leakyrelu(emit(norm[0]), 0.2))
        return y

    mod = module(IMAGE, body)
    assert operators(fold_batch_norm(mod))["relax.nn.batch_norm"] == 1
    same(mod)


@pytest.mark.parametrize("flags", [{"center": False}, {"scale": False}])
def test_batch_norm_without_all_its_parts(flags: dict[str, bool]) -> None:
    def body(emit: Any, x: Any) -> Any:
        statistics = [constant((8,), i) for i in range(3)]
        variance = relax.const(np.linspace(0.5, 2, 8, dtype=np.float32))
        y = conv3(emit, x, 8)
        norm = emit(nn.batch_norm(y, *statistics, variance, axis=1, training=False, **flags))
        return emit(norm[0])

    same(module(IMAGE, body))


def test_batch_norm_over_another_axis_stays() -> None:
    def body(emit: Any, x: Any) -> Any:
        statistics = [constant((12,), i) for i in range(3)]
        variance = relax.const(np.linspace(0.5, 2, 12, dtype=np.float32))
        y = conv3(emit, x, 12)
        norm = emit(nn.batch_norm(y, *statistics, variance, axis=3, training=False))
        return emit(norm[0])

    mod = module(IMAGE, body)
    assert operators(fold_batch_norm(mod))["relax.nn.batch_norm"] == 1
    same(mod)


def test_batch_norm_of_a_convolution_that_somebody_else_reads() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = conv3(emit, x, 8)
        statistics = [constant((8,), i) for i in range(3)]
        variance = relax.const(np.linspace(0.5, 2, 8, dtype=np.float32))
        norm = emit(nn.batch_norm(y, *statistics, variance, axis=1, training=False))
        return emit(op.add(emit(norm[0]), y))

    same(module(IMAGE, body))


@pytest.mark.parametrize(
    ("channels", "name", "block"),
    [(1, "znver5", 1), (3, "znver5", 4), (8, "znver5", 8), (17, "znver5", 16), (24, "znver5", 16),
     (1024, "x86-64-v3", 8), (3, "rpi4", 4), (5, "riscv64", 1)],
)  # fmt: skip
def test_channel_blocks(channels: int, name: str, block: int) -> None:
    assert channel_block(channels, PRESETS[name]) == block

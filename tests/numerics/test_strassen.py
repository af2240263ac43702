"""Seven products for eight: the definition, whole networks, and the bound of their error."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tvm
from assembly import innermost_loops
from kernels import Case, compiled, workload

from tvm_mobilenet import api, reference
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.graph.strassen import choose_strassen
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.runtime.instrument import Trace
from tvm_mobilenet.target import PRESETS, parse
from tvm_mobilenet.verify import verify

MODEL = mobilenet_v1(1.0, 65, classes=10)
"""Its block 3 has 128 channels on 17 x 17 pixels: an odd number."""


@pytest.mark.parametrize("size", [(3, 3), (4, 2), (1, 1)])
def test_the_definition_itself_is_right(size: tuple[int, int]) -> None:
    """Unscheduled, as TE reads: what the loops written by hand are compared with."""
    work = workload("strassen", (16, 32), size, 8, batch=2, activation="relu6")
    module = tvm.compile(tvm.IRModule({work.key: prim_func(work)}), target="llvm")
    Case(work).check(module.jit()[work.key])


@pytest.fixture(scope="module")
def network() -> Any:
    return api.compile(MODEL, strassen=True, seed=3, verify=False)


def _used(manifest: Any) -> list[str]:
    return [call["layers"][-1] for call in manifest["calls"] if call["operator"] == "strassen"]


def test_a_network_is_right_and_says_what_it_does(network: Any) -> None:
    weights = initialize(MODEL, seed=3)
    report = verify(network.module, MODEL, weights)
    report.check()
    assert report.relative < 1e-5
    used = _used(network.manifest)
    assert used
    asked = [call for call in network.manifest["calls"] if "strassen" in call]
    assert used == [call["layers"][-1] for call in asked if call["strassen"]["used"]]
    assert all("%" in call["strassen"]["why"] for call in asked)
    assert all(call["output"]["layout"] == "NCHWc" for call in asked)


def test_nobody_gets_it_who_did_not_ask() -> None:
    compiled_model = api.compile(MODEL, seed=3, verify=False)
    assert not _used(compiled_model.manifest)
    assert not any("strassen" in call for call in compiled_model.manifest["calls"])


@pytest.mark.parametrize("fusion", ["none", "all"])
def test_what_is_fused_on_request_stays_fused(fusion: Fusion) -> None:
    model = mobilenet_v1(1.0, 64, classes=10)
    manifest = api.compile(model, strassen=True, fusion=fusion, verify=True).manifest
    # Block 3, at 16 x 16; other maps are too small or their channels too few.
    assert bool(_used(manifest)) is (fusion == "none")


def test_a_rounding_beyond_the_bound_is_refused(network: Any) -> None:
    """The wider tolerance is not a blank cheque: 1% of the largest value is an error."""
    layer = _used(network.manifest)[0]

    class Spoiled:
        def __call__(self, x: Any) -> Any:
            return network.module(x)

        def trace(self, x: Any) -> list[Trace]:
            return [self._spoil(trace) for trace in network.module.trace(x)]

        def _spoil(self, trace: Trace) -> Trace:
            if trace.call["layers"] != [layer]:
                return trace
            wrong = trace.output.copy()
            wrong.flat[7] += 0.01 * wrong.max()
            return Trace(trace.call, wrong)

    module: Any = Spoiled()
    with pytest.raises(VerificationError, match=layer):
        verify(module, MODEL, initialize(MODEL, seed=3)).check()


def test_the_rule_takes_large_layers_of_whole_blocks() -> None:
    def used(channels: int, size: int, out_channels: int, batch: int = 1) -> bool:
        work = workload("pointwise", (channels, out_channels), (size, size), 16, batch=batch)
        return choose_strassen(work).used

    assert used(512, 14, 512)
    assert used(256, 28, 256)
    assert used(128, 56, 128)
    assert not used(32, 112, 64)  # sums cost what they save
    assert not used(1024, 7, 1024)  # few pixels for so many weights, and an odd one
    assert used(1024, 7, 1024, batch=8)
    assert not used(400, 28, 400)  # 25 blocks of 16
    assert not used(24, 28, 512)


@pytest.mark.parametrize("name", ["znver5", "x86-64-v3"])
def test_nothing_spills(name: str) -> None:
    spec = dataclasses.replace(PRESETS[name], cores=2)
    work = workload("strassen", (512, 512), (14, 14), spec.lanes, activation="relu6")
    assembly = compiled([work], spec).mod.inspect_source("asm")
    loops = [loop for loop in innermost_loops(assembly, spec.machine) if loop.fused]
    if spec.registers < 32:  # the shorter last tiles, of few accumulators, pass them on the stack
        most = max(loop.fused for loop in loops)
        loops = [loop for loop in loops if loop.fused == most]
    assert len(loops) == 7
    assert not [loop.spills for loop in loops if loop.spills]


def test_panels_are_rounded_once() -> None:
    """T2 has three terms: summed in float32 it would be rounded twice."""
    from tvm import relax

    from tvm_mobilenet.compute.strassen import PANELS
    from tvm_mobilenet.graph.constants import array_of, is_constant
    from tvm_mobilenet.graph.layouts import pack_strassen
    from tvm_mobilenet.graph.pack_weights import pack_weights

    weight = np.random.default_rng(0).standard_normal((4, 8, 4)).astype(np.float32)
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            packed = builder.emit_output(pack_strassen(relax.const(weight), 4, 8, 4))
        builder.emit_func_output(packed)
    main = pack_weights(builder.get())["main"]
    values = [b.value for block in main.body.blocks for b in block.bindings]
    got = array_of(next(v for v in values if is_constant(v)))
    quarters = [weight[o : o + 2, k : k + 4] for k in (0, 4) for o in (0, 2)]
    for panel, factors in zip(got, PANELS, strict=True):
        exact = sum(f * q.astype(np.float64) for f, q in zip(factors, quarters, strict=True))
        assert np.array_equal(panel, np.asarray(exact, np.float32))


def test_error_stays_near_the_conventional_one() -> None:
    """Beside the bound of the worst case: twice as much is usual, ten times would be a fault."""
    target = parse("native")
    errors = {}
    for operator in ("pointwise", "strassen"):
        work = workload(operator, (256, 256), (14, 14), target.lanes)
        case = Case(work)
        tensors = [tvm.runtime.tensor(array) for array in case.arrays]
        compiled([work], target).jit()[work.key](*tensors)
        got = tensors[-1].numpy().transpose(0, 1, 3, 2).reshape(case.want.shape)
        errors[operator] = reference.relative_error(got, case.want)
    assert errors["strassen"] < 10 * errors["pointwise"] < 1e-5

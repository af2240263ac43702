"""What LLVM makes of the tiles that rules choose: nothing spills, and multiply-adds are fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from assembly import Loop, innermost_loops
from convolutions import AROUND, conv, transposed
from kernels import compiled, fused_of_model, of_model

from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.models import build, mobilenet_v1
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.ahead import AHEAD
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload

TARGETS = ["znver5", "x86-64-v3", "x86-64", "rpi4", "rpi2"]
MODELS = [(1.0, 224), (0.25, 128), (0.75, 192), (1.0, 160)]

Loops = Mapping[str, list[Loop]]
"""By kernel."""

FUSED = ["znver5", "x86-64-v3", "rpi4"]

STORES = {
    # LLVM unrolls a reduction of eight; its first step stores what the last one reloads.
    ("rpi2", "pointwise_n1_i8_o16_s64x64_c4x4_relu6"),
    # Likewise; SSE, to keep NaN, takes min and max into a copy of the constant: one register.
    ("x86-64", "pointwise_n1_i8_o16_s64x64_c4x4_relu6"),
    # 24 channels are three vectors of eight.
    ("x86-64-v3", "pointwise_n1_i16_o32_s32x32_c8x8_relu6"),
    # Four rows of four pixels: LLVM unrolls the map and loads ahead.
    ("rpi4", "depthwise_n1_i128_o128_s8x8_k3x3_t2x2_p0x0x1x1_c4x4_relu6"),
    # The same as parts of fused blocks, which the rule leaves apart at this size.
    ("x86-64-v3", "separable_n1_i8_o16_s64x64_k3x3_t1x1_p1x1x1x1_c8x8_mrelu6_relu6"),
    ("x86-64-v3", "separable_n1_i16_o32_s64x64_k3x3_t2x2_p0x0x1x1_c8x8_mrelu6_relu6"),
    ("rpi4", "separable_n1_i8_o16_s64x64_k3x3_t1x1_p1x1x1x1_c4x4_mrelu6_relu6"),
    ("rpi4", "separable_n1_i128_o256_s8x8_k3x3_t2x2_p0x0x1x1_c4x4_mrelu6_relu6"),
    ("rpi4", "separable_n1_i256_o256_s4x4_k3x3_t1x1_p1x1x1x1_c4x4_mrelu6_relu6"),
}
"""Kernels of alpha 0.25 in which a value of the loop itself goes to the stack: known, tiny."""


def _loops(works: Mapping[str, Workload], spec: TargetSpec) -> Loops:
    """The innermost loops that multiply, of every kernel."""
    assembly = compiled(list(works.values()), spec).mod.inspect_source("asm")
    found: dict[str, list[Loop]] = {key: [] for key in works}
    for loop in innermost_loops(assembly, spec.machine):
        if loop.fused or loop.multiplies:
            found[loop.function].append(loop)
    return found


@pytest.mark.parametrize(("alpha", "resolution"), MODELS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_loops_of_a_network(target: str, alpha: float, resolution: int) -> None:
    """Nothing spills, nothing is reloaded, multiply-adds are fused: compiled once."""
    spec = PRESETS[target]
    found = _loops(of_model(mobilenet_v1(alpha, resolution), spec.lanes), spec)
    nothing_spills(found, target)
    full = (alpha, resolution) == MODELS[0]
    if target == "znver5" or (full and target != "rpi2"):
        nothing_is_reloaded(found, spec)
    if full:
        multiply_adds_are_fused(found, spec)


def test_risc_v_multiplies_vectors() -> None:
    """Fixed vectors of four in registers, where TVM would make loops over lanes of +v."""
    spec = PRESETS["rv64gcv"]
    found = _loops(of_model(mobilenet_v1(0.25, 128), spec.lanes), spec)
    nothing_spills(found, "rv64gcv")
    multiply_adds_are_fused(found, spec)
    for key, loops in found.items():
        for loop in loops:
            assert sum(i.startswith("vf") for i in loop.body) >= loop.fused, key


@pytest.mark.parametrize(("alpha", "resolution"), MODELS)
@pytest.mark.parametrize("target", FUSED)
def test_nothing_spills_in_fused_kernels(target: str, alpha: float, resolution: int) -> None:
    spec = PRESETS[target]
    found = _loops(fused_of_model(mobilenet_v1(alpha, resolution), spec.lanes), spec)
    assert all(found.values())
    nothing_spills(found, target)


def nothing_spills(found: Loops, target: str) -> None:
    spilled = {key: loop.spilled for key, loops in found.items() for loop in loops if loop.spilled}
    assert set(spilled) <= {key for name, key in STORES if name == target}, spilled


def nothing_is_reloaded(found: Loops, spec: TargetSpec) -> None:
    """Not even a constant that LLVM took out of a loop and then had no register for.

    With 16 registers the depthwise kernels do that with the filter, which costs what
    loading it from its array would.
    """
    for key, loops in found.items():
        few = spec.registers < 32 and key.startswith("depthwise")
        for loop in loops:
            assert len(loop.spills) <= (1 if few else 0), (key, loop.spills)


def multiply_adds_are_fused(found: Loops, spec: TargetSpec) -> None:
    """Where there is such an instruction."""
    for key, loops in found.items():
        if key.startswith("pool"):
            continue
        assert loops, f"{key} has no loop that multiplies"
        fused = sum(loop.fused for loop in loops)
        separate = sum(loop.multiplies for loop in loops)
        assert (fused > 0) is spec.fma, key
        # Those begin with a product, and the exponential ends with one.
        if spec.fma and not key.startswith(("depthwise", "conv", "softmax")):
            assert separate == 0, key


@pytest.mark.parametrize("target", ["znver5", "x86-64", "rpi4"])
@pytest.mark.parametrize("name", ["v2", "v3-large", "v3-small"])
def test_nothing_spills_in_later_models(name: str, target: str) -> None:
    """5 x 5 taps and hard swish among them; a constant may be loaded from the stack."""
    spec = PRESETS[target]
    plan = plan_network(build(name), spec, fusion="none")
    found = _loops({key: kernel.work for key, kernel in plan.kernels.items()}, spec)
    assert any("k5x5" in key for key in found) == (name != "v2")
    spilled = {key: loop.spilled for key, loops in found.items() for loop in loops if loop.spilled}
    assert not spilled


@pytest.mark.parametrize("target", ["znver5", "x86-64-v3", "x86-64", "rpi4"])
def test_nothing_spills_in_convolutions_of_other_kinds(target: str) -> None:
    spec = PRESETS[target]
    layers = (
        conv((64, 64), (28, 28), (3, 3), padding=AROUND, activation="relu6"),
        conv((64, 128), (28, 28), (3, 3), padding=AROUND, stride=(2, 2)),
        conv((64, 64), (28, 28), (3, 3), padding=AROUND, groups=8, activation="relu"),
        conv((32, 64), (28, 28), (3, 3), padding=AROUND, groups=32),
        transposed((64, 64), (28, 28), (4, 4), before=(1, 1)),
        transposed((64, 64), (28, 28), (3, 3), before=(1, 1), extra=(1, 1)),
        transposed((64, 64), (28, 28), (4, 4), before=(1, 1), groups=64),
    )
    works = [work for layer in layers if (work := workload_of_layer(layer, spec))]
    found = _loops({work.key: work for work in works}, spec)
    assert len(found) == len(layers)
    assert all(found.values())
    nothing_spills(found, target)


def test_nothing_spills_where_weights_are_fetched_for_others() -> None:
    import tvm

    spec = dataclasses.replace(PRESETS["znver5"], cores=2)
    model = build("v3-small")
    mod = lower(plan_network(model, spec), initialize(model, 0)).mod
    hosts = {gv: func for gv, func in mod.functions.items() if AHEAD in (func.attrs or {})}
    assert len(hosts) > 8
    made = tvm.compile(tvm.IRModule(hosts), target=tvm.target.Target(spec.tvm_dict()))
    loops = innermost_loops(made.mod.inspect_source("asm"), spec.machine)
    busy = [loop for loop in loops if loop.fused]
    assert len(busy) >= len(hosts)
    assert not [loop.spills for loop in busy if loop.spills]


SPILLING = """
	.type	kernel,@function
kernel:
	movq	%rsp, %rbp
	subq	$64, %rsp
	vmovups	%zmm0, (%rsp)
.LBB0_1:
	xorl	%eax, %eax
.LBB0_2:
	vfmadd231ps	-64(%rbp), %zmm1, %zmm2
	vmovaps	%zmm3, 128(%rsp)
	vmovaps	(%rbx,%rsi), %zmm4
	movq	8(%rsp), %rdi
	jne	.LBB0_4
.Ltmp7:
	incq	%rax
	jne	.LBB0_2
	jne	.LBB0_1
	retq
.LBB0_4:
	vmovups	(%rsp), %ymm9
	jmp	.LBB0_2
	.size	kernel, .-kernel
"""


def test_a_spill_is_seen() -> None:
    """In the loop, through the frame pointer, and in a branch that lies behind the loop."""
    (loop,) = innermost_loops(SPILLING, "x86_64")
    assert loop.label == ".LBB0_2"
    assert loop.function == "kernel"
    assert loop.fused == 1
    assert loop.spills == [
        "vfmadd231ps\t-64(%rbp), %zmm1, %zmm2",
        "vmovaps\t%zmm3, 128(%rsp)",
        "vmovups\t(%rsp), %ymm9",
    ]
    assert loop.spilled == ["vmovaps\t%zmm3, 128(%rsp)"]


def test_a_pointer_that_is_not_into_the_stack_is_no_spill() -> None:
    assembly = SPILLING.replace("	movq	%rsp, %rbp\n", "")
    (loop,) = innermost_loops(assembly, "x86_64")
    assert "vfmadd231ps\t-64(%rbp), %zmm1, %zmm2" not in loop.spills


@pytest.mark.parametrize(
    ("machine", "lines", "spills"),
    [
        (
            "aarch64",
            ["add x9, sp, #32", "L1:", "str q3, [sp, #16]", "ldr q4, [x9]", "ldr q5, [x8]",
             "ldr x1, [sp, #8]", "fmla v0.4s, v1.4s, v2.s[0]", "b.ne L1", "ret"],
            ["str q3, [sp, #16]", "ldr q4, [x9]"],
        ),
        (
            "arm",
            ["add r6, sp, #16", "L1:", "vst1.64 {d16, d17}, [r6:128]", "vldr d1, [sp, #8]",
             "vld1.32 {d4}, [r2]", "vmla.f32 q0, q1, q2", "bne L1", "bx lr"],
            ["vst1.64 {d16, d17}, [r6:128]", "vldr d1, [sp, #8]"],
        ),
    ],
)  # fmt: skip
def test_spills_of_other_machines_are_seen(
    machine: str, lines: list[str], spills: list[str]
) -> None:
    kind = "%function" if machine == "arm" else "@function"
    assembly = "\n".join([f"\t.type k,{kind}", "k:", *lines, "\t.size k, .-k"])
    (loop,) = innermost_loops(assembly, machine)
    assert loop.spills == spills
    assert loop.fused == 1

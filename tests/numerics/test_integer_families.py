"""The later built-in families in integers: no float island, and each element the reference's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from integer_networks import quantized

import tvm_mobilenet as tm
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models import SHORT_NAMES, build
from tvm_mobilenet.models.layers import Softmax
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.network.plan import Call, Foreign
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.quantization.made_up import made_up
from tvm_mobilenet.verify.artifact import sample_input

LATER = [name for name in SHORT_NAMES if name not in {"v1", "v2", "v3-large", "v3-small"}]
WITH_FACTORS = {"mnasnet-a1", "mobileone-s4"}
"""Those that squeeze and excite."""


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("target", ["x86-64-v3", "rpi5"])
def test_all_but_the_softmax_is_in_integers(name: str, target: str) -> None:
    """Its probabilities are what people read; every other layer has a kernel of ours."""
    made = made_up(build(name, resolution=64))
    plan = plan_network(made.model, parse(target), records=made.records)
    assert not [step for step in plan.steps if isinstance(step, Foreign)]
    calls = [step for step in plan.steps if isinstance(step, Call)]
    floats = [call for call in calls if not call.work.integer]
    assert [type(layer) for call in floats for layer in call.layers] == [Softmax]
    operators = Counter(call.work.operator for call in calls)
    assert (operators["quantize"], operators["dequantize"]) == (1, 0)
    assert (operators["qscale"] > 0) == (name in WITH_FACTORS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v4-conv-small", {"alpha": 0.35}),
        ("efficientnet-lite0", {}),
        ("mnasnet-a1", {"alpha": 0.5}),
        ("mobileone-s0", {}),
    ],
)
def test_each_element_is_the_references(name: str, options: dict[str, Any]) -> None:
    """Compiling verifies every kernel; the answer here is of two threads."""
    made = quantized(build(name, resolution=32, classes=10, **options))
    module = tm.compile(made, target=parse("native", cores=2)).module
    x = sample_input(made.model.input_shape, 7)
    want = reference.run(QuantizedModel(made.model, made.records), made.weights, x)
    np.testing.assert_allclose(module(x), want[made.model.outputs[0]], rtol=1e-5, atol=1e-7)

"""Networks whose kernels prefetch for others compute the same, and show every kernel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet import machine as target
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.operators.workload import workload_key
from tvm_mobilenet.verify.artifact import sample_input


@pytest.mark.parametrize(("cores", "batch", "resolution"), [(1, 2, 47), (2, 1, 96)])
def test_a_network_that_prefetches_is_right(cores: int, batch: int, resolution: int) -> None:
    model = tm.build("v3-small", alpha=0.5, resolution=resolution, batch=batch, classes=17)
    # A processor whose caches do not hold the network's weights.
    small = dataclasses.replace(target.host(), cores=cores, l2_bytes=1 << 18, l3_bytes=5 << 19)
    compiled = tm.compile(model, target=small, seed=3)
    calls = compiled.manifest["calls"]
    assert any(workload_key(call["kernel"]) != call["kernel"] for call in calls)
    x = sample_input(model.input_shape, seed=1)
    want = reference.run(model, initialize(model, seed=3), x)
    assert reference.relative_error(compiled.module(x), want) < 1e-5
    kernels = compiled.module.kernels(x)
    assert len(kernels.replay()) == len(calls)
    np.testing.assert_array_equal(compiled.module(x), compiled.module(x))

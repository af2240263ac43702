"""Rows over their norms with TE: against float64, ordinary and not, on every x86 family."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from classic.test_te_softmax import X86, here
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.emit.relay.kernels import compiled, lowered
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.verify.kernel_case import kernel_case


@pytest.mark.parametrize("name", X86)
def test_rows_over_their_norms(name: str) -> None:
    spec = here(name)
    for shape in [(1, 1), (3, 2), (1, 7), (2, 16), (2, 17), (5, 100), (70, 513)]:
        layer = LpNormalization("norm", (INPUT,), shape)
        work = workload_of_layer(layer, spec)
        assert work is not None
        knobs = Knobs({"threads": "all" if shape[0] > 1 else "one"})
        kernel = compiled(lowered(work, spec, knobs), spec)[work.key]

        def run(x: np.ndarray, kernel: object = kernel) -> np.ndarray:
            out = tvm.nd.array(np.full(x.shape, 7, np.float32))
            kernel(tvm.nd.array(x), out)
            return out.numpy()

        case = kernel_case(work, seed=1)
        assert case.error(run(case.inputs[0])) < 1e-6
        for first in (0.0, 1e30, 1e-30, np.inf, np.nan):
            x = np.full(shape, first and np.sign(first) * min(abs(first), 1), np.float32)
            x[0] = 0
            x[0, -1] = first
            want = reference.run_layer(layer, {}, x)
            np.testing.assert_allclose(run(x), want, rtol=1e-6)


@pytest.mark.parametrize("name", X86)
def test_layer_norms(name: str) -> None:
    spec = here(name)
    for shape in [(3, 2), (2, 16), (2, 17), (70, 100)]:
        work = workload_of_layer(LayerNorm("norm", (INPUT,), shape, 1e-5), spec)
        assert work is not None
        kernel = compiled(lowered(work, spec, Knobs()), spec)[work.key]
        case = kernel_case(work)
        out = tvm.nd.array(np.full(shape, 7, np.float32))
        kernel(*map(tvm.nd.array, case.inputs), out)
        assert case.error(out.numpy()) < 1e-5

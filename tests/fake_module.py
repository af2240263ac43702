"""What stands for a compiled module: the reference, rounded after every layer."""

from __future__ import annotations

from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.spec import INPUT, Operator
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.runtime.instrument import Trace
from tvm_mobilenet.verify import judging

MODEL = mobilenet_v1(alpha=0.25, resolution=32, classes=10)
WEIGHTS = initialize(MODEL, seed=3)
NAMES = [layer.name for layer in MODEL.layers]


class Fake:
    """Stands for a compiled module: the reference, rounded to float32 after every layer.

    `groups` are the layers of each kernel; `spoil` maps a layer's name to what happens to its
    output before the next layer reads it; `by` computes operators that are not ours.
    """

    stored = None
    by = "onnx"

    def __init__(self, model=MODEL, weights=WEIGHTS, groups=None, spoil=None, after=None):
        self.model, self.weights, self.after = model, weights, after
        self.groups = groups or [[layer.name] for layer in model.layers]
        self.spoil = spoil or {}

    def trace(self, x):
        values = {INPUT: x}
        traces = []
        for group in self.groups:
            for name in group:
                layer = self.model.layer(name)
                y = judging.compute(layer, self.weights, values, self.by)
                dtype = layer.dtypes[-1] if isinstance(layer, Operator) else "float32"
                values[name] = self.spoil.get(name, lambda v: v)(y.astype(dtype))
            call = {"kernel": f"k_{group[-1]}", "operator": "", "layers": group}
            if self.stored:
                call["stored"] = self.stored
            traces.append(Trace(call, values[group[-1]]))
        return traces

    def __call__(self, x):
        traces = self.trace(x)
        left = {trace.call["layers"][-1]: trace.output for trace in traces}
        found = tuple(left.get(name, traces[-1].output) for name in self.model.outputs)
        found = found if self.after is None else tuple(map(self.after, found))
        return found if len(found) > 1 else found[0]

"""Evaluates an ONNX graph in double precision, by onnx's evaluator with corrections.

What it cannot compute onnxruntime does, if it is installed. Where neither can, a tensor and
everything computed from it are unjudged. See docs/adr/0020.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import rounded
from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.onnx_operators import corrected
from tvm_mobilenet.models.onnx_protos import alone, doubled, types_of

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

ONNX, ONNXRUNTIME = "onnx", "onnxruntime"
"""The two evaluators."""

Judge = Literal["onnx", "onnxruntime"]

Rounding = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a graph computes.

    Attributes
    ----------
    values : dict of str to ndarray
        Tensors by name; floating-point ones are float64.
    unjudged : dict of str to str
        Names of tensors that neither evaluator could compute, and why.
    """

    values: dict[str, Array] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)


def run_graph(
    model: onnx.ModelProto,
    x: Array,
    *,
    given: Mapping[str, Array] | None = None,
    rounding: Rounding | None = None,
    by: Judge = "onnx",
    keep: Collection[str] | None = None,
    each: Callable[[str, Array], object] = lambda _name, _value: None,
) -> Evaluation:
    """Compute every tensor of a graph, node by node.

    Parameters
    ----------
    model : onnx.ModelProto
        A model with one input and without subgraphs.
    x : ndarray
        The value of the input.
    given : mapping of str to ndarray, optional
        Values of tensors that replace the computed ones.
    rounding : {"float32", "float16", "bfloat16"}, optional
        ``"float32"`` computes in the types of the file. The others compute in float64 and
        round every tensor to that type. By default only tensors that the file declares to be
        float16 are rounded.
    by : {"onnx", "onnxruntime"}
        The evaluator that is asked first.
    keep : collection of str, optional
        Tensors to return; others are given up behind their last reader. All without.
    each : callable
        Told the name and the value of every tensor that a node computes, in their order.
    """
    from onnx import numpy_helper

    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    declared = types, shapes = types_of(model)
    double = rounding != "float32"
    given = given or {}

    def stored(name: str, value: Array) -> Array:
        if not np.issubdtype(value.dtype, np.floating) or not double:
            return value
        if rounding == "bfloat16" and value.ndim > 1:
            return rounded(value).astype(np.float64)
        halves = types.get(name) == np.float16 or (rounding == "float16" and value.ndim > 1)
        if not halves:
            return value.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            return value.astype(np.float16).astype(np.float64)

    values = {t.name: stored(t.name, numpy_helper.to_array(t)) for t in model.graph.initializer}
    (source,) = (v.name for v in model.graph.input if v.name not in values)
    values[source] = stored(source, np.asarray(x).astype(types[source]))
    found = Evaluation(values)
    last = {name: at for at, node in enumerate(model.graph.node) for name in node.input}
    for at, node in enumerate(model.graph.node):
        known = {name: values[name] for name in node.input if name in values}
        missing = [name for name in node.input if name and name not in known]
        try:
            if missing:
                raise UnjudgedError(f"it is computed from {missing[0]!r}")
            made = _first_of(node, opset, known, declared, by, double=double)
        except UnjudgedError as error:
            found.unjudged.update((name, error.what) for name in node.output if name)
            made = []
        for name, value in zip(node.output, made, strict=False):
            if name:
                values[name] = stored(name, value)
                # Behind what ONNX infers no type of.
                single = np.dtype(np.float32) if value.dtype.kind == "f" else value.dtype
                types.setdefault(name, single)
                if shapes.get(name, value.shape) != value.shape:
                    shapes.clear()  # what ONNX infers behind it is as wrong
        for name in node.output:
            if name in given:
                value = np.asarray(given[name])
                values[name] = stored(name, value.reshape(shapes.get(name, value.shape)))
                found.unjudged.pop(name, None)
            if name in values:
                each(name, values[name])
        if keep is not None:
            for name in {*node.input, *node.output}:
                if last.get(name, at) <= at and name not in keep:
                    values.pop(name, None)
    return found


def _first_of(
    node: onnx.NodeProto,
    opset: int,
    inputs: Mapping[str, Array],
    known: tuple[Mapping[str, np.dtype[Any]], Mapping[str, tuple[int, ...]]],
    by: Judge,
    *,
    double: bool,
) -> list[Array]:
    """Ask one judge, and then the other; `known` are types and shapes of tensors."""
    dtypes, shapes = known
    judges: list[Judge] = ["onnx", "onnxruntime"] if by == ONNX else ["onnxruntime", "onnx"]
    reasons = []
    for one in judges:
        try:
            found = run_node(node, opset, inputs, dtypes, by=one, double=double)
        except UnjudgedError as error:
            reasons.append(error.what)
            continue
        named = [(n, v.shape) for n, v in zip(node.output, found, strict=False) if n]
        # Our own Resize may know better: ONNX's inference takes 10 * 1.4 for 13, in float64.
        sure = one == ONNX and corrected(node.op_type, opset) is not None
        odd = [n for n, shape in named if shapes.get(n, shape) != shape]
        if sure or not odd:
            return found
        reasons.append(f"{one} gives {odd[0]!r} another shape than ONNX infers")
    raise UnjudgedError("; ".join(reasons))


def run_node(
    node: onnx.NodeProto,
    opset: int,
    inputs: Mapping[str, Array],
    dtypes: Mapping[str, np.dtype[Any]],
    *,
    by: Judge = "onnx",
    double: bool = True,
) -> list[Array]:
    """Compute one node.

    Parameters
    ----------
    inputs : mapping of str to ndarray
        Inputs by the node's names for them.
    dtypes : mapping of str to dtype
        Types of the inputs, as the file declares them.
    double : bool
        Whether floating point is computed in float64, where the evaluator can.

    Returns
    -------
    list of ndarray
        Outputs in the node's order; the last ones may be missing.

    Raises
    ------
    UnjudgedError
        This evaluator cannot compute the node.
    """
    if by == ONNXRUNTIME:
        cast = {n: np.asarray(v).astype(dtypes.get(n, v.dtype)) for n, v in inputs.items()}
        return _by_onnxruntime(alone(node, opset, cast), cast)
    # What ONNX itself spells in other operators has constants of float32, and no double form.
    for wide in (True, False) if double else (False,):
        fed = {
            n: _in_double(np.asarray(v))
            if wide
            else np.asarray(v).astype(dtypes.get(n, v.dtype), copy=False)
            for n, v in inputs.items()
        }
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = _by_onnx(node, opset, fed, double=wide)
            # Whatever its arithmetic raises: the node cannot be computed so.
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                continue
        return [_in_double(np.asarray(v)) if double else np.asarray(v) for v in found]
    raise UnjudgedError(f"onnx's evaluator cannot do {node.op_type}: {reason}")


def _by_onnx(
    node: onnx.NodeProto, opset: int, inputs: Mapping[str, Array], *, double: bool
) -> Sequence[Array]:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    rule = corrected(node.op_type, opset)
    if node.op_type == "MaxPool" and len(node.output) > 1:
        rule = None
    if rule is not None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "BatchNormalization" and any(node.output[1:]):
            attributes["training_mode"] = 1  # before opset 14 to name those is to ask for it
        try:
            return [rule(attributes, opset, *(inputs.get(name) for name in node.input))]
        except NotImplementedError:
            pass  # a form that onnx's own evaluator is right about
    if double:
        node = doubled(node)
    found: Sequence[Array] = ReferenceEvaluator(alone(node, opset, inputs)).run(None, dict(inputs))
    values = iter(found)
    return [next(values) if name else np.zeros(0) for name in node.output]


def _by_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    (node,) = model.graph.node
    try:
        import onnxruntime
    except ImportError:
        raise UnjudgedError("onnxruntime is not installed") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = iter(session.run(None, dict(inputs)))
    # Its exceptions have no common root.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnjudgedError(f"onnxruntime cannot do {node.op_type}: {reason}") from error
    return [_in_double(np.asarray(next(found))) if name else np.zeros(0) for name in node.output]


def _in_double(value: Array) -> Array:
    return (
        value.astype(np.float64, copy=False) if np.issubdtype(value.dtype, np.floating) else value
    )

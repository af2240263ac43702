"""Functions of an ONNX file, put where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.errors import OnnxFileError

if TYPE_CHECKING:
    import onnx

_MOST_NODES = 1_000_000
"""Most nodes after functions are inlined: hundreds of times those of the largest network seen."""


def inlined(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model without functions.

    Parameters
    ----------
    where : str
        Path of the file.

    Raises
    ------
    OnnxFileError
        A function calls itself, directly or by others, or they make too many nodes, or do not
        fit their calls.
    """
    from onnx import inliner

    if not len(model.functions):
        return model
    _count(model, where)
    try:
        return inliner.inline_local_functions(model)
    # What it raises where a call does not fit a function is of no class of its own.
    except Exception as error:
        raise OnnxFileError(
            f"the functions of {where!r} cannot be written out: {' '.join(str(error).split())}",
            "export it without functions",
        ) from error


def _count(model: onnx.ModelProto, where: str) -> None:
    """Refuse functions that never end, or end too late, when they are written out."""
    nodes = {(f.domain, f.name): f.node for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    # Those that are being counted, each with what it still calls: recursion without a stack.
    calls: dict[tuple[str, str], list[tuple[str, str]]] = {}
    todo = [("", "")]
    nodes[todo[0]] = model.graph.node
    while todo:
        at = todo[-1]
        called = calls.setdefault(at, [(n.domain, n.op_type) for n in nodes[at]])
        missing = [name for name in called if name in nodes and name not in sizes]
        if missing and missing[0] in calls:
            raise OnnxFileError(
                f"the function {missing[0][1]!r} of {where!r} calls itself", "export it again"
            )
        if missing:
            todo.append(missing[0])
            continue
        sizes[at] = sum(sizes.get(name, 1) for name in called)
        todo.pop()
        if sizes[at] > _MOST_NODES:
            raise OnnxFileError(
                f"the functions of {where!r} make more than {_MOST_NODES} nodes, written out",
                "export it without functions",
            )

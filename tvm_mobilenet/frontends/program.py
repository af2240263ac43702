"""A function of Relay's or Relax's as a list of calls: plain values, nothing of TVM's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import InvalidModelError, UnsupportedOperatorError
from tvm_mobilenet.models.layer import Shape

Array = NDArray[Any]


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor that a call reads or computes.

    Attributes
    ----------
    name : str
        Unique in its program, once :meth:`Program.named` has run.
    dtype : str
        NumPy's name.
    value : ndarray or None
        What it holds, where it is a constant.
    maker : Call or None
        What computes it.
    """

    name: str
    dtype: str
    shape: Shape
    value: Array | None = None
    maker: Call | None = None


Argument = Any
"""A :class:`Tensor`, a list of them, or what :func:`plain` returns."""


class Attributes:
    """Attributes of a call by name, as plain values.

    Parameters
    ----------
    stored : object
        TVM's, or None.
    given : mapping
        What the call has as arguments, by the name that Relay has for it as an attribute; these
        come first.
    """

    def __init__(self, stored: Any, given: Mapping[str, Any]) -> None:
        self._stored, self._given = stored, given

    def __getitem__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        return plain(getattr(self._stored, name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute that only one of the two dialects has."""
        there = name in self._given or hasattr(self._stored, name)
        return self[name] if there else default


@dataclass(eq=False, slots=True)
class Call:
    """One operator on tensors.

    Attributes
    ----------
    operator : str
        Relay's name of it, without ``relax.``.
    args : list
        Tensors, lists of them, or None where there is none.
    outputs : list of Tensor
        Several of an operator that gives a tuple.
    hint : str
        What the module calls it, if it does.
    """

    operator: str
    args: list[Argument]
    attrs: Attributes
    outputs: list[Tensor]
    hint: str = ""

    @property
    def out(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def title(self) -> str:
        """The operator without the family in front of it."""
        return self.operator.rpartition(".")[2]

    def refused(self, why: str) -> UnsupportedOperatorError:
        """Return the error of a form of the operator that is not taken."""
        return UnsupportedOperatorError(
            f"the operator {self.operator}, which computes {self.out.name!r}, is not taken: {why}",
            "write it in other operators, or cut the module before it",
        )


@dataclass(slots=True)
class Program:
    """A function of one input.

    Attributes
    ----------
    stack : str
        ``"relay"`` or ``"relax"``.
    calls : list of Call
        Each behind those that it reads.
    inputs : list of Tensor
        Parameters that nothing was given for.
    """

    stack: str
    calls: list[Call] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)

    def call(self, operator: str, args: list[Argument], attrs: Attributes, hint: str = "") -> Call:
        """Append a call whose outputs are still to be declared."""
        made = Call(operator, args, attrs, [], hint)
        self.calls.append(made)
        return made

    def image(self) -> Tensor:
        """Return the one input.

        Raises
        ------
        InvalidModelError
            There are several, or none.
        """
        if len(self.inputs) != 1:
            names = ", ".join(tensor.name for tensor in self.inputs) or "none"
            raise InvalidModelError(
                f"the function takes {len(self.inputs)} tensors that params does not hold "
                f"({names}); it should take one, an image",
                "give all others in params, by their names",
            )
        return self.inputs[0]

    def named(self) -> None:
        """Give every computed tensor a name: of its call, else of what it follows, else a number.

        Of several calls of one name, as the convolution and the bias of one ONNX node are, the
        last has it, and the others have their operators behind it.
        """
        taken = {tensor.name for tensor in self.inputs}
        last = {call.hint: call for call in self.calls if call.hint}
        numbers: Counter[str] = Counter()
        for call in self.calls:
            numbers[call.title] += 1
            source = next((arg for arg in call.args if isinstance(arg, Tensor)), None)
            before = source.maker.hint if source is not None and source.maker is not None else ""
            name = call.hint or (before and f"{before}.{call.title}")
            if call.hint and last[call.hint] is not call:
                name = f"{call.hint}.{call.title}"
            name = name or f"{call.title}_{numbers[call.title]}"
            for at, tensor in enumerate(call.outputs):
                tensor.name = name if at == 0 else f"{name}.{at}"
                while tensor.name in taken:
                    tensor.name += "'"
                taken.add(tensor.name)


_PARTS = ("weight", "bias", "gamma", "beta", "moving_mean", "moving_var", "running_mean",
          "running_var", "mean", "var", "kernel", "alpha", "w", "b")  # fmt: skip


def hint_of_parameters(args: Iterable[Argument]) -> str:
    """Return what the names of a call's weights say that it is: ``fc1`` of ``fc1.weight``."""
    for arg in args:
        if isinstance(arg, Tensor) and arg.value is not None and arg.name:
            stem, part = _parted(arg.name)
            if part in _PARTS and stem:
                return stem
    return ""


def _parted(name: str) -> tuple[str, str]:
    for part in _PARTS:
        for mark in "._":
            if name.endswith(mark + part):
                return name[: -len(part) - 1], part
    return name, ""


def bind(parameters: Sequence[Tensor], params: Mapping[str, Any] | None) -> None:
    """Make constants of the parameters that `params` has; it may have others as well.

    Parameters
    ----------
    parameters : sequence of Tensor
        Those of the function, in order; changed.
    params : mapping, optional
        By name, or ``{"main": [array, …]}`` of the last ones, as
        ``relax.frontend.detach_params`` returns them.

    Raises
    ------
    InvalidModelError
        An array is not of its parameter's shape or type.
    """
    given = dict(params or {})
    listed = given.get("main")
    if isinstance(listed, Sequence):
        names = [tensor.name for tensor in parameters]
        given = dict(zip(names[max(len(names) - len(listed), 0) :], listed, strict=False))
    for tensor in parameters:
        if tensor.name not in given:
            continue
        array = given[tensor.name]
        tensor.value = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
        found, wanted = (
            f"{dtype} {'x'.join(map(str, shape))}"
            for dtype, shape in (
                (tensor.value.dtype, tensor.value.shape),
                (tensor.dtype, tensor.shape),
            )
        )
        if found != wanted:
            raise InvalidModelError(
                f"the parameter {tensor.name!r} is {found} in params, and should be {wanted}",
                "give the params of this module",
            )


def plain(value: Any) -> Any:
    """Return an attribute as Python has it: numbers, texts, lists and None."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    for inner in ("value", "values"):  # a constant expression, a shape
        if hasattr(value, inner) and not callable(getattr(value, inner)):
            return plain(getattr(value, inner))
    if hasattr(value, "__len__"):
        return [plain(one) for one in value]
    if type(value).__name__ in ("dtype", "DataType"):
        return str(value)
    raise UnsupportedOperatorError(
        f"{value} is known only when the module runs", "fix every size of the module first"
    )


def fixed_shape(sizes: Any, of: str) -> Shape:
    """Return a shape as numbers.

    Parameters
    ----------
    sizes : sequence or None
        TVM's; None where not even their number is known.
    of : str
        What has this shape, for the message.

    Raises
    ------
    InvalidModelError
        A size is open.
    """
    known = [getattr(size, "value", None) for size in sizes] if sizes is not None else [None]
    if not all(isinstance(size, int) for size in known):
        told = "x".join("?" if size is None else str(size) for size in known)
        raise InvalidModelError(
            f"{of} has no fixed shape: {told}",
            "fix it first: relax.transform.BindSymbolicVars, or for Relay "
            "relay.frontend.from_onnx(…, shape=…)",
        )
    return tuple(int(size) for size in known if size is not None)

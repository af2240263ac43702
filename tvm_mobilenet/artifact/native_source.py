"""The C interface's view of a network: tables of its calls, as C source.

``native/`` has the sources that are the same for every network; what is written here defines the
one object that they read, ``tmn_network`` of ``native/network.h``.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tvm_mobilenet.artifact.blob import ALIGNMENT
from tvm_mobilenet.artifact.calls import KernelCall, NetworkCalls, View
from tvm_mobilenet.artifact.sources import MANIFEST, WEIGHTS
from tvm_mobilenet.machine.features import HWCAPS

# DLDataTypeCode of dlpack.h, and bits where the name has none.
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}
_BOOL_BITS = "8"

Place = tuple[str, int]
"""A member of ``enum tmn_place``, and where in that."""


def network_source(calls: NetworkCalls, scratch_bytes: int, manifest: Mapping[str, Any]) -> str:
    """Return the C source that defines ``tmn_network``.

    Parameters
    ----------
    calls : NetworkCalls
        With the names that the object files have for kernels.
    scratch_bytes : int
        That one part of a parallel region takes for itself at most.
    manifest : mapping
        It describes inputs and outputs, in the order of the calls', and says which features of a
        processor are needed.
    """
    writer = _Writer(calls)
    arguments, table = writer.calls()
    tensors = {name: _tensors(name, manifest[name], calls) for name in ("inputs", "outputs")}
    kernels = dict.fromkeys(call.kernel for call in calls.calls)
    parts = [
        '#include "network.h"\n',
        f"extern const char {MANIFEST}[], {WEIGHTS}_data[];",
        *(
            f"int __tvm_ffi_{kernel}(void*, const struct tmn_any*, int32_t, struct tmn_any*);"
            for kernel in kernels
        ),
        *(text for text, _ in tensors.values()),
        *writer.shapes,
        _array("const struct tmn_view", "views", writer.rows()),
        _array("const struct tmn_argument", "arguments", arguments),
        _array("const struct tmn_call", "calls", table),
        _array("const struct tmn_copy", "copies", writer.copies),
        _array("const struct tmn_need", "needs", _needs(manifest)),
    ]
    fields = {
        "manifest": MANIFEST,
        "weights": f"{WEIGHTS}_data",
        **{name: name for name in (*tensors, "needs", "views", "arguments", "calls", "copies")},
        "input_count": tensors["inputs"][1],
        "output_count": tensors["outputs"][1],
        "need_count": len(manifest["needs"]),
        "view_count": len(writer.views),
        "bound_count": writer.bound,
        "argument_count": len(arguments),
        "call_count": len(table),
        "copy_count": len(writer.copies),
        "storage_bytes": writer.storage_bytes,
        "scratch_bytes": scratch_bytes,
    }
    members = "\n".join(f"    .{name} = {value}," for name, value in fields.items())
    return "\n".join(parts) + f"\nconst struct tmn_network tmn_network = {{\n{members}\n}};\n"


class _Writer:
    """Rows of the tables, numbered as they refer to each other."""

    def __init__(self, calls: NetworkCalls) -> None:
        self._calls = calls
        self.storage_bytes = 0
        self.copies: list[str] = []
        self._places = self._placed()
        used = dict.fromkeys(
            argument
            for call in calls.calls
            for argument in call.arguments
            if isinstance(argument, View)
        )
        # Those whose addresses are the caller's first: a run looks at no others.
        self.views = sorted(used, key=lambda view: not self._is_bound(view))
        self.bound = sum(map(self._is_bound, self.views))
        self._numbers = {view: number for number, view in enumerate(self.views)}
        self.shapes = [
            f"static const int64_t shape{number}[] = {{{_listed(view.shape) or 0}}};"
            for number, view in enumerate(self.views)
        ]

    def _placed(self) -> list[Place]:
        """Settle where each buffer is; note the outputs that have to be copied."""
        places: list[Place] = []
        inputs = 0
        returned: dict[int, int] = {}
        for number, view in enumerate(self._calls.outputs):
            if self._calls.buffers[view.buffer].place == "output":
                returned.setdefault(view.buffer, number)
        for number, buffer in enumerate(self._calls.buffers):
            if buffer.place == "input":
                places.append(("TMN_INPUT", inputs))
                inputs += 1
            elif number in returned:
                places.append(("TMN_OUTPUT", returned[number]))
            elif buffer.place == "weights":
                places.append(("TMN_WEIGHTS", buffer.offset))
            else:
                places.append(("TMN_STORAGE", self.storage_bytes))
                self.storage_bytes += -(-buffer.bytes // ALIGNMENT) * ALIGNMENT
        for number, view in enumerate(self._calls.outputs):
            if returned.get(view.buffer) != number:
                self.copies.append(f"{{{number}, {_placed(places[view.buffer])}}}")
        return places

    def _is_bound(self, view: View) -> bool:
        return self._places[view.buffer][0] in {"TMN_INPUT", "TMN_OUTPUT"}

    def rows(self) -> list[str]:
        """Return the views, a row each."""
        return [
            f"{{{_placed(self._places[view.buffer])}, shape{number}, {len(view.shape)}, "
            f"{_code_and_bits(view.dtype)}}}"
            for number, view in enumerate(self.views)
        ]

    def calls(self) -> tuple[list[str], list[str]]:
        """Return arguments and calls, a row each."""
        arguments: list[str] = []
        table: list[str] = []
        for call in self._calls.calls:
            first, count = len(arguments), len(call.arguments)
            table.append(f'{{__tvm_ffi_{call.kernel}, "{call.kernel}", {first}, {count}}}')
            arguments += self._arguments(call)
        return arguments, table

    def _arguments(self, call: KernelCall) -> Iterable[str]:
        for argument in call.arguments:
            if isinstance(argument, View):
                yield f"{{{self._numbers[argument]}, 0}}"
            else:
                yield f"{{-1, {argument}}}"


def _tensors(
    name: str, tensors: Sequence[Mapping[str, Any]], calls: NetworkCalls
) -> tuple[str, int]:
    """Describe the network's inputs or outputs; return C source, and how many there are."""
    bytes_of = (
        [view.bytes for view in calls.outputs]
        if name == "outputs"
        else [buffer.bytes for buffer in calls.buffers if buffer.place == "input"]
    )
    shapes, rows = [], []
    for number, (tensor, size) in enumerate(zip(tensors, bytes_of, strict=True)):
        shapes.append(
            f"static const int64_t {name}_shape{number}[] = {{{_listed(tensor['shape']) or 0}}};"
        )
        rows.append(
            f"{{{_quoted(tensor['name'])}, {_quoted(tensor['layout'])}, {name}_shape{number}, "
            f"{len(tensor['shape'])}, TVM_MOBILENET_{tensor['dtype'].upper()}, {size}, "
            f"{tensor.get('alignment', ALIGNMENT)}, 1.0f, 0}}"
        )
    table = _array("const tvm_mobilenet_tensor", name, rows)
    return "\n".join([*shapes, table]), len(rows)


def _needs(manifest: Mapping[str, Any]) -> list[str]:
    """Return how each feature is recognised: by its name on x86, elsewhere by a bit."""
    tables = HWCAPS.get(manifest["machine"], ())
    rows = []
    for need in manifest["needs"]:
        found = ((w, table[need]) for w, table in enumerate(tables, 1) if need in table)
        word, bit = next(found, (0, 0))
        rows.append(f'{{"{need}", {word}, {bit}}}')
    return rows


def _array(kind: str, name: str, rows: Sequence[str]) -> str:
    """Return the definition of a table; C has none without rows, so an empty one gets zeros."""
    if not rows:
        return f"static {kind} {name}[1];"
    lines = ",\n".join(f"    {row}" for row in rows)
    return f"static {kind} {name}[] = {{\n{lines},\n}};"


def _code_and_bits(dtype: str) -> str:
    kind = dtype.rstrip(string.digits)
    return f"{_CODES[kind]}, {dtype.removeprefix(kind) or _BOOL_BITS}"


def _placed(place: Place) -> str:
    return f"{{{place[0]}, {place[1]}}}"


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))


def _quoted(text: str) -> str:
    """Return a C string of any text: what C might read otherwise, in octal digits."""
    plain = set(string.ascii_letters + string.digits + "_-./: ")
    return '"' + "".join(c if c in plain else _octal(c) for c in text) + '"'


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())

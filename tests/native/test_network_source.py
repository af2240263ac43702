"""What is written of a network as C: tables that the runtime reads as they are meant."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet.artifact.calls import Buffer, KernelCall, NetworkCalls, View
from tvm_mobilenet.artifact.kernel_symbols import rename_for_two_doors
from tvm_mobilenet.artifact.native_header import NATIVE, header, renaming
from tvm_mobilenet.artifact.native_source import network_source
from tvm_mobilenet.errors import CInterfaceError
from tvm_mobilenet.machine import host

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler: apt install gcc"
)

# y = x + what stands among the weights at an offset, or in a tensor.
KERNELS = """
#include <string.h>
#include "network.h"
int __tvm_ffi_add(void* self, const struct tmn_any* arguments, int32_t count, struct tmn_any* r) {
  (void)self, (void)r;
  struct tmn_dltensor *x = arguments[0].value.pointer, *y = arguments[2].value.pointer;
  const float* w = arguments[1].type == TMN_TENSOR
      ? ((struct tmn_dltensor*)arguments[1].value.pointer)->data
      : (const void*)(tmn_network.weights + arguments[1].value.integer);
  if (count != 3 || x->rank != 2 || x->shape[1] != 4 || x->code != 2 || x->bits != 32) return -1;
  for (int i = 0; i < 4; i++) ((float*)y->data)[i] = ((float*)x->data)[i] + w[i];
  return 0;
}
"""
TENSOR = {"shape": [1, 4], "dtype": "float32", "layout": "NC"}
ODD = 'a"b\\c\n/*ä*/??/%s'


def manifest(outputs: int) -> dict[str, Any]:
    spec = host()
    return {
        "title": "Odd */ title\n",
        "target": {"name": "native"},
        "machine": spec.machine,
        "needs": list(spec.needs),
        "inputs": [{"name": ODD, **TENSOR}],
        "outputs": [{"name": f"y{number}", **TENSOR} for number in range(outputs)],
    }


class Tensor(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("layout", ctypes.c_char_p))


def build(folder: Path, calls: NetworkCalls, described: dict[str, Any]) -> ctypes.CDLL:
    weights = np.arange(16, dtype=np.float32).tobytes() * 2
    words = ",".join(map(str, struct.unpack(f"{len(weights) // 4}I", weights)))
    (folder / "network.c").write_text(network_source(calls, 0, described))
    (folder / "rest.c").write_text(
        f"{KERNELS}const char tmn_manifest[] = {{'{{', '}}', 0}};\n"
        f"const uint32_t tvm_mobilenet_weights_data[] = {{{words}}};\n"
    )
    made = folder / "network.so"
    sources = [*NATIVE.glob("*.c"), folder / "network.c", folder / "rest.c"]
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{NATIVE}"]
    command = ["gcc", *options, *map(str, sources), "-o", str(made)]
    subprocess.run([*command, "-pthread"], check=True)
    library = ctypes.CDLL(str(made))
    library.tvm_mobilenet_input.restype = ctypes.POINTER(Tensor)
    library.tvm_mobilenet_context_bytes.restype = ctypes.c_size_t
    return library


def run(library: ctypes.CDLL, x: np.ndarray, outputs: int) -> list[np.ndarray]:
    found = [np.full(4, np.nan, np.float32) for _ in range(outputs)]
    options = (ctypes.c_uint64 * 3)(1, 0, 0)
    context = ctypes.c_void_p()
    assert not library.tvm_mobilenet_create(options, ctypes.byref(context))
    places = (ctypes.c_void_p * outputs)(*(y.ctypes.data for y in found))
    given = (ctypes.c_void_p * 1)(x.ctypes.data)
    assert not library.tvm_mobilenet_run(context, given, places)
    library.tvm_mobilenet_destroy(context)
    return found


def test_outputs_of_every_kind(tmp_path: Path) -> None:
    """An output that a later kernel reads, returned twice; an input; a constant; storage."""

    def view(buffer: int) -> View:
        return View(buffer, (1, 4), "float32")

    calls = NetworkCalls(
        (
            Buffer("input", 16),
            Buffer("output", 16),
            Buffer("weights", 16, 64),
            Buffer("storage", 16),
            Buffer("storage", 16),
            Buffer("output", 16),
        ),
        (
            KernelCall("add", (view(0), 16, view(1))),
            KernelCall("add", (view(1), view(2), view(3))),
            KernelCall("add", (view(3), 0, view(4))),
            KernelCall("add", (view(4), 0, view(5))),
        ),
        tuple(map(view, (0, 1, 5, 1, 2, 3))),
    )
    library = build(tmp_path, calls, manifest(6))
    x = np.array([1, 10, 100, 1000], np.float32)
    low, high = np.arange(4, dtype=np.float32), np.arange(4, 8, dtype=np.float32)
    first = x + high
    second = first + low  # at 64 the weights begin again
    expected = [x, first, second + low + low, first, low, second]
    for y, wanted in zip(run(library, x, 6), expected, strict=True):
        np.testing.assert_array_equal(y, wanted)
    assert library.tvm_mobilenet_input(0).contents.name == ODD.encode()


def test_a_network_that_does_nothing(tmp_path: Path) -> None:
    view = View(0, (1, 4), "float32")
    library = build(tmp_path, NetworkCalls((Buffer("input", 16),), (), (view,)), manifest(1))
    x = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(run(library, x, 1)[0], x)


def test_a_header_is_this_network_s() -> None:
    described = {**manifest(2), "c_interface": {"version": 1, "prefix": "net"}}
    text = header(described)
    assert "tvm_mobilenet" not in text.lower()
    assert text.index("*/") > text.index("output 1: y1, float32, 1 x 4, NC")
    assert "net_status net_run(net_context* context" in text
    large = header({**described, "c_interface": {"version": 1, "prefix": "TVM_MOBILENET_x"}})
    assert large.lower() == text.lower().replace("net_", "tvm_mobilenet_x_")
    assert "TVM_MOBILENET_x_run(" in large
    assert "TVM_MOBILENET_X_OK" in large
    with pytest.raises(CInterfaceError, match="no C interface"):
        header(manifest(1))


def test_every_function_gets_its_name() -> None:
    exported = {line.split("=")[0] for line in renaming("net")}
    defined = " ".join(path.read_text() for path in NATIVE.glob("*.c"))
    for option in exported:
        assert f"{option.removeprefix('-D')}(" in defined, option
    assert defined.count("TMN_PUBLIC") == len(exported) + 3  # and the pointers that TVM fills
    assert renaming("tvm_mobilenet") == []


def compiled(folder: Path, source: str) -> Path:
    (folder / "a.c").write_text(source)
    made = folder / "a.o"
    subprocess.run(["gcc", "-c", str(folder / "a.c"), "-o", str(made)], check=True)
    return made


def names(path: Path) -> set[str]:
    told = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in told.splitlines()}


def test_four_names_are_changed_and_no_other(tmp_path: Path) -> None:
    path = compiled(
        tmp_path,
        "__attribute__((weak)) void* __TVMBackendParallelLaunch;"
        "void my__TVMBackendParallelLaunch2();"
        "void TVMFFIErrorSetRaisedFromCStrParts();"
        "void f() { TVMFFIErrorSetRaisedFromCStrParts(__TVMBackendParallelLaunch); "
        "my__TVMBackendParallelLaunch2(); }",
    )
    rename_for_two_doors(path)
    assert names(path) >= {
        "f",
        "__tmnBackendParallelLaunch",
        "tmnFFIErrorSetRaisedFromCStrParts",
        "my__TVMBackendParallelLaunch2",
    }
    assert not {n for n in names(path) if n.startswith(("__TVM", "TVM"))}


def test_a_file_without_them_is_not_touched(tmp_path: Path) -> None:
    path = compiled(tmp_path, "int f(void) { return 1; }")
    before = path.read_bytes()
    rename_for_two_doors(path)
    assert path.read_bytes() == before


def test_a_name_within_another_is_changed_alone(tmp_path: Path) -> None:
    """Assemblers may keep a name once where another one ends in it."""
    path = compiled(
        tmp_path,
        "extern int x__TVMBackendFreeWorkspace; int f() { return x__TVMBackendFreeWorkspace; }"
        "int other;",
    )
    data = path.read_bytes()
    long = b"\0x__TVMBackendFreeWorkspace\0"
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        start = table.stringtable["sh_offset"]
        symbols = {symbol.name: at for at, symbol in enumerate(table.iter_symbols())}
        at = table["sh_offset"] + symbols["other"] * table["sh_entsize"]
    patched = bytearray(data)
    patched[at : at + 4] = struct.pack("<I", data.index(long) + 2 - start)
    path.write_bytes(patched)
    rename_for_two_doors(path)
    assert names(path) >= {"f", "x__TVMBackendFreeWorkspace", "__tmnBackendFreeWorkspace"}
    assert "__TVMBackendFreeWorkspace" not in names(path)

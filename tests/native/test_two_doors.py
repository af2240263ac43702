"""One file, two doors: a C program gets what TVM's virtual machine gets, bit for bit."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx_nets
import pytest
import tiny_network

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.native_header import NATIVE
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.runtime.library import loaded_library

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="no C compiler: apt install gcc")

PROGRAM = Path(__file__).with_name("program.c")
BUILT_IN: dict[str, Callable[[], Any]] = {
    "v1": lambda: tm.mobilenet_v1(alpha=0.25, resolution=128),
    "v2": lambda: tm.mobilenet_v2(alpha=0.35, resolution=96),
    "v3": lambda: tm.mobilenet_v3_small(resolution=64),
    "batch": lambda: tm.mobilenet_v1(alpha=0.25, resolution=32, batch=2),
}


def network(name: str, folder: Path) -> Any:
    """Build a network by its name; of "foreign" TVM has kernels, and one output is truth values."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    net = onnx_nets.Net()
    x = net.act(net.conv("image", 8, 3, bias=True), "relu6")
    y = net.op("Sigmoid", net.conv(x, 24))
    pooled = net.op("GlobalAveragePool", y)
    flat = net.op("Flatten", pooled)
    positive = net.op("Greater", flat, net.const(0.5))
    return net.save(folder / "foreign.onnx", y, flat, net.op("Tanh", flat), positive, x)


@pytest.fixture(scope="module", params=[*BUILT_IN, "foreign"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    compiled = tm.compile(network(request.param, folder), target="native")
    path: Path = compiled.export(folder / "model.so")
    return path


def program(artifact: Path, compiler: str = "gcc") -> Path:
    """Compile the program for an artifact, as strictly as a user may."""
    made = artifact.with_name("program")
    if not made.exists():
        strict = ["-std=c11", "-D_ISOC11_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1"]
        link = [f"-I{NATIVE}", str(PROGRAM), str(artifact), f"-Wl,-rpath,{artifact.parent}"]
        subprocess.run([compiler, *strict, *link, "-o", str(made)], check=True)
    return made


def through_c(artifact: Path, threads: int, how: str, x: Any) -> tuple[list[Any], int]:
    described = tm.load(artifact).manifest["outputs"]
    x.tofile(artifact.with_name("in.bin"))
    outputs = [artifact.with_name(f"out{number}.bin") for number in range(len(described))]
    files = map(str, [artifact.with_name("in.bin"), *outputs])
    command = [str(program(artifact)), str(threads), how, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    arrays = [
        np.fromfile(path, tensor["dtype"]).reshape(tensor["shape"])
        for path, tensor in zip(outputs, described, strict=True)
    ]
    return arrays, int(done.stdout)


@pytest.mark.parametrize("linker", ["cross", "zig"])
@pytest.mark.parametrize(
    ("target", "triple"), [("rpi4", "aarch64-linux-gnu"), ("rpi2", "arm-linux-gnueabihf")]
)
def test_on_arm(
    target: str, triple: str, linker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of another processor are not the same to the bit."""
    emulator = shutil.which(f"qemu-{triple.partition('-')[0]}-static")
    compiler = shutil.which(f"{triple}-gcc")
    if emulator is None or compiler is None:
        pytest.skip(f"no emulated ARM: apt install qemu-user-static gcc-{triple}")
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    here = tm.compile(model, seed=3, verify=False)
    with monkeypatch.context() as patched:
        if linker == "zig":
            patched.setenv("PATH", "/nowhere")
        board = tm.compile(model, target=target, seed=3)
    artifact = board.export(tmp_path / "model.so")
    x = image(32)
    x.tofile(tmp_path / "in.bin")
    made = str(program(artifact, compiler))
    for threads, how in ((1, "own"), (3, "given"), (4, "parts")):
        files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
        command = [emulator, "-L", f"/usr/{triple}", made, str(threads), how, *files]
        subprocess.run(command, check=True, timeout=120)
        y = np.fromfile(tmp_path / "out.bin", np.float32).reshape(1, 10)
        np.testing.assert_allclose(y, here.module(x), rtol=1e-4)


def through_tvm(artifact: Path, threads: int, x: Any) -> list[Any]:
    found = tm.load(artifact, threads=threads)(x)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("how", ["own", "given", "parts", "odd"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_numbers(artifact: Path, threads: int, how: str) -> None:
    shape = tm.load(artifact).manifest["inputs"][0]["shape"]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = through_tvm(artifact, threads, x)
    found, regions = through_c(artifact, threads, how, x)
    if "foreign" not in str(artifact):
        assert (regions > 0) == (how == "parts" and threads > 1)
    for a, b in zip(expected, found, strict=True):
        assert a.tobytes() == b.tobytes()


class Options(ctypes.Structure):
    _fields_ = (
        ("threads", ctypes.c_int32),
        ("parallel_for", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    )


class Context:
    """A context of a library that is loaded; one input, one output."""

    def __init__(self, library: ctypes.CDLL, threads: int, shape: tuple[int, ...]) -> None:
        self.library, self.shape = library, shape
        self.context = ctypes.c_void_p()
        options = Options(threads)
        assert not library.tvm_mobilenet_create(ctypes.byref(options), ctypes.byref(self.context))

    def __call__(self, x: Any) -> Any:
        y = np.zeros(self.shape, np.float32)
        inputs, outputs = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)
        assert not self.library.tvm_mobilenet_run(
            self.context, ctypes.byref(inputs), ctypes.byref(outputs)
        )
        return y

    def close(self) -> None:
        self.library.tvm_mobilenet_destroy(self.context)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks with the same kernels and other weights."""
    folder = tmp_path_factory.mktemp("twins")
    model = tm.mobilenet_v1(alpha=0.25, resolution=64)
    return [tm.compile(model, seed=n).export(folder / f"{n}.so") for n in range(2)]


def image(resolution: int, seed: int = 1) -> Any:
    shape = (1, 3, resolution, resolution)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_both_doors_are_open_at_the_same_time(twins: list[Path]) -> None:
    x = image(64)
    module = tm.load(twins[0], threads=2)
    expected = module(x).tobytes()
    with loaded_library(module._code.name) as library:
        assert library is not None
        contexts = [Context(library, threads, (1, 1000)) for threads in (1, 2, 3)]

        def call(run: Callable[[Any], Any]) -> bool:
            return all(run(x).tobytes() == expected for _ in range(100))

        with ThreadPoolExecutor(5) as threads:
            assert all(threads.map(call, [*contexts, module, module]))
        for context in contexts:
            context.close()
    assert module(x).tobytes() == expected


GLOBAL = """
import ctypes, os, sys
sys.path[:0] = os.environ["FOLDERS"].split(":")
from pathlib import Path
from test_two_doors import Context, image
import tiny_network
import tvm_mobilenet as tm
x = image(64)
if sys.argv[1] == "tvm":
    import tvm
expected = [tm.load(path, threads=2)(x).tobytes() for path in sys.argv[3:]] * (sys.argv[1] == "tvm")
found = []
for path in sys.argv[3:]:
    context = Context(ctypes.CDLL(path, ctypes.RTLD_GLOBAL), 2, (1, 1000))
    found.append(context(x).tobytes())
    context.close()
expected = expected or [tm.load(path, threads=2)(x).tobytes() for path in sys.argv[3:]]
assert expected[0] != expected[1] and found == expected
y = tiny_network.example()
tiny_network.assert_right(tm.load(sys.argv[2], threads=2)(y), y)
"""


@pytest.mark.parametrize("first", ["tvm", "ours"])
def test_networks_with_the_same_symbols_do_not_meet(
    first: str, twins: list[Path], tmp_path: Path
) -> None:
    """Nor do they break a library of TVM's own export, whose pointers have these names as well."""
    tiny_network.compile_network(tmp_path / "tiny.so")
    here = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", GLOBAL, first, str(tmp_path / "tiny.so"), *map(str, twins)],
        env={**os.environ, "FOLDERS": f"{here}:{here.parent}"},
        check=True,
        timeout=120,
    )


def test_two_networks_in_one_program(twins: list[Path], tmp_path: Path) -> None:
    """Linked, not opened; each has names of its own, and a header that says so."""
    model, x = tm.mobilenet_v1(alpha=0.25, resolution=64), image(64)
    source = "#include <stdio.h>\n"
    body, libraries = "", []
    for seed, name in enumerate(("first", "Second2")):
        compiled = tm.compile(model, seed=seed, prefix=name, verify=False)
        (tmp_path / f"{name}.h").write_text(compiled.header)
        libraries.append(str(compiled.export(tmp_path / f"lib{name}.so")))
        source += f'#include "{name}.h"\n'
        body += f"""
    {{ {name}_options options = {{ .threads = 2 }};
      {name}_context* context;
      if ({name}_create(&options, &context)) return 1;
      if ({name}_run(context, inputs, outputs)) return 1;
      {name}_destroy(context);
      if ({name}_version() != {name.upper()}_VERSION) return 1;
      fwrite(outputs[0], 4, 1000, stdout); }}"""
    source += f"""
int main(void) {{
    static _Alignas(64) float x[{x.size}], y[1000];
    const void* inputs[] = {{x}};
    void* outputs[] = {{y}};
    if (fread(x, 4, {x.size}, stdin) != {x.size}) return 2;{body}
    return 0;
}}"""
    (tmp_path / "main.c").write_text(source)
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-Wl,-rpath,{tmp_path}"]
    made = str(tmp_path / "main")
    command = ["gcc", *options, str(tmp_path / "main.c"), *libraries, "-o", made]
    subprocess.run(command, check=True)
    done = subprocess.run([made], input=x.tobytes(), stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"".join(tm.load(path, threads=2)(x).tobytes() for path in twins)


@pytest.mark.parametrize("prefix", ["", "1st", "a-b", "a" * 65, "tmn", "ä", "x;y", "sem"])
def test_prefixes_that_c_cannot_have(prefix: str) -> None:
    with pytest.raises(InputError, match="prefix"):
        tm.compile("v1", prefix=prefix)


def test_what_a_library_needs_is_the_c_library(twins: list[Path]) -> None:
    from elftools.elf.elffile import ELFFile

    with twins[0].open("rb") as file:
        elf = ELFFile(file)
        needed = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}
        symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
        versions = [
            tuple(map(int, found.name.removeprefix("GLIBC_").split(".")))
            for _, needs in elf.get_section_by_name(".gnu.version_r").iter_versions()
            for found in needs
        ]
    exported = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF"}
    assert not {name for name in exported if "tmn" in name}
    wanted = {s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and "TVM" in s.name}
    assert wanted == {
        "TVMFFIErrorSetRaisedFromCStrParts",
        "TVMBackendParallelLaunch",
        "TVMBackendAllocWorkspace",
        "TVMBackendFreeWorkspace",
    }
    assert max(versions) <= (2, 17), "boards have older systems than who compiles for them"
    weak = {s.name for s in symbols if s["st_info"]["bind"] == "STB_WEAK"}
    assert wanted <= weak

"""The manifest in an ELF section: round trips, and every file that must be refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_network
from elftools.elf.elffile import ELFFile

from tvm_mobilenet.artifact.sources import SECTION, manifest_source, weights_source
from tvm_mobilenet.errors import (
    AbiError,
    ArchitectureError,
    ArtifactError,
    CpuFeatureError,
    NotAnArtifactError,
    OutputError,
    RuntimeLibraryError,
    StackError,
    TruncatedArtifactError,
)
from tvm_mobilenet.machine import host_machine
from tvm_mobilenet.runtime import artifact, check_here
from tvm_mobilenet.runtime.artifact import read_manifest

ZIG = [sys.executable, "-m", "ziglang", "cc"]
TRIPLES = {
    "EM_X86_64": "x86_64-linux-gnu.2.28",
    "EM_AARCH64": "aarch64-linux-gnu.2.28",
    "EM_ARM": "arm-linux-gnueabihf.2.28",
}


def manifest(**changes: object) -> dict[str, object]:
    weights = {"source": "Gewichte „größer“", "sha256": "a" * 64}
    return {**tiny_network.manifest(), "weights": weights, "needs": [], **changes}


def link(folder: Path, compiler: list[str], source: str, name: str = "a.so") -> Path:
    (folder / "m.c").write_text(source)
    output = folder / name
    command = [*compiler, "-shared", "-fPIC", "-Wl,--gc-sections", "-nostdlib"]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}
    subprocess.run(
        [*command, "-o", str(output), str(folder / "m.c")],
        check=True,
        env=environment,
        capture_output=True,
    )
    return output


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return link(tmp_path_factory.mktemp("elf"), ["cc"], manifest_source(4096)).read_bytes()


@pytest.fixture
def library(linked: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.so"
    path.write_bytes(linked)
    path.chmod(0o755)
    return path


def test_what_is_written_is_read(library: Path) -> None:
    size = library.stat().st_size
    written = artifact.write_manifest(library, manifest())
    assert read_manifest(library) == written
    assert {**manifest(), "sha256": written["sha256"]} == written
    assert library.stat().st_size == size
    assert library.stat().st_mode & 0o777 == 0o755
    assert [p.name for p in library.parent.iterdir()] == ["model.so"]


def test_the_hash_is_over_the_file_with_its_digits_as_zeros(library: Path) -> None:
    import hashlib

    written = artifact.write_manifest(library, manifest())
    digits = written["sha256"].encode()
    content = library.read_bytes()
    assert content.count(digits) == 1
    assert hashlib.sha256(content.replace(digits, b"0" * 64)).hexdigest() == written["sha256"]


def test_an_independent_reader_finds_the_manifest(library: Path) -> None:
    artifact.write_manifest(library, manifest())
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(SECTION)
        assert json.loads(section.data().rstrip(b"\0"))["weights"] == manifest()["weights"]


def test_a_manifest_can_be_written_again(library: Path) -> None:
    artifact.write_manifest(library, manifest(title="x" * 1000))
    written = artifact.write_manifest(library, manifest(title="y"))
    assert read_manifest(library) == written


@pytest.mark.parametrize("machine", TRIPLES)
def test_every_target_keeps_the_section(machine: str, tmp_path: Path) -> None:
    path = link(tmp_path, [*ZIG, "-target", TRIPLES[machine]], manifest_source(4096))
    artifact.write_manifest(path, manifest())
    assert read_manifest(path)["stack"] == "relax"
    with path.open("rb") as file:
        assert ELFFile(file)["e_machine"] == machine


@pytest.mark.parametrize("machine", TRIPLES)
def test_every_target_embeds_weights_once_and_aligned(machine: str, tmp_path: Path) -> None:
    blob = tmp_path / 'a "blob"\\.bin'
    content = random.Random(0).randbytes(1 << 20)
    blob.write_bytes(content)
    path = link(
        tmp_path,
        [*ZIG, "-target", TRIPLES[machine]],
        weights_source(blob) + "const void *public(void) { return tvm_mobilenet_weights(64); }",
    )
    linked = path.read_bytes()
    assert linked.count(content) == 1
    assert linked.index(content) % 64 == 0
    assert path.stat().st_size < 1.2 * len(content)


def test_weights_are_found_at_their_offset(tmp_path: Path) -> None:
    import ctypes

    blob = tmp_path / "w.bin"
    blob.write_bytes(bytes(range(256)))
    wrapper = "const void *public(long long n) { return tvm_mobilenet_weights(n); }"
    library = ctypes.CDLL(str(link(tmp_path, ["cc"], weights_source(blob) + wrapper)))
    library.public.restype = ctypes.c_void_p
    address = library.public(ctypes.c_longlong(128))
    assert address % 64 == 0
    assert ctypes.string_at(address, 4) == bytes([128, 129, 130, 131])


def test_an_artifact_for_another_machine_is_refused(tmp_path: Path) -> None:
    other = "aarch64" if host_machine() != "aarch64" else "x86_64"
    path = link(tmp_path, [*ZIG, "-target", f"{other}-linux-gnu.2.28"], manifest_source(4096))
    artifact.write_manifest(path, manifest(machine=other))
    with pytest.raises(ArchitectureError, match=f"is for {other} on linux.*{host_machine()}"):
        check_here(read_manifest(path), str(path))


def test_a_manifest_that_does_not_fit_is_refused_and_nothing_is_written(library: Path) -> None:
    before = library.read_bytes()
    with pytest.raises(ArtifactError, match="4096 are reserved"):
        artifact.write_manifest(library, manifest(title="x" * 5000))
    assert library.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(library: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = library.read_bytes()
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=r"model\.so.*Permission denied"):
        artifact.write_manifest(library, manifest())
    assert library.read_bytes() == before
    assert [p.name for p in library.parent.iterdir()] == ["model.so"]


@pytest.mark.parametrize("kept", [0.0, 0.0005, 0.002, 0.1, 0.3, 0.5, 0.8, 0.95, 0.9999])
def test_a_file_that_is_cut_off_is_refused(library: Path, kept: float) -> None:
    artifact.write_manifest(library, manifest())
    content = library.read_bytes()
    library.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(TruncatedArtifactError, match=r"model\.so"):
        read_manifest(library)


def test_any_flipped_byte_is_noticed(library: Path) -> None:
    """In the ELF header one by one, anywhere else by chance; no other error escapes."""
    artifact.write_manifest(library, manifest())
    content = library.read_bytes()
    rng = random.Random(0)
    for at in [*range(64), *(rng.randrange(64, len(content)) for _ in range(200))]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        library.write_bytes(damaged)
        with pytest.raises((TruncatedArtifactError, NotAnArtifactError)):
            read_manifest(library)


def test_bytes_after_the_end_are_noticed(library: Path) -> None:
    artifact.write_manifest(library, manifest())
    with library.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(TruncatedArtifactError, match="does not match its hash"):
        read_manifest(library)


def test_an_unfinished_artifact_is_refused(library: Path) -> None:
    with pytest.raises(TruncatedArtifactError, match="no finished manifest"):
        read_manifest(library)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_text("not a library\n"), "no ELF header"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: None, "No such file"),
        (lambda p: p.write_bytes(Path(sys.executable).resolve().read_bytes()), "manifest|shared"),
    ],
    ids=["text", "folder", "missing", "program"],
)
def test_what_is_not_ours_is_refused(make, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other.so"
    make(path)
    with pytest.raises(NotAnArtifactError, match=reason):
        read_manifest(path)


def test_a_foreign_library_is_refused_by_both(tmp_path: Path) -> None:
    path = link(tmp_path, ["cc"], "int f(void) { return 1; }")
    for act in (read_manifest, lambda p: artifact.write_manifest(p, manifest())):
        with pytest.raises(NotAnArtifactError, match=r"without a manifest.*\.tvm_mobilenet"):
            act(path)


def test_an_object_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text(manifest_source(1024))
    path = tmp_path / "m.o"
    subprocess.run(["cc", "-c", "-o", str(path), str(tmp_path / "m.c")], check=True)
    with pytest.raises(NotAnArtifactError, match="no shared object"):
        read_manifest(path)


@pytest.mark.parametrize(
    "changes", [{"format": 2}, {"format": None}, {"format": "1"}, {"format": [1]}]
)
def test_the_format_is_checked(library: Path, changes) -> None:
    artifact.write_manifest(library, manifest(**changes))
    with pytest.raises(AbiError, match="another format"):
        read_manifest(library)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"needs": ["made_up_b", "made_up_a"]}, CpuFeatureError, "lacks: made_up_a, made_up_b"),
        ({"machine": "sparc"}, ArchitectureError, "is for sparc on linux"),
        ({"os": "plan9"}, ArchitectureError, "on plan9"),
        ({"tvm": "0.28.0"}, AbiError, r"built for apache-tvm 0\.28\.0, and this machine has 0\.27"),
        ({"tvm_ffi": "0.2.0"}, AbiError, r"built for apache-tvm-ffi 0\.2\.0"),
        ({"stack": "relay"}, StackError, "needs TVM 0.19"),
    ],
)
def test_what_cannot_run_here_is_refused(changes, error, words: str) -> None:
    with pytest.raises(error, match=words):
        check_here(manifest(**changes))


@pytest.mark.parametrize(("there", "here"), [("gnu", "musl"), ("musl", "gnu")])
def test_another_c_library_is_refused(there: str, here: str, monkeypatch) -> None:
    names = {"gnu": "glibc", "musl": "musl"}
    monkeypatch.setattr("os.confstr", lambda _: "glibc 2.36" if here == "gnu" else None)
    target = manifest()["target"] | {"triple": f"{host_machine()}-linux-{there}"}
    words = f"linked for {names[there]}, and the C library of this machine is {names[here]}"
    with pytest.raises(ArchitectureError, match=words) as caught:
        check_here(manifest(target=target))
    assert caught.value.remedy == f"compile it with --target {host_machine()}-linux-{here}"


def test_what_can_run_here_is_not() -> None:
    check_here(manifest())
    check_here(manifest(tvm="0.27.0", tvm_ffi="0.1.11"))


def test_without_tvm_installed_the_package_is_named(monkeypatch) -> None:
    import importlib.metadata

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(RuntimeLibraryError, match=r"pip install apache-tvm==0\.27\.0\.post1"):
        check_here(manifest())


@pytest.mark.alone
def test_twenty_megabytes_are_read_and_hashed_quickly(tmp_path: Path) -> None:
    weights = f'__attribute__((used)) char weights[{20 << 20}] = "w";\n'
    path = link(tmp_path, ["cc"], manifest_source(4096) + weights)
    artifact.write_manifest(path, manifest())
    times = []
    for _ in range(5):
        start = time.process_time()
        read_manifest(path)
        times.append(time.process_time() - start)
    print(f"read_manifest of 20 MiB: {min(times) * 1e3:.1f} ms")
    # 12 ms where measured; the bound is for machines without SHA instructions.
    assert min(times) < 0.2


def test_many_headers_and_long_names_are_no_work(tmp_path: Path) -> None:
    """65,000 sections, all named by one of 32 MB."""
    import struct

    each, count, size = 64, 65_000, 32 << 20
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    table = size + 64
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, each, count, 0)
    row = struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 64, size, 0, 0, 0, 0)
    path = tmp_path / "many.so"
    path.write_bytes(header + b"x" * size + row * count)
    start = time.process_time()
    with pytest.raises(NotAnArtifactError, match="without a manifest"):
        read_manifest(path)
    assert time.process_time() - start < 3

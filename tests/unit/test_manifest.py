"""What a manifest must be: each field that is wrong is named by its place, for every kind."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_network
from test_artifact import link

from tvm_mobilenet.artifact.containers import CONTAINERS, container_of
from tvm_mobilenet.artifact.sources import SEAL, manifest_source, seal, section_source
from tvm_mobilenet.errors import AbiError, ManifestError
from tvm_mobilenet.runtime import artifact, check_here
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.runtime.loading import LOADERS, C
from tvm_mobilenet.runtime.manifest_text import parse_manifest

GPU = {"kind": "opencl", "arch": "", "chip": "desktop", "units": 24, "l2_bytes": 1 << 20}
SHAPE = (1, 3, tiny_network.SIZE, tiny_network.SIZE)
Change = Callable[[dict[str, Any]], object]


def processor() -> dict[str, Any]:
    return {**tiny_network.manifest(), "sha256": "0" * 64}


def launches() -> dict[str, Any]:
    """One of OpenCL, as it would be for the same two kernels."""
    base = processor()
    base["target"] = {**base["target"], "gpu": dict(GPU), "dtype": "float32"}
    sizes = {"input": 4 * 3 * tiny_network.SIZE**2, "storage": 32 * tiny_network.SIZE**2 * 4}
    buffers = [{"kind": kind, "bytes": size} for kind, size in sizes.items()]
    buffers += [
        {"kind": "weights", "bytes": 384, "offset": 0},
        {"kind": "output", "bytes": 4 * tiny_network.CHANNELS},
    ]
    shapes = [[1, 2, tiny_network.SIZE**2, 16], [1, tiny_network.CHANNELS]]
    calls = [
        {
            "kernel": call["kernel"],
            "output": output,
            "shape": shape,
            "dtype": "float32",
            "launches": [
                {
                    "kernel": f"{call['kernel']}_kernel",
                    "buffers": [0, 2, output],
                    "grid": [4, 1, 1],
                    "block": [32, 1, 1],
                    "shared": 0,
                }
            ],
        }
        for call, output, shape in zip(base["calls"], (1, 3), shapes, strict=True)
    ]
    plan = {"buffers": buffers, "outputs": [3], "calls": calls}
    return {**base, "stack": "launches", "plan": plan}


def classic() -> dict[str, Any]:
    """One of the classic stack."""
    base = processor()
    nodes: list[dict[str, Any]] = [
        {"op": "null", "name": "x", "inputs": []},
        {"op": "null", "name": "w", "inputs": []},
    ]
    inputs = [[[0, 0, 0], [1, 0, 0]], [[2, 0, 0]]]
    for call, read in zip(base["calls"], inputs, strict=True):
        name = call["kernel"]
        nodes.append({"op": "tvm_op", "name": name, "inputs": read, "attrs": {"func_name": name}})
    shapes = [list(SHAPE), [3, 32], [1, 2, tiny_network.SIZE**2, 16], [1, tiny_network.CHANNELS]]
    graph = {
        "nodes": nodes,
        "arg_nodes": [0, 1],
        "heads": [[3, 0, 0]],
        "node_row_ptr": [0, 1, 2, 3, 4],
        "attrs": {
            "dltype": ["list_str", ["float32"] * 4],
            "storage_id": ["list_int", [0, 1, 2, 3]],
            "shape": ["list_shape", shapes],
        },
        "parameters": {"w": 0},
    }
    return {**base, "stack": "relay", "tvm": "0.19.0.12", "tvm_ffi": None, "graph": graph}


def cuda() -> dict[str, Any]:
    base = processor()
    gpu = {**GPU, "kind": "cuda", "arch": "sm_90", "chip": "H100"}
    base["target"] = {**base["target"], "gpu": gpu, "dtype": "float32"}
    kernel = {"registers": 26, "shared_bytes": 196, "spill_bytes": 0}
    outputs = [{"shape": [1, tiny_network.CHANNELS], "dtype": "float32"}]
    told = {"memory_bytes": 1 << 20, "outputs": outputs, "graphs": [2], "outside": 0}
    return {**base, "gpu": {**told, "kernels": {"pool_kernel": kernel}}}


KINDS = [processor, launches, classic, cuda]


def read(manifest: Any) -> dict[str, Any]:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    return parse_manifest(text.encode(), "m.so")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_passes_as_it_is(kind: Callable[[], dict[str, Any]]) -> None:
    assert read(kind()) == kind()


NAMES = {processor: "vm", launches: "launches", classic: "graph", cuda: "cuda"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_container_is_named_or_derived(kind: Callable[[], dict[str, Any]]) -> None:
    """Files from before there was a name for it are told apart by stack and GPU."""
    named = {**kind(), "container": NAMES[kind]}
    assert container_of(read(kind())) == container_of(read(named))
    assert container_of(read(named)) == CONTAINERS[NAMES[kind]]
    assert {*CONTAINERS, C} == set(LOADERS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_of_another_kind_is_refused(kind: Callable[[], dict[str, Any]]) -> None:
    for other in set(NAMES.values()) - {NAMES[kind]}:
        with pytest.raises(ManifestError, match=f"the container is '{other}'"):
            read({**kind(), "container": other})


def test_only_host_code_of_the_main_stack_has_c_functions() -> None:
    told = {"version": 1, "prefix": "net"}
    read({**processor(), "c_interface": told})
    for kind in set(KINDS) - {processor}:
        with pytest.raises(ManifestError, match="c_interface is there, and the container is"):
            read({**kind(), "c_interface": told})


def test_a_container_of_a_later_version_is_read_but_not_loaded() -> None:
    later = read({**processor(), "container": "native"})
    with pytest.raises(AbiError, match="of the kind 'native', which is unknown here"):
        check_here(later)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_later_versions_are_kept(kind: Callable[[], dict[str, Any]]) -> None:
    later = {**kind(), "later": {"a": [1]}}
    later["calls"][0]["later"] = None
    assert read(later) == later


def _put(*path: Any, value: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        *rest, last = path
        for key in rest:
            manifest = manifest[key]
        manifest[last] = value

    return change


def _without(*path: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        *rest, last = path
        for key in rest:
            manifest = manifest[key]
        del manifest[last]

    return change


WRONG: list[tuple[Callable[[], dict[str, Any]], Change, str]] = [
    (processor, _put("macs", value="many"), "macs: Expected `int`, got `str`"),
    (processor, _put("macs", value=True), "macs: Expected `int`, got `bool`"),
    (processor, _put("macs", value=2**200), "macs: "),
    (processor, _put("title", value="x" * 10_000_000), "title: "),
    (processor, _put("title", value=None), "title: Expected `str`"),
    (processor, _put("tvm", value="0.27 --index-url http://evil"), "tvm: "),
    (processor, _put("needs", value=[1]), r"needs\[0\]: "),
    (processor, _put("needs", value="avx2"), "needs: "),
    (processor, _put("inputs", value=[]), "inputs: "),
    (processor, _put("inputs", 0, "shape", 2, value=-12), r"inputs\[0\]\.shape\[2\]: "),
    (processor, _put("inputs", 0, "shape", value=[65536, 65536]), "numbers"),
    (processor, _put("inputs", 0, "dtype", value="object"), r"inputs\[0\]\.dtype: "),
    (processor, _put("inputs", 0, "alignment", value=0), r"inputs\[0\]\.alignment: "),
    (processor, _put("outputs", 0, value=None), r"outputs\[0\]: "),
    (processor, _put("calls", value=None), "calls: "),
    (processor, _put("calls", 1, "output", "shape", value=[1.5]), r"calls\[1\]\.output\.shape"),
    (processor, _put("calls", 0, "knobs", value={"a": [1]}), r"calls\[0\]\.knobs\[.a.\]: "),
    (processor, _put("preprocess", "scale", value=10**400), "scale: Number out of range"),
    (processor, _without("calls", 0, "output", "block"), r"calls\[0\]\.output is blocked"),
    (processor, _without("calls", 0, "kernel"), r"calls\[0\]: .*`kernel`"),
    (processor, _without("weights"), "`weights`"),
    (processor, _put("weights", "sha256", value="A" * 64), r"weights\.sha256: "),
    (processor, _put("preprocess", "std", value=[1, 0, 1]), r"preprocess\.std\[1\]: "),
    (processor, _put("preprocess", "mean", value=[1, 2]), r"preprocess\.mean: "),
    (processor, _put("preprocess", "interpolation", value="magic"), r"preprocess\.interpolation"),
    (processor, _put("target", "cores", value=0), r"target\.cores: "),
    (processor, _put("target", "gpu", value=dict(GPU)), "target.gpu is for opencl"),
    (processor, _put("verification", value=3), "verification: "),
    (processor, _put("memory", value={"storages": [], "output": 1, "bound": 1, "largest": {}}),
     r"calls\[0\] says no bytes"),
    (launches, _without("plan"), "plan is missing"),
    (launches, _put("target", "gpu", value=None), "target.gpu is for no GPU"),
    (launches, _put("plan", "calls", 0, "launches", 0, "buffers", 1, value=4), "there are 4 buff"),
    (launches, _put("plan", "calls", 0, "launches", 0, "grid", value=[1, 1]), r"grid: "),
    (launches, _put("plan", "calls", 0, "launches", 0, "grid", value=[2**20, 2**20, 1]), "grid"),
    (launches, _put("plan", "calls", 0, "launches", 0, "shared", value=-1), "shared: "),
    (launches, _put("plan", "calls", 0, "launches", value=[]), "launches: "),
    (launches, _put("plan", "calls", 1, "output", value=2**33), r"plan\.calls\[1\]\.output: "),
    (launches, _put("plan", "calls", 1, "shape", value=[1, 999]), "no room for 3996 bytes"),
    (launches, _put("plan", "calls", 1, "kernel", value="other"), "not those of calls"),
    (launches, _put("plan", "outputs", value=[3, 3]), "2 numbers for 1 outputs"),
    (launches, _put("plan", "buffers", 0, "bytes", value=4), "not the input's"),
    (launches, _put("plan", "buffers", 3, "bytes", value=4), "no room for 84 bytes"),
    (launches, _without("plan", "buffers", 2, "offset"), r"plan\.buffers\[2\]"),
    (classic, _without("graph"), "graph is missing"),
    (classic, _put("graph", "node_row_ptr", value=[0, 1, 2, 3]), "node_row_ptr"),
    (classic, _put("graph", "node_row_ptr", value=[0, 1, 1, 3, 4]), "node_row_ptr"),
    (classic, _put("graph", "nodes", 3, "inputs", value=[[3, 0, 0]]), "not computed before it"),
    (classic, _put("graph", "nodes", 2, "inputs", 0, 1, value=1), "not computed before it"),
    (classic, _put("graph", "nodes", 2, "attrs", "func_name", value="f"), "what calls lists"),
    (classic, _without("graph", "nodes", 2, "attrs"), "what calls lists"),
    (classic, _put("graph", "nodes", 1, "name", value="x"), "two inputs of one name"),
    (classic, _put("graph", "heads", value=[[9, 0, 0]]), r"outputs\[0\] is not in the graph"),
    (classic, _put("graph", "attrs", "shape", 1, 3, value=[1, 1]), r"outputs\[0\] has another"),
    (classic, _put("graph", "parameters", value={"v": 0}), "what is no input"),
    (classic, _put("graph", "attrs", "dltype", value=["list_str", ["str"] * 4]), "dltype"),
    (cuda, _without("gpu"), "gpu is missing"),
    (cuda, _put("gpu", "memory_bytes", value="x"), r"gpu\.memory_bytes: "),
    (cuda, _put("gpu", "kernels", value={}), r"gpu\.kernels: "),
    (cuda, _put("gpu", "outputs", 0, "shape", value=[0]), r"gpu\.outputs\[0\]\.shape\[0\]: "),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "words"), WRONG)
def test_what_is_wrong_is_named_by_its_place(
    kind: Callable[[], dict[str, Any]], change: Change, words: str
) -> None:
    manifest = copy.deepcopy(kind())
    change(manifest)
    with pytest.raises(ManifestError, match=words) as caught:
        read(manifest)
    assert "m.so" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"format": 1, "format": 1}', "a key comes twice"),
        ('{"format": 1, "macs": NaN}', "NaN is no JSON number"),
        ('{"format": 1, "macs": 1e999}', "beyond floating-point"),
        ('{"format": 1, "macs": ' + "9" * 10_000 + "}", "no JSON"),
        ('{"format": 1', "no JSON"),
        ("\udcff", "no JSON"),
    ],
)
def test_what_is_no_json_is_named(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        parse_manifest(text.encode(errors="surrogateescape"), "m.so")


@pytest.mark.parametrize("text", ["[]", "null", "1", '"x"', "{}", '{"format": 2}'])
def test_other_formats_are_named(text: str) -> None:
    with pytest.raises(AbiError, match="another format than 1"):
        read(text)


def test_a_large_manifest_is_checked_quickly() -> None:
    large = processor()
    large["calls"] = large["calls"] * 2000
    start = time.monotonic()
    assert len(read(large)["calls"]) == 4000
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("kind", "part"), [(launches, "plan"), (classic, "graph")])
def test_what_drives_the_code_is_sealed_to_it(
    kind: Callable[[], dict[str, Any]], part: str, tmp_path: Path
) -> None:
    """A plan that makes sense and is another one would have kernels write where they must not."""
    manifest = kind()
    (tmp_path / "sealed").write_text(seal(manifest[part]))
    source = manifest_source(1 << 14) + section_source(SEAL, tmp_path / "sealed")
    path = link(tmp_path, ["cc"], source)
    artifact.write_manifest(path, manifest)
    assert read_manifest(path)[part] == manifest[part]
    # What does not drive it may be written anew, as after verification.
    artifact.write_manifest(path, {**manifest, "title": "another"})
    assert read_manifest(path)["title"] == "another"
    if part == "plan":
        manifest["plan"]["calls"][0]["launches"][0]["grid"] = [5, 1, 1]
    else:
        manifest["graph"]["attrs"]["storage_id"][1][3] = 2
    artifact.write_manifest(path, manifest)
    with pytest.raises(ManifestError, match=f"{part} is not the one that it was compiled with"):
        read_manifest(path)


def test_files_from_before_there_were_seals_are_read(tmp_path: Path) -> None:
    path = link(tmp_path, ["cc"], manifest_source(1 << 14))
    artifact.write_manifest(path, launches())
    assert read_manifest(path)["stack"] == "launches"

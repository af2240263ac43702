"""V2 with torchvision's weights quantised by us, ONNX Runtime and NNCF, with the same photographs.

    mkdir photos && cd photos && apt-get download mate-backgrounds lomiri-wallpapers ukui-wallpapers
    for package in *.deb; do dpkg -x $package .; done; cd ..
    pip install nncf                # else its row is left out
    python benchmarks/accuracy.py photos [--json out/accuracy.json]

The JPEG files below the folder and scikit-image's photographs are calibrated with: 64 crops of
random place and size. Another 120 crops tell how often the first class is that of the float32
network, and the signal-to-quantisation-noise ratio of the logits; 20 labelled photographs, which
come with the package foolbox, how often it is the label. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import skimage
from numpy.typing import NDArray
from PIL import Image

import tvm_mobilenet as tm
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.models.onnx_export import export_onnx
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.quantization.post_training import CHOICES
from tvm_mobilenet.runtime.preprocess import load_image
from tvm_mobilenet.runtime.recipe import preprocess_for

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from photographs import photographs

CALIBRATION, JUDGED = (64, 1), (120, 7)
"""How many crops, and of which seed."""

SHORTER, SMALLEST, LARGEST, SIDE = 640, 224, 600, 224
"""Pixels: of a photograph's shorter side, of the sides of crops, and of what they become."""

PHOTOGRAPHS = ("astronaut.png", "coffee.png", "motorcycle_left.png")
"""Those in scikit-image's wheel."""

Run = Callable[[NDArray[Any]], NDArray[Any]]


def crops(files: list[Path], count: int, seed: int) -> list[Image.Image]:
    """Cut squares of random place and size out of photographs, every second one mirrored."""
    rng = np.random.default_rng(seed)
    opened = {path: opened_at(path) for path in files}
    made = []
    for number in range(count):
        image = opened[files[number % len(files)]]
        side = int(rng.integers(SMALLEST, LARGEST))
        left, top = (int(rng.integers(0, room - side + 1)) for room in image.size)
        crop = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
        mirrored = rng.random() < 0.5
        made.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop)
    return made


def opened_at(path: Path) -> Image.Image:
    """Open a photograph at the size that crops are cut from."""
    image = Image.open(path).convert("RGB")
    by = SHORTER / min(image.size)
    return image.resize((round(image.size[0] * by), round(image.size[1] * by)))


def by_onnxruntime(file: Path, images: list[NDArray[Any]], folder: Path) -> Run:
    """Quantise as ONNX Runtime's tool does: QDQ, elements of uint8, weights by channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[NDArray[Any]] = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image}

    made = folder / "onnxruntime.onnx"
    quantize_static(
        file,
        made,
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return session(made)


def by_nncf(file: Path, images: list[NDArray[Any]], folder: Path) -> Run | None:
    """Quantise as NNCF does by default, if it is installed."""
    try:
        import nncf
    except ImportError:
        return None
    import onnx

    made = nncf.quantize(
        onnx.load(file), nncf.Dataset([{INPUT: image} for image in images]), subset_size=len(images)
    )
    onnx.save(made, folder / "nncf.onnx")
    return session(folder / "nncf.onnx")


def session(file: Path) -> Run:
    """Open a file in ONNX Runtime."""
    opened = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(opened.run(None, {opened.get_inputs()[0].name: x})[0])


def judgement(
    run: Run,
    judged: list[NDArray[Any]],
    wanted: list[NDArray[Any]],
    labelled: list[tuple[NDArray[Any], int]],
) -> dict[str, Any]:
    """Say how near logits are to the float32 network's, and how often the label is right."""
    got = [run(image) for image in judged]
    same = [np.argmax(one) == np.argmax(other) for one, other in zip(got, wanted, strict=True)]
    noise = sum(float(np.sum((one - other) ** 2)) for one, other in zip(got, wanted, strict=True))
    signal = sum(float(np.sum(other**2)) for other in wanted)
    return {
        "agreement": float(np.mean(same)),
        "sqnr_db": 10 * float(np.log10(signal / noise)) if noise else None,
        "right": sum(int(np.argmax(run(image))) == label for image, label in labelled),
    }


def without_softmax(network: Network) -> Network:
    """End a network at its logits."""
    model = replace(network.model, layers=network.model.layers[:-1], outputs=())
    return replace(network, model=model)


def measured(folder: Path, photos: Path) -> list[dict[str, Any]]:
    """Quantise the network in every way, and judge them."""
    network = network_from("v2", "pretrained", 0)
    recipe = preprocess_for(network.model.image_size, None, network.preprocess)
    network = without_softmax(network)

    def ready(image: Image.Image) -> NDArray[Any]:
        content = io.BytesIO()
        image.save(content, "png")
        return load_image(content.getvalue(), recipe | {"resize": None})

    files = sorted(photos.rglob("*.jpg"))
    files += [Path(skimage.__file__).parent / "data" / name for name in PHOTOGRAPHS]
    seen = [ready(crop) for crop in crops(files, *CALIBRATION)]
    judged = [ready(crop) for crop in crops(files, *JUDGED)]
    labelled = [(load_image(path, recipe), label) for path, label in photographs().items()]
    file = folder / "float32.onnx"
    export_onnx(network.model, network.weights, file)
    exact = session(file)
    ways: dict[str, Run | None] = {"float32": exact}
    for method in CHOICES:
        made, _ = tm.quantize(network, [image[0] for image in seen], method=method)
        ways[f"ours, {method}"] = tm.compile(made, verify=False).module
    ways["ONNX Runtime"] = by_onnxruntime(file, seen, folder)
    ways["NNCF"] = by_nncf(file, seen, folder)
    wanted = [exact(image) for image in judged]
    return [
        {"by": way, **judgement(run, judged, wanted, labelled)}
        for way, run in ways.items()
        if run is not None
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, help="folder with photographs as JPEG files")
    parser.add_argument("--json", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = measured(Path(name), arguments.photos)
    print("| quantised by | same first class | SQNR of logits, dB | of 20 labels |")
    print("|---|---:|---:|---:|")
    for row in rows:
        loss = "–" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
        print(f"| {row['by']} | {row['agreement']:.0%} | {loss} | {row['right']} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

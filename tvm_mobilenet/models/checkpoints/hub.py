"""Checkpoints of the Hugging Face hub, as ``hf-hub:OWNER/NAME`` with an optional ``@REVISION``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tvm_mobilenet.errors import WeightsError

PREFIX = "hf-hub:"

_FILE, _CONFIG = "model.safetensors", "config.json"


class FromHub(NamedTuple):
    """A repository's weights, in the hub's own cache, and how its images are prepared."""

    path: Path
    preprocess: Mapping[str, Any]


def fetch(source: str) -> FromHub:
    """Fetch a checkpoint, or take it from huggingface_hub's cache.

    Parameters
    ----------
    source : str
        ``"hf-hub:OWNER/NAME"`` or ``"hf-hub:OWNER/NAME@REVISION"``.

    Raises
    ------
    WeightsError
        huggingface_hub is not installed, or it cannot get the file.
    """
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f"{source} needs huggingface_hub, which is not installed",
            "pip install 'tvm-mobilenet[hub]'",
        ) from error
    try:
        path = Path(hf_hub_download(name, _FILE, revision=revision or None))
    except Exception as error:
        # What it calls has errors of its own, by version: of requests, httpx, hf_xet.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"cannot get {_FILE} of {source}: {reason}{_endpoint()}",
            "check the name on the hub and the network, or download it and give its path",
        ) from error
    try:
        config = Path(hf_hub_download(name, _CONFIG, revision=revision or None))
        described = json.loads(config.read_text())
    except Exception:
        # Repositories need not describe themselves; the weights are what was asked for.
        described = {}
    return FromHub(path, _preprocess(described))


def _endpoint() -> str:
    named = os.environ.get("HF_ENDPOINT")
    return f" (HF_ENDPOINT is {named!r})" if named else ""


def _preprocess(described: Any) -> dict[str, Any]:
    """Return what timm's config.json says about the images."""
    found = described.get("pretrained_cfg", described) if isinstance(described, dict) else {}
    names = {"mean": "mean", "std": "std", "interpolation": "interpolation"}
    names["crop_pct"] = "crop_fraction"
    return {ours: found[theirs] for theirs, ours in names.items() if found.get(theirs)}

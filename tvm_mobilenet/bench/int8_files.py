"""A quantised network in the form in which each peer computes in integers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.bench.int8_types import types_of_sums
from tvm_mobilenet.bench.litert_int8 import write_int8_tflite
from tvm_mobilenet.bench.peers import ONNX_FILE, TFLITE_FILE
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_qdq import write_qdq


def write_in_integers(
    network: Network, against: Sequence[str], folder: Path, x: NDArray[Any]
) -> None:
    """Write the files that peers open.

    Parameters
    ----------
    network : Network
        With records. Weights and types are the same for all; sums that ours leaves in float32
        are elements here, or peers would compute their layers in float32.
    against : sequence of str
        Names of peers.
    folder : Path
        Where the files go.
    x : ndarray
        An input, by which those sums get their ranges.

    Raises
    ------
    PeerError
        If a peer has no form in integers here, or lacks a layer.
    """
    if "ncnn" in against:
        raise PeerError(
            "a network in integers is not written for ncnn: it quantises by tools of its own",
            "leave ncnn out of --against",
        )
    rounded = types_of_sums(network, x)
    if "litert" in against:
        write_int8_tflite(network, rounded, folder / TFLITE_FILE)
    if set(against) - {"litert"}:
        write_qdq(network, folder / ONNX_FILE, rounded)

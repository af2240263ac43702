"""Verifies a compiled network against what it was compiled from, in float32 or in integers."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.quantized.storing import stored_as
from tvm_mobilenet.network.integers import elements_for
from tvm_mobilenet.verify.artifact import Runnable, verify
from tvm_mobilenet.verify.integers import verify_integers
from tvm_mobilenet.verify.report import VerifyReport


def verify_network(
    module: Runnable, network: Network, target: TargetSpec, x: NDArray[Any] | None = None
) -> VerifyReport:
    """Compare a compiled module with its network, kernel by kernel and as a whole.

    Parameters
    ----------
    module : Runnable
        The loaded artifact.
    network : Network
        What it was compiled from.
    target : TargetSpec
        What it was compiled for, which decides how elements of 8 bits are stored.
    x : ndarray, optional
        As of :func:`tvm_mobilenet.verify.artifact.verify`.

    Raises
    ------
    VerificationError
        The artifact computes other layers or other shapes than the network.
    InputError, WeightsError, ArtifactError
        The input or the weights do not fit, or the artifact cannot run.
    """
    if not network.records:
        return verify(module, network.model, network.weights, x, expect=network.expect)
    quantized = QuantizedModel(network.model, network.records)
    return verify_integers(module, stored_as(quantized, elements_for(target)), network.weights, x)

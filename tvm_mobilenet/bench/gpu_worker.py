"""What a worker opens on a GPU: an artifact of ours, or PyTorch in one of three ways.

Each is timed in two ways. From the device to the device: calls one after the other on an
input that is there, then waiting for all. From host to host: NumPy array to NumPy array.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.bench.comparison import OURS
from tvm_mobilenet.bench.gpu_comparison import TORCH

_SAMPLE_S = 0.02
"""Calls of which one time is taken together: waiting at the end does not count."""

_WARM_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Opened:
    """A network that is ready.

    Attributes
    ----------
    launch : callable
        One call on the input that is on the device; need not wait for it.
    wait : callable
        Until the device is done.
    call : callable
        One call from host to host, without arguments; returns the output.
    facts : dict of str to str
        What it runs on.
    """

    launch: Callable[[], object]
    wait: Callable[[], object]
    call: Callable[[], NDArray[Any]]
    facts: dict[str, str]


def open_on_gpu(request: dict[str, Any]) -> Opened:
    """Open what a request names.

    Parameters
    ----------
    request : dict
        ``runtime``, ``artifact``, ``input`` (path of an .npy), ``dtype``; for PyTorch
        ``manifest``, ``weights`` (path of an .npz).
    """
    x = np.load(request["input"])
    return _ours(request, x) if request["runtime"] == OURS else _torch(request, x)


def timed_rounds(opened: Opened, seconds: float) -> dict[str, list[float]]:
    """Time for about `seconds`, half of them each way.

    Returns
    -------
    dict
        ``device``: seconds of a call, one for each sample of some calls; ``host``: of each.
    """
    start = time.perf_counter()
    done = 0
    while done < 2 or time.perf_counter() - start < _WARM_SHARE * seconds:
        opened.launch()
        opened.wait()
        done += 1
    once = (time.perf_counter() - start) / done
    count = max(math.ceil(_SAMPLE_S / once), 1)
    device: list[float] = []
    host: list[float] = []
    start = time.perf_counter()
    while not device or time.perf_counter() - start < seconds / 2:
        before = time.perf_counter()
        for _ in range(count):
            opened.launch()
        opened.wait()
        device.append((time.perf_counter() - before) / count)
    opened.call()
    start = time.perf_counter()
    while not host or time.perf_counter() - start < seconds / 2:
        before = time.perf_counter()
        opened.call()
        host.append(time.perf_counter() - before)
    return {"device": device, "host": host}


def _ours(request: dict[str, Any], x: NDArray[Any]) -> Opened:
    from tvm_mobilenet.runtime import load
    from tvm_mobilenet.runtime.loaded import OnDevice

    module = load(request["artifact"])
    assert isinstance(module, OnDevice)

    def call() -> NDArray[Any]:
        y = module(x)
        found: NDArray[Any] = y[0] if isinstance(y, tuple) else y
        return found

    call()  # its input stays on the device
    return Opened(module.launch, module.synchronize, call, {"device": module.device_name})


def _torch(request: dict[str, Any], x: NDArray[Any]) -> Opened:
    import torch

    from tvm_mobilenet.bench.torch_network import torch_network
    from tvm_mobilenet.models import model_from_manifest

    options = TORCH[request["runtime"]]
    # Autotuned convolutions; float32 is float32, not TF32.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.set_grad_enabled(False)
    with np.load(request["weights"]) as weights:
        model = model_from_manifest(request["manifest"]["model"])
        network = torch_network(model, dict(weights))
    where = request.get("where", "cuda")
    kind = {"dtype": getattr(torch, request["dtype"]), "device": where}
    if options.channels_last:
        kind["memory_format"] = torch.channels_last
    network = network.to(**kind)
    there = torch.from_numpy(x).to(**kind)
    if options.compiled:
        network = torch.compile(network, mode="max-autotune", fullgraph=True)
    wait = torch.cuda.synchronize if where == "cuda" else lambda: None

    def call() -> NDArray[Any]:
        y: NDArray[Any] = network(torch.from_numpy(x).to(**kind)).float().cpu().numpy()
        return y

    return Opened(lambda: network(there), wait, call, {})

"""Arrays by name out of a file, in any format that weights come in. Nothing in it is executed."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models.checkpoints.torch_files import LARGEST_FILE, read_state_dict

READABLE = (".npz", ".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
"""Endings of files that :func:`read_arrays` takes; the last four are ``torch.save``'s."""


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read every array of a file.

    Parameters
    ----------
    path : path-like
        Ends in one of :data:`READABLE`.

    Returns
    -------
    dict of str to ndarray
        Of whatever types and shapes there are.

    Raises
    ------
    WeightsError
        The file is missing, of another format, damaged, or would have to be executed.
    """
    where = os.fspath(path)
    ending = next((end for end in READABLE if where.lower().endswith(end)), None)
    if ending is None:
        raise WeightsError(
            f"{where!r} is not a known format of weights", f"use {', '.join(READABLE)}"
        )
    try:
        if ending == ".npz":
            return _read_npz(where)
        if ending == ".safetensors":
            return _read_safetensors(where)
        with open(where, "rb") as file:
            return read_state_dict(file.read(LARGEST_FILE + 1), where)
    except OSError as error:
        raise WeightsError(f"cannot read {where!r}: {error.strerror or error}") from error


def _read_npz(path: str) -> dict[str, NDArray[Any]]:
    try:
        # Opened here: np.load leaves a damaged file open when it gives the path up.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise WeightsError(f"{path!r} holds a single array", "save it with numpy.savez")
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path!r} is no readable .npz without pickle: {error}") from error


def _read_safetensors(path: str) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    # NumPy has no name for bfloat16 and its like, which surfaces as one of the latter two.
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path!r} is no readable .safetensors file of float16, float32 or float64: {error}"
        ) from error

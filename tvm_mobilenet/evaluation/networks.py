"""What is evaluated, and what it is compared with: from image files to scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import InputError, NotInstalledError, OnnxFileError, last_line
from tvm_mobilenet.runtime.classifier import check_images, classes_of
from tvm_mobilenet.runtime.preprocess import load_image

if TYPE_CHECKING:
    from tvm_mobilenet.runtime import Loaded


class Scorer(Protocol):
    """A network that classifies: `batch` images a call at most."""

    title: str
    classes: int
    batch: int

    def read(self, path: Path) -> NDArray[Any]:
        """Return an image as the network's input, without the batch axis."""
        ...

    def scores(self, images: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], float]:
        """Return (images, classes) as the network returns them, and the seconds of the call."""
        ...


class ArtifactScorer:
    """An artifact, with its own preprocessing."""

    def __init__(self, module: Loaded) -> None:
        check_images(module)
        self._module = module
        self.title = str(module.manifest["title"])
        self.classes = classes_of(module)
        record = module.inputs[0]
        self._shape, self._dtype = tuple(record["shape"]), record["dtype"]
        self._last = record["layout"] == "NHWC"
        self.batch = int(self._shape[0])
        # The first call wakes the threads and reads the weights into the caches.
        module(np.zeros(self._shape, self._dtype))

    def read(self, path: Path) -> NDArray[Any]:
        """Return an image as the artifact's recipe makes it."""
        pixels = load_image(path, self._module.manifest["preprocess"])[0, ...]
        return pixels.transpose(1, 2, 0) if self._last else pixels

    def scores(self, images: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], float]:
        """Run one call, filled up with zeros."""
        x = np.zeros(self._shape, self._dtype)
        x[: len(images)] = images
        start = time.perf_counter()
        output = self._module(x)
        seconds = time.perf_counter() - start
        return np.asarray(output[: len(images)], np.float64), seconds


class OnnxScorer:
    """An ONNX file run by onnxruntime, on what the artifact's recipe makes of an image."""

    batch = 1

    def __init__(self, path: Path, recipe: dict[str, Any], threads: int) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as missing:
            raise NotInstalledError(
                "an ONNX file is run by onnxruntime, which is not installed",
                "pip install onnxruntime, or compare with an artifact",
            ) from missing
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own have no root but this
            raise OnnxFileError(
                f"onnxruntime cannot load {str(path)!r}: {last_line(error)}",
                "give an ONNX file or an artifact",
            ) from error
        self._recipe, self.title = recipe, path.name
        self._inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(self._inputs) != 1 or len(outputs) != 1:
            raise InputError(
                f"{path.name} has {len(self._inputs)} inputs and {len(outputs)} outputs, and a "
                "classifier has one of each",
                "compare with another model",
            )
        first = self._inputs[0].shape[0] if self._inputs[0].shape else 1
        self._room = first if isinstance(first, int) else 1
        size = recipe["crop"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        scores, _ = self.scores([np.zeros((3, *sides), recipe.get("dtype", "float32"))])
        self.classes = scores.shape[1]

    def read(self, path: Path) -> NDArray[Any]:
        """Return an image as the artifact's recipe makes it, channels first."""
        return load_image(path, self._recipe)[0, ...]

    def scores(self, images: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], float]:
        """Run one image; a file of a fixed batch gets copies of it."""
        x = np.repeat(np.asarray(images), self._room, axis=0)
        start = time.perf_counter()
        try:
            (output,) = self._session.run(None, {self._inputs[0].name: x})
        except Exception as error:  # onnxruntime's own have no root but this
            raise InputError(
                f"{self.title} does not take the artifact's images: {last_line(error)}",
                "compare with a model of the same input",
            ) from error
        seconds = time.perf_counter() - start
        if output.ndim != 2:
            raise InputError(
                f"{self.title} returns {output.ndim} axes, not scores by image and class",
                "compare with a classifier",
            )
        return np.asarray(output[:1], np.float64), seconds

"""A model with its weights: from a name, a file or an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

from tvm_mobilenet.errors import InvalidModelError, WeightsError
from tvm_mobilenet.models import Model, build, model_from_manifest
from tvm_mobilenet.models.evaluator import Evaluation
from tvm_mobilenet.models.importer import MODULES, ONNX, Imported, import_onnx, is_file
from tvm_mobilenet.models.origin import asked, changed, module_wanted, onnx_named
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.quantized.remaking import made_again
from tvm_mobilenet.models.weights import (
    SEED,
    Weights,
    is_path,
    of_artifact,
    prove,
    trained,
    validate,
)

Expect = Callable[..., Evaluation]
"""From an input to what layers should compute, by a reference of the network's own: see
:meth:`tvm_mobilenet.models.importer.Imported.evaluate`."""

KeptAs = Literal["auto", "bfloat16", "float32"]
"""What layers are stored as that do not compute in integers, in a network of which others do:
``"auto"`` is bfloat16 for a target that multiplies it, float32 for any other."""

KEPT_AS: tuple[str, ...] = ("auto", "bfloat16", "float32")
"""All of them."""

_OPTIONS = ("batch", "resolution", "input_shape")
"""Options of an ONNX file; the last one stands for the other two."""


@dataclass(frozen=True)
class Network:
    """What to compile, or what was compiled.

    Attributes
    ----------
    source : str
        Where the weights are from: ``"seed:N"``, ``"arrays"``, a path or ``"Relay module"``.
    imported : Imported or None
        The import, if the model is from an ONNX file or a module of TVM's.
    preprocess : mapping
        Preprocessing of images that the source of the weights states, if any.
    records : mapping of str to Quantization
        The layers that compute in integers, and how: see
        :class:`tvm_mobilenet.models.quantized.model.QuantizedModel`; none in a float network.
    kept_as : {"auto", "bfloat16", "float32"}
        What its other layers are stored as: see :data:`KeptAs`.
    pixels : mapping
        Where the input is raw pixels, ``scale``, ``mean`` and ``std`` of the preprocessing that
        the first convolution does.
    """

    model: Model
    weights: Weights
    source: str
    imported: Imported | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    records: Mapping[str, Quantization] = field(default_factory=dict)
    kept_as: KeptAs = "float32"
    pixels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expect(self) -> Expect | None:
        """Onnx's reference for an imported network; None for one of ours."""
        return None if self.imported is None else self.imported.evaluate


def find_model(name: str | os.PathLike[str], options: Mapping[str, Any]) -> Model | Imported:
    """Return the model of a name, or of an ONNX or TensorFlow Lite file.

    Parameters
    ----------
    options : mapping
        A model's keyword arguments; for a file ``batch`` and ``resolution``, or ``input_shape``.

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, TfliteFileError
        There is no such model or file, or it does not take these options.
    """
    if not is_file(name):
        if "input_shape" in options:
            raise InvalidModelError(
                f"the input of {os.fspath(name)!r} is square, and its name is no choice",
                "give --resolution and --batch; --input-shape is for .onnx and .tflite files",
            )
        return build(os.fspath(name), **options)
    if odd := [option for option in options if option not in _OPTIONS]:
        raise InvalidModelError(
            f"{os.fspath(name)!r} is what it is: there is no {odd[0]} to choose",
            f"only {', '.join(_OPTIONS)} can be given, where the file leaves them open",
        )
    return import_onnx(name, **options)


def model_from(model: Model | Imported | Network | str | os.PathLike[str]) -> Model:
    """Return the model that a name, a file, an import or a network stands for."""
    if isinstance(model, Network):
        return model.model
    found = model if isinstance(model, Model | Imported) else find_model(model, {})
    return found.model if isinstance(found, Imported) else found


def planned_from(
    model: Model | Imported | Network | str | os.PathLike[str],
) -> tuple[Model, Mapping[str, Quantization], KeptAs]:
    """Return the model that :func:`model_from` does, and how it computes.

    Which of its layers are in integers, and what the others are kept as.
    """
    found = find_model(model, {}) if isinstance(model, str | os.PathLike) else model
    if isinstance(found, Model):
        return found, {}, "float32"
    return found.model, found.records, found.kept_as if isinstance(found, Network) else "float32"


def network_from(
    model: Model | Imported | Network | str | os.PathLike[str],
    weights: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None,
    seed: int,
) -> Network:
    """Return a model and its weights.

    Parameters
    ----------
    weights : path-like or mapping, optional
        Weights for a model that is not imported, generated from `seed` by default. A
        checkpoint may change the model, see :func:`tvm_mobilenet.models.weights.trained`.

    Raises
    ------
    UnknownModelError, InvalidModelError, OnnxError, TfliteFileError, WeightsError
        The model or the weights cannot be found or do not fit each other.
    """
    if isinstance(model, Network):
        if weights is not None:
            raise WeightsError("a network has weights of its own", "leave weights= out")
        return model
    found = model if isinstance(model, Model | Imported) else find_model(model, {})
    if isinstance(found, Imported):
        if weights is not None:
            raise WeightsError(
                f"{found.path!r} has weights of its own", "leave --weights or weights= out"
            )
        return Network(found.model, found.weights, found.path, found, records=found.records)
    if isinstance(weights, Mapping):
        validate(found, weights)
        return Network(found, dict(weights), "arrays")
    source = f"{SEED}{seed}" if weights is None else os.fspath(weights)
    if is_path(source):
        source = os.path.abspath(source)
    arrays, model, known = trained(source, found)
    return Network(model, arrays, source, preprocess=known)


def network_of(
    manifest: Mapping[str, Any],
    weights: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None = None,
    given: str | os.PathLike[str] | Imported | Network | None = None,
) -> Network:
    """Return what an artifact was compiled from, proved by the hash of its weights.

    One that computes in integers says what calibration decided; its weights are made again of
    the float ones.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    weights : path-like or mapping, optional
        The weights, in float32; by default those that the manifest names, within the limits of
        :mod:`tvm_mobilenet.models.origin`.
    given : path-like, Imported or Network, optional
        The ONNX file of an imported model, by default the one that the manifest names; or what
        was imported, or compiled. A module of TVM's has to be given.

    Raises
    ------
    InvalidModelError, OnnxError, WeightsError
        The file or the weights that it was compiled from are missing or have changed.
    ManifestError
        What it says of integers makes no network.
    """
    if isinstance(given, Network):
        prove(given.weights, manifest)
        return given
    found = _in_floats(manifest, weights, given)
    if (said := manifest.get("quantized")) is not None:
        network, arrays = made_again(found.model, found.weights, said, manifest["title"])
        found = replace(found, model=network.model, weights=arrays, records=network.records)
        found = replace(found, pixels=said.get("pixels", {}))
    prove(found.weights, manifest)
    return found


def _in_floats(
    manifest: Mapping[str, Any],
    weights: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None,
    given: str | os.PathLike[str] | Imported | None,
) -> Network:
    """Return the network that an artifact names, before anything in it was quantised here."""
    described = manifest["model"]
    name = described.get("name")
    if name != ONNX and name not in MODULES:
        if given is not None:
            raise InvalidModelError(
                f"this artifact is of {manifest['title']}, not of an ONNX file",
                "leave --model or model= out",
            )
        model = model_from_manifest(described)
        takes = any(call["operator"] == "qpixels" for call in manifest.get("calls", ()))
        if takes and "quantized" not in manifest:
            raise InvalidModelError(
                f"this artifact of {manifest['title']} takes pixels, and does not say what mean "
                "and deviation its first convolution holds",
                "give the network that quantize returned, model= in Python, or compile it again",
            )
        found = of_artifact(manifest, model, weights)
        return Network(model, found, str(manifest["weights"]["source"]))
    imported = _imported_again(name, described["options"], given)
    found = imported.weights if weights is None else of_artifact(manifest, imported.model, weights)
    return Network(imported.model, found, imported.path, imported, records=imported.records)


def _imported_again(
    name: str, options: Mapping[str, Any], given: str | os.PathLike[str] | Imported | None
) -> Imported:
    """Return what an artifact was imported from, proved by its hash."""
    if isinstance(given, Imported):
        imported = given
    elif name in MODULES:
        raise module_wanted(name)
    else:
        path, sizes = onnx_named(options) if given is None else (os.fspath(given), asked(options))
        imported = import_onnx(path, **sizes)
    if imported.model.options["sha256"] != options.get("sha256"):
        raise changed(imported.path)
    return imported

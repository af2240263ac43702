"""How others name the parameters of the same networks, as data.

Sources: torchvision 0.29, ``models/mobilenetv2.py`` and ``mobilenetv3.py``; timm 1.0.31,
``models/efficientnet.py``, ``mobilenetv3.py``, ``_efficientnet_blocks.py`` and ``byobnet.py``.
Names, shapes and epsilons were compared with what the constructors there register.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_mobilenet.models.efficientnet_lite import DEPTHS as LITE_DEPTHS
from tvm_mobilenet.models.mnasnet import DEPTHS as MNASNET_DEPTHS
from tvm_mobilenet.models.mobilenet_v4 import DEPTHS as V4_DEPTHS
from tvm_mobilenet.models.mobileone import DEPTHS as ONE_DEPTHS
from tvm_mobilenet.models.options import Padding
from tvm_mobilenet.models.spec import Conv2d, Model, Shape

Pair = tuple[str, str]
"""Prefix of the layer's own parameters, prefix of its batch norm's."""


@dataclass(frozen=True, slots=True)
class Names:
    """What one source calls the layers of one network, and how it was trained.

    Parameters
    ----------
    layers : mapping
        Layer, or what follows ``blockN.``, to a pair of prefixes with these fields:

        ===========  ==========================================================
        ``{n}``      number of the block, from 1
        ``{end}``    number of blocks, plus 1
        ``{i}``      index in the block, from 0, squeeze-and-excite as one
        ``{j}``      the index after it
        ``{k}``      index among the block's batch norms, from 1
        ``{s}{b}``   stage of the block, and index in the stage, both from 0
        ``{d}{p}``   twice that index, and the number after it
        ===========  ==========================================================
    plain : mapping
        The same for blocks without an expanding layer, where that differs.
    stages : tuple of int
        Blocks of each stage.
    pointwise_hidden : bool
        Whether the head's hidden layer is stored as a convolution, (O, I, 1, 1).
    epsilon : float
        Epsilon of every batch norm.
    padding : {"same", "symmetric"}
        Padding of strided layers.
    """

    layers: Mapping[str, Pair]
    plain: Mapping[str, Pair] = field(default_factory=dict)
    stages: tuple[int, ...] = ()
    pointwise_hidden: bool = False
    epsilon: float = 1e-5
    padding: Padding = "symmetric"

    def of(self, model: Model) -> dict[str, tuple[str, Shape]]:
        """Return, for each parameter of `model`, its name and shape in the source."""
        found = {}
        members = _members(model)
        for layer in model.layers:
            own, norm = self._prefixes(layer.name, members) if layer.parameters else ("", "")
            for parameter, shape in layer.parameters.items():
                part = parameter.removeprefix(f"{layer.name}.")
                prefix, theirs = (norm, _BATCH_NORM[part]) if part in _BATCH_NORM else (own, part)
                flat = layer.name == "hidden" and self.pointwise_hidden and part == "weight"
                found[parameter] = (f"{prefix}.{theirs}", (*shape, 1, 1) if flat else shape)
        return found

    def from_tensorflow(self, where: str) -> bool:
        """Return whether weights of that file or repository were TensorFlow's.

        Their names within the file are the same; timm tells them by ``tf_`` in the model's.
        """
        return bool(self.stages) and re.search(_TENSORFLOWS, where) is not None

    def _prefixes(self, name: str, members: Mapping[str, list[str]]) -> Pair:
        block, _, role = name.partition(".")
        if not role:
            places = {"end": len(members) + 1, "stages": len(self.stages)}
            own, norm = self.layers[name]
            return own.format(**places), norm.format(**places)
        roles = members[block]
        number = int(block.removeprefix("block"))
        stage, place = 0, number - 1
        for count in self.stages:
            if place < count:
                break
            stage, place = stage + 1, place - count
        at = roles.index(role.partition(".")[0])
        normed = [part for part in roles if part != "se"]
        pair = self.layers[role]
        if "expand" not in roles:
            pair = self.plain.get(role, pair)
        values = {"n": number, "i": at, "j": at + 1, "s": stage, "b": place}
        values |= {"d": 2 * place, "p": 2 * place + 1}
        values["k"] = normed.index(role) + 1 if role in normed else 0
        return pair[0].format(**values), pair[1].format(**values)


def _members(model: Model) -> dict[str, list[str]]:
    """Return, by block, its layers with parameters in order; squeeze-and-excite is one."""
    members: dict[str, list[str]] = {}
    for layer in model.layers:
        block, _, role = layer.name.partition(".")
        if role and isinstance(layer, Conv2d):
            roles, part = members.setdefault(block, []), role.partition(".")[0]
            if part not in roles:
                roles.append(part)
    return members


_BATCH_NORM = {
    "bn.gamma": "weight",
    "bn.beta": "bias",
    "bn.mean": "running_mean",
    "bn.variance": "running_var",
}

_TORCHVISION_ENDS: dict[str, Pair] = {
    "conv1": ("features.0.0", "features.0.1"),
    "last": ("features.{end}.0", "features.{end}.1"),
}
_TORCHVISION_V2 = Names(
    {
        **_TORCHVISION_ENDS,
        "expand": ("features.{n}.conv.{i}.0", "features.{n}.conv.{i}.1"),
        "dw": ("features.{n}.conv.{i}.0", "features.{n}.conv.{i}.1"),
        "project": ("features.{n}.conv.{i}", "features.{n}.conv.{j}"),
        "classifier": ("classifier.1", ""),
    }
)
_TORCHVISION_V3 = Names(
    {
        **_TORCHVISION_ENDS,
        "expand": ("features.{n}.block.{i}.0", "features.{n}.block.{i}.1"),
        "dw": ("features.{n}.block.{i}.0", "features.{n}.block.{i}.1"),
        "se.reduce": ("features.{n}.block.{i}.fc1", ""),
        "se.expand": ("features.{n}.block.{i}.fc2", ""),
        "project": ("features.{n}.block.{i}.0", "features.{n}.block.{i}.1"),
        "hidden": ("classifier.0", ""),
        "classifier": ("classifier.3", ""),
    },
    epsilon=1e-3,
)

_TIMM: dict[str, Pair] = {
    "conv1": ("conv_stem", "bn1"),
    "expand": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn{k}"),
    "dw": ("blocks.{s}.{b}.conv_dw", "blocks.{s}.{b}.bn{k}"),
    "pw": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn{k}"),
    "se.reduce": ("blocks.{s}.{b}.se.conv_reduce", ""),
    "se.expand": ("blocks.{s}.{b}.se.conv_expand", ""),
    "project": ("blocks.{s}.{b}.conv_pwl", "blocks.{s}.{b}.bn{k}"),
    "classifier": ("classifier", ""),
}
_TIMM_PLAIN: dict[str, Pair] = {"project": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn{k}")}
_TIMM_V3_HEAD: dict[str, Pair] = {
    "last": ("blocks.{stages}.0.conv", "blocks.{stages}.0.bn1"),
    "hidden": ("conv_head", ""),
}

_TIMM_V2_ENDS: dict[str, Pair] = {"last": ("conv_head", "bn2")}
_TIMM_V4: dict[str, Pair] = {
    "conv1": ("conv_stem", "bn1"),
    "conv": ("blocks.{s}.{b}.conv", "blocks.{s}.{b}.bn1"),
    "fused": ("blocks.{s}.{b}.conv_exp", "blocks.{s}.{b}.bn1"),
    "start": ("blocks.{s}.{b}.dw_start.conv", "blocks.{s}.{b}.dw_start.bn"),
    "expand": ("blocks.{s}.{b}.pw_exp.conv", "blocks.{s}.{b}.pw_exp.bn"),
    "dw": ("blocks.{s}.{b}.dw_mid.conv", "blocks.{s}.{b}.dw_mid.bn"),
    "project": ("blocks.{s}.{b}.pw_proj.conv", "blocks.{s}.{b}.pw_proj.bn"),
    "last": ("blocks.{stages}.0.conv", "blocks.{stages}.0.bn1"),
    "hidden": ("conv_head", "norm_head"),
    "classifier": ("classifier", ""),
}
_TIMM_V4_FUSED: dict[str, Pair] = {"project": ("blocks.{s}.{b}.conv_pwl", "blocks.{s}.{b}.bn2")}
_TIMM_ONE: dict[str, Pair] = {
    "conv1": ("stem.reparam_conv", ""),
    "dw": ("stages.{s}.{d}.reparam_conv", ""),
    "dw_se.reduce": ("stages.{s}.{d}.attn.fc1", ""),
    "dw_se.expand": ("stages.{s}.{d}.attn.fc2", ""),
    "pw": ("stages.{s}.{p}.reparam_conv", ""),
    "pw_se.reduce": ("stages.{s}.{p}.attn.fc1", ""),
    "pw_se.expand": ("stages.{s}.{p}.attn.fc2", ""),
    "classifier": ("head.fc", ""),
}


def _timm_v2(stages: tuple[int, ...]) -> Names:
    """Return the names of a network of inverted residuals whose head is V2's."""
    return Names({**_TIMM, **_TIMM_V2_ENDS}, _TIMM_PLAIN, stages)


NAMES: dict[str, dict[str, Names]] = {
    "torchvision": {
        "mobilenet_v2": _TORCHVISION_V2,
        "mobilenet_v3_large": _TORCHVISION_V3,
        "mobilenet_v3_small": _TORCHVISION_V3,
    },
    "timm": {
        "mobilenet_v1": Names(_TIMM, stages=(1, 2, 2, 6, 2)),
        "mobilenet_v2": _timm_v2((1, 2, 3, 4, 3, 3, 1)),
        "mobilenet_v3_large": Names(
            {**_TIMM, **_TIMM_V3_HEAD}, _TIMM_PLAIN, (1, 2, 3, 4, 2, 3), pointwise_hidden=True
        ),
        "mobilenet_v3_small": Names(
            {**_TIMM, **_TIMM_V3_HEAD}, _TIMM_PLAIN, (1, 2, 3, 2, 3), pointwise_hidden=True
        ),
        **{
            f"mobilenet_v4_{variant.replace('-', '_')}": Names(
                _TIMM_V4, _TIMM_V4_FUSED, depths, pointwise_hidden=True
            )
            for variant, depths in V4_DEPTHS.items()
        },
        **{
            f"efficientnet_lite{number}": _timm_v2(depths) for number, depths in LITE_DEPTHS.items()
        },
        **{f"mnasnet_{variant}": _timm_v2(depths) for variant, depths in MNASNET_DEPTHS.items()},
        **{
            f"mobileone_{variant}": Names(_TIMM_ONE, stages=depths)
            for variant, depths in ONE_DEPTHS.items()
        },
    },
}
"""By source, then by the model's name."""

MARKS = {
    "torchvision": ("features.", "classifier.1.", "classifier.3."),
    "timm": ("conv_stem.", "blocks.", "conv_head.", "stem.", "stages."),
}
"""What a name of each source begins with, and of no other's."""

IGNORED = ".num_batches_tracked"
"""How many batches batch norm has seen: of use in training only."""

_TENSORFLOWS = r"(^|[/:])tf_(mobilenet|efficientnet)"
"""Weights that timm took from TensorFlow, by the name of their file or repository."""

TF_EPSILON = 1e-3
"""Epsilon of weights that timm took from TensorFlow (``tf_`` names); their padding is SAME."""

TF_PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
"""What timm gives those weights to see."""

"""A model that grows layer by layer, and the block that most families are made of.

Inverted residual with linear bottleneck (Sandler et al., 2018, arXiv 1801.04381,
section 3.4): a pointwise layer expands, a depthwise layer filters, a pointwise layer
without activation projects; the input is added where the shapes agree. MnasNet and V3 put
squeeze-and-excite (arXiv 1905.02244, section 5.3) before the projection.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.models.options import Options, Padding
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Shape,
    Softmax,
    same_padding,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual.

    Parameters
    ----------
    expanded, channels : int
        Channels between the two pointwise layers, and of the output. A block whose input
        has `expanded` channels already has no expanding layer.
    kernel, stride : int
        Kernel and stride of the depthwise layer, in pixels.
    activation : Activation
        Activation of the expanding and of the depthwise layer.
    squeezed : int
        Channels in the middle of squeeze-and-excite; 0 for none.
    gate : Activation
        Activation that ends squeeze-and-excite.
    """

    expanded: int
    channels: int
    kernel: int
    stride: int
    activation: Activation
    squeezed: int = 0
    gate: Activation = "hardsigmoid"


class Growing:
    """The layers of a network so far; each method appends.

    Parameters
    ----------
    padding : {"same", "symmetric"}
        Padding of strided layers where no other was asked for, see
        :func:`tvm_mobilenet.models.mobilenet_v1`.
    epsilon : float or None
        Added to the variance of every batch norm where no other was asked for. None where
        convolutions have a bias instead.
    """

    def __init__(self, asked: Options, padding: Padding, epsilon: float | None) -> None:
        self._asked = asked
        self._padding = asked.padding or padding
        self._batch_norm = asked.epsilon or epsilon
        self._input_shape = (asked.batch, 3, asked.resolution, asked.resolution)
        self._layers: list[Layer] = []

    @property
    def last(self) -> tuple[str, Shape]:
        """Name and shape of what the next layer reads."""
        if not self._layers:
            return INPUT, self._input_shape
        return self._layers[-1].name, self._layers[-1].out_shape

    def conv(  # noqa: PLR0917  as a paper's table lists them
        self,
        name: str,
        channels: int,
        taps: int,
        stride: int,
        activation: Activation,
        groups: int = 1,
    ) -> None:
        """Append a convolution with batch norm, or with a bias where the network has none."""
        source, shape = self.last
        around = (taps // 2,) * 4
        if self._padding == "same":
            around = same_padding((shape[2], shape[3]), (taps, taps), (stride, stride))
        self._layers.append(
            Conv2d(
                name,
                (source,),
                shape,
                channels,
                (taps, taps),
                (stride, stride),
                around,
                groups,
                bias=self._batch_norm is None,
                batch_norm=self._batch_norm,
                activation=activation,
            )
        )

    def block(self, name: str, block: Block) -> None:
        """Append an inverted residual: ``.expand``, ``.dw``, ``.se.*``, ``.project``, ``.add``."""
        before = self.last
        if block.expanded != before[1][1]:
            self.conv(f"{name}.expand", block.expanded, 1, 1, block.activation)
        self.depthwise(f"{name}.dw", block.kernel, block.stride, block.activation)
        if block.squeezed:
            self.squeeze_and_excite(f"{name}.se", block.squeezed, block.gate)
        self.conv(f"{name}.project", block.channels, 1, 1, "none")
        self.add(f"{name}.add", before)

    def depthwise(self, name: str, taps: int, stride: int, activation: Activation) -> None:
        """Append a depthwise convolution."""
        channels = self.last[1][1]
        self.conv(name, channels, taps, stride, activation, groups=channels)

    def add(self, name: str, before: tuple[str, Shape]) -> None:
        """Append a residual connection to what :attr:`last` was, where the shapes agree."""
        source, shape = self.last
        if shape == before[1]:
            self._layers.append(Add(name, (source, before[0]), shape))

    def activate(self, name: str, activation: Activation) -> None:
        """Append an activation that follows no convolution."""
        source, shape = self.last
        self._layers.append(Activate(name, (source,), shape, activation))

    def squeeze_and_excite(self, name: str, squeezed: int, gate: Activation) -> None:
        """Append ``.pool``, ``.reduce``, ``.expand``, ``.scale``."""
        source, shape = self.last
        self._layers.append(GlobalAvgPool(f"{name}.pool", (source,), shape, keep_map=True))
        steps: tuple[tuple[str, int, Activation], ...] = (
            ("reduce", squeezed, "relu"),
            ("expand", shape[1], gate),
        )
        for step, channels, activation in steps:
            last, pooled = self.last
            self._layers.append(
                Conv2d(
                    f"{name}.{step}",
                    (last,),
                    pooled,
                    channels,
                    (1, 1),
                    bias=True,
                    activation=activation,
                )
            )
        self._layers.append(Scale(f"{name}.scale", (source, self.last[0]), shape))

    def head(
        self, hidden: int = 0, activation: Activation = "hardswish", *, normed: bool = False
    ) -> None:
        """Append pool, a hidden dense layer if asked for, classifier, softmax.

        Parameters
        ----------
        hidden : int
            Features of the hidden layer; 0 for none.
        normed : bool
            Whether it has a batch norm instead of a bias.
        """
        source, shape = self.last
        self._layers.append(GlobalAvgPool("pool", (source,), shape))
        if hidden:
            source, shape = self.last
            norm = self._batch_norm if normed else None
            self._layers.append(
                Dense("hidden", (source,), shape, hidden, not normed, activation, norm)
            )
        source, shape = self.last
        self._layers.append(Dense("classifier", (source,), shape, self._asked.classes))
        self._layers.append(Softmax("softmax", ("classifier",), self.last[1]))

    def model(self, name: str, title: str) -> Model:
        """Return the network, its width and resolution behind its title."""
        return Model(
            name=name,
            title=f"{title} {self._asked.text}",
            options=self._asked.to_dict(),
            input_shape=self._input_shape,
            layers=tuple(self._layers),
        )

"""A model that grows layer by layer, and the block of MobileNet V2 and V3.

Inverted residual with linear bottleneck (Sandler et al., 2018, arXiv 1801.04381,
section 3.4): a pointwise layer expands, a depthwise layer filters, a pointwise layer
without activation projects; the input is added where the shapes agree. V3 puts
squeeze-and-excite (arXiv 1905.02244, section 5.3) before the projection.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.models.options import Options, Padding
from tvm_mobilenet.models.spec import (
    INPUT,
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
    """

    expanded: int
    channels: int
    kernel: int
    stride: int
    activation: Activation
    squeezed: int = 0


class Growing:
    """The layers of a network so far; each method appends.

    Parameters
    ----------
    padding : {"same", "symmetric"}
        Padding of strided layers where no other was asked for, see
        :func:`tvm_mobilenet.models.mobilenet_v1`.
    epsilon : float
        Added to the variance of every batch norm where no other was asked for.
    """

    def __init__(self, asked: Options, padding: Padding, epsilon: float) -> None:
        self._asked = asked
        self._padding = asked.padding or padding
        self._batch_norm = asked.epsilon or epsilon
        self._input_shape = (asked.batch, 3, asked.resolution, asked.resolution)
        self._layers: list[Layer] = []

    @property
    def _last(self) -> tuple[str, Shape]:
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
        """Append a convolution with batch norm."""
        source, shape = self._last
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
                batch_norm=self._batch_norm,
                activation=activation,
            )
        )

    def block(self, name: str, block: Block) -> None:
        """Append an inverted residual: ``.expand``, ``.dw``, ``.se.*``, ``.project``, ``.add``."""
        source, shape = self._last
        if block.expanded != shape[1]:
            self.conv(f"{name}.expand", block.expanded, 1, 1, block.activation)
        self.conv(
            f"{name}.dw", block.expanded, block.kernel, block.stride, block.activation,
            groups=block.expanded,
        )  # fmt: skip
        if block.squeezed:
            self._squeeze_and_excite(f"{name}.se", block.squeezed)
        self.conv(f"{name}.project", block.channels, 1, 1, "none")
        projected, out_shape = self._last
        if shape == out_shape:
            self._layers.append(Add(f"{name}.add", (projected, source), shape))

    def _squeeze_and_excite(self, name: str, squeezed: int) -> None:
        source, shape = self._last
        self._layers.append(GlobalAvgPool(f"{name}.pool", (source,), shape, keep_map=True))
        steps: tuple[tuple[str, int, Activation], ...] = (
            ("reduce", squeezed, "relu"),
            ("expand", shape[1], "hardsigmoid"),
        )
        for step, channels, activation in steps:
            last, pooled = self._last
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
        self._layers.append(Scale(f"{name}.scale", (source, self._last[0]), shape))

    def head(self, hidden: int = 0) -> None:
        """Append pool, a hidden dense layer with hard swish if asked for, classifier, softmax."""
        source, shape = self._last
        self._layers.append(GlobalAvgPool("pool", (source,), shape))
        if hidden:
            _, shape = self._last
            self._layers.append(Dense("hidden", ("pool",), shape, hidden, activation="hardswish"))
        source, shape = self._last
        self._layers.append(Dense("classifier", (source,), shape, self._asked.classes))
        self._layers.append(Softmax("softmax", ("classifier",), self._last[1]))

    def model(self, name: str, title: str) -> Model:
        """Return the network, its width and resolution behind its title."""
        return Model(
            name=name,
            title=f"{title} {float(self._asked.alpha)}/{self._asked.resolution}",
            options=self._asked.to_dict(),
            input_shape=self._input_shape,
            layers=tuple(self._layers),
        )

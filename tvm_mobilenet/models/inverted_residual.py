"""The block of MobileNet V2 and V3, and a model that grows layer by layer.

Inverted residual with linear bottleneck (Sandler et al., 2018, arXiv 1801.04381,
section 3.4): a pointwise layer expands, a depthwise layer filters, a pointwise layer
without activation projects; the input is added where the shapes agree. V3 puts
squeeze-and-excite (arXiv 1905.02244, section 5.3) before the projection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_mobilenet.models.options import Padding
from tvm_mobilenet.models.spec import (
    INPUT,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
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


@dataclass(slots=True)
class Growing:
    """The layers of a network so far; each method appends.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W).
    padding : {"same", "symmetric"}
        Padding of strided layers, see :func:`tvm_mobilenet.models.mobilenet_v1`.
    batch_norm : float
        Epsilon of every batch norm.
    """

    input_shape: Shape
    padding: Padding
    batch_norm: float
    layers: list[Layer] = field(default_factory=list)

    @property
    def _last(self) -> tuple[str, Shape]:
        if not self.layers:
            return INPUT, self.input_shape
        return self.layers[-1].name, self.layers[-1].out_shape

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
        if self.padding == "same":
            around = same_padding((shape[2], shape[3]), (taps, taps), (stride, stride))
        self.layers.append(
            Conv2d(
                name,
                (source,),
                shape,
                channels,
                (taps, taps),
                (stride, stride),
                around,
                groups,
                batch_norm=self.batch_norm,
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
            self.layers.append(Add(f"{name}.add", (projected, source), shape))

    def _squeeze_and_excite(self, name: str, squeezed: int) -> None:
        source, shape = self._last
        self.layers.append(GlobalAvgPool(f"{name}.pool", (source,), shape, keep_map=True))
        steps: tuple[tuple[str, int, Activation], ...] = (
            ("reduce", squeezed, "relu"),
            ("expand", shape[1], "hardsigmoid"),
        )
        for step, channels, activation in steps:
            last, pooled = self._last
            self.layers.append(
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
        self.layers.append(Scale(f"{name}.scale", (source, self._last[0]), shape))

    def head(self, classes: int, hidden: int = 0) -> None:
        """Append pool, a hidden dense layer with hard swish if asked for, classifier, softmax."""
        source, shape = self._last
        self.layers.append(GlobalAvgPool("pool", (source,), shape))
        if hidden:
            _, shape = self._last
            self.layers.append(Dense("hidden", ("pool",), shape, hidden, activation="hardswish"))
        source, shape = self._last
        self.layers.append(Dense("classifier", (source,), shape, classes))
        self.layers.append(Softmax("softmax", ("classifier",), self._last[1]))

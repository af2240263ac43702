"""What an operator is: one file each, which says all there is to say of it without TVM.

Its definition is in ``compute/``, its loops are planned in ``schedules/plans/``. Both stacks, the
schedules, the cost model and the tuner ask here. The list below is the only one.
"""

from tvm_mobilenet.operators.axes import FromNhwc, ToNhwc
from tvm_mobilenet.operators.conv import Conv, ConvNhwc
from tvm_mobilenet.operators.conv_blocked import ConvBlocked
from tvm_mobilenet.operators.conv_pool_dense import ConvPoolDense
from tvm_mobilenet.operators.conv_transpose import ConvTranspose
from tvm_mobilenet.operators.copies import COPIES
from tvm_mobilenet.operators.dense import Dense
from tvm_mobilenet.operators.depthwise import Depthwise
from tvm_mobilenet.operators.elements import Activation, Elements
from tvm_mobilenet.operators.facts import OPERATORS, Facts
from tvm_mobilenet.operators.integers import INTEGER_OPERATORS
from tvm_mobilenet.operators.layer_norm import LayerNorm
from tvm_mobilenet.operators.linear import Linear
from tvm_mobilenet.operators.lp_normalization import LpNormalization
from tvm_mobilenet.operators.moves import Move
from tvm_mobilenet.operators.over_pixels import InstanceNormalization, Largest
from tvm_mobilenet.operators.pointwise import Pointwise
from tvm_mobilenet.operators.pool import Pool
from tvm_mobilenet.operators.product import Product
from tvm_mobilenet.operators.resize import Resize
from tvm_mobilenet.operators.scale import Scale
from tvm_mobilenet.operators.separable import Separable
from tvm_mobilenet.operators.softmax import Softmax, SoftmaxRows
from tvm_mobilenet.operators.windows import AveragePool, MaxPool

_ALL: tuple[Facts, ...] = (
    ConvBlocked(),
    ConvTranspose(),
    Conv(),
    ConvNhwc(),
    Depthwise(),
    Pointwise(),
    ConvPoolDense(),
    Separable(),
    Pool(),
    Scale(),
    Linear(),
    Dense(),
    SoftmaxRows(),
    Softmax(),
    LpNormalization(),
    LayerNorm(),
    Elements(),
    Activation(),
    Move(),
    Largest(),
    InstanceNormalization(),
    Resize(),
    ToNhwc(),
    FromNhwc(),
    Product(),
    *COPIES.values(),
    MaxPool(),
    AveragePool(),
    *INTEGER_OPERATORS,
)
"""Those of several layers in the order in which they are tried: the longest first."""

OPERATORS.update({facts.name: facts for facts in _ALL})

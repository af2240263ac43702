"""The main stack: Relax and TensorIR, in apache-tvm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.compilation.adapter import Lowering, StackAdapter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.compilation.adapter import Run, Tools
    from tvm_mobilenet.compilation.options import PlanOptions
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.operator import Operator
    from tvm_mobilenet.network.plan import NetworkPlan


class Relax(StackAdapter):
    """See :class:`tvm_mobilenet.compilation.adapter.StackAdapter`."""

    name = "relax"

    def check(self, options: PlanOptions) -> None:
        """Refuse nothing: what it has no code for is refused where the target is read."""

    def lower(self, network: Network, plan: NetworkPlan, dump_ir: Path | None = None) -> Lowering:
        """Take a plan through the phases of :mod:`tvm_mobilenet.emit.relax.pipeline`."""
        from tvm_mobilenet.emit.relax.pipeline import lower

        lowered = lower(plan, network.weights, dump_ir)

        def write(
            recipe: Mapping[str, Any], tools: Tools, path: Path, prefix: str, alone: Path | None
        ) -> dict[str, Any]:
            from tvm_mobilenet.compilation.manifest import describe, describe_memory
            from tvm_mobilenet.emit.relax.write_artifact import write_artifact

            manifest = describe(network, plan.target, lowered, preprocess=recipe)
            memory = write_artifact(
                manifest, lowered, plan.target, tools, path, prefix=prefix, alone=alone
            )
            return {**manifest, "memory": describe_memory(network.model, memory)}

        kernels = lowered.kernels.values()
        return Lowering(
            notes=[f"the record of {k.name}: {k.note}" for k in kernels if k.note],
            ruled=[k.name for k in kernels if k.knobs and k.source != "record"],
            write=write,
        )

    def on_host(
        self, operators: Sequence[Operator], weights: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, Run]:
        """Compile operators by Relax's importer."""
        from tvm_mobilenet.emit.relax.on_host import on_host

        return on_host(operators, weights)

"""One network of timm as an ONNX file, by either exporter: started by benchmarks/real_files.py.

    PYTHON benchmarks/torch_export.py mobileone_s0 mobileone_s0.onnx --exporter dynamo

It needs timm, torch and onnx, for dynamo onnxscript too, and nothing of ours. Weights are those
that timm draws from seed 0: times do not depend on them.
"""

from __future__ import annotations

import argparse
from typing import Any

SEED, OPSET = 0, 17


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("name")
    parser.add_argument("file")
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    try:
        import timm
    except RuntimeError:
        # torchvision's wheel is for CUDA: beside a torch for processors it lacks what it registers.
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor boxes, Tensor scores, float iou) -> Tensor")
        import timm
    torch.manual_seed(SEED)
    network = timm.create_model(arguments.name, pretrained=False, exportable=True).eval()
    image = torch.zeros(1, *network.default_cfg["input_size"])
    how: dict[str, Any] = {"dynamo": False, "opset_version": OPSET}
    if arguments.exporter == "dynamo":
        how = {"dynamo": True, "external_data": False}
    torch.onnx.export(
        network,
        (image,),
        arguments.file,
        input_names=["input"],
        output_names=["output"],
        **how,
    )


if __name__ == "__main__":
    main()

"""ONNX files to audit: a ResNet-18 of the real kernels, and a whole one at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.sample_kernels import RESNET18

OPSET = 17
BLOCKS = ("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1")
NARROWING = ("layer2.0", "layer3.0")


class ResNet18Graph:
    """Nodes of a ResNet-18 with BatchNorm folded in, named as in torchvision, and the weights they read.

    Of layer4 the shared folder has the downsample alone: it stands for the whole stage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def build(self) -> str:
        """Add all nodes; the name of the output."""
        x = self._relu(self._conv("conv1", "image", stride=2))
        x = self._node("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for block in BLOCKS:
            x = self._block(block, x)
        x = self._relu(self._conv("layer4.0.downsample.0", x, stride=2))
        x = self._node("Flatten", "flatten", self._node("GlobalAveragePool", "avgpool", x))
        return self._node("Gemm", "fc", x, *self._load("fc"), transB=1)

    def _block(self, block: str, x: str) -> str:
        stride = 2 if block in NARROWING else 1
        inner = self._relu(self._conv(f"{block}.conv1", x, stride=stride))
        inner = self._conv(f"{block}.conv2", inner, stride=1)
        skip = x if stride == 1 else self._conv(f"{block}.downsample.0", x, stride=stride)
        return self._relu(self._node("Add", f"{block}.add", inner, skip))

    def _conv(self, name: str, x: str, stride: int) -> str:
        weight, bias = self._load(name)
        pad = self.weights[weight].shape[-1] // 2
        return self._node("Conv", name, x, weight, bias, strides=[stride] * 2, pads=[pad] * 4)

    def _relu(self, x: str) -> str:
        return self._node("Relu", f"{x}.relu", x)

    def _load(self, name: str) -> tuple[str, str]:
        names = (f"{name}.weight", f"{name}.bias")
        self.weights.update({part: np.load(self._folder / f"{part}.npy").astype("f4") for part in names})
        return names

    def _node(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        output = f"{name}.out"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output


def real_resnet18(shared: Path) -> ModelProto:
    """ResNet-18 up to layer3 with its downsamples and fc, any batch and image size."""
    graph = ResNet18Graph(shared / RESNET18)
    output = graph.build()
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1000])
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "resnet18", [image], [scores], weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model

"""Networks written down node by node, with random weights or given ones, as ONNX files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
IMAGE = "image"


class GraphBuilder:
    """A graph of one image, grown from its input to its output; tensors are told by their names.

    Random kernels are normal, of variance 1 / fan-in, so that their norms do not depend on their size.

    Args:
        shape: of the image, [c, h, w], or of a vector, [features].
        normalised: whether a BatchNorm with random statistics follows each convolution.
    """

    def __init__(self, *shape: int, normalised: bool = False) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.channels = {IMAGE: shape[0]}
        self._shape = shape
        self._normalised = normalised
        self._generator = np.random.default_rng(0)

    def conv(
        self,
        name: str,
        x: str,
        channels: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        parts: dict[str, np.ndarray] | None = None,
    ) -> str:
        """A convolution that keeps the size but for its stride, and its BatchNorm.

        Args:
            name, x: of the layer, and of its input.
            channels, size: of the output, and of the square kernel.
            stride, groups: of the convolution.
            parts: given values: `weight`, and `bias` where there is one; else they are random.
        """
        shape = (channels, self.channels[x] // groups, size, size)
        own = [self._given(f"{name}.{part}", array) for part, array in (parts or {}).items()]
        own = own or [self._random(f"{name}.weight", shape)]
        sizes = {"strides": [stride] * 2, "pads": [size // 2] * 4, "group": groups}
        y = self.node("Conv", name, x, *own, channels=channels, **sizes)
        return self.norm(f"{name}.bn", y) if self._normalised and parts is None else y

    def up(self, name: str, x: str, channels: int) -> str:
        """A transposed convolution that doubles height and width."""
        weight = self._random(f"{name}.weight", (self.channels[x], channels, 2, 2))
        return self.node("ConvTranspose", name, x, weight, channels=channels, strides=[2, 2])

    def norm(self, name: str, x: str, parts: dict[str, np.ndarray] | None = None) -> str:
        """A BatchNorm: given `weight`, `bias`, `running_mean` and `running_var`, or random ones."""
        count = self.channels[x]
        names = ("weight", "bias", "running_mean", "running_var")
        given = parts or {each: 0.5 + self._generator.random(count) for each in names}
        return self.node(
            "BatchNormalization", name, x, *(self._given(f"{name}.{each}", given[each]) for each in names)
        )

    def relu(self, x: str) -> str:
        """Of a tensor."""
        return self.node("Relu", f"{x}.relu", x)

    def relu6(self, x: str) -> str:
        """Of a tensor, between 0 and 6."""
        limits = [self._given(f"limit{limit}", np.float32(limit)) for limit in (0, 6)]
        return self.node("Clip", f"{x}.relu6", x, *limits)

    def max_pool(self, name: str, x: str, size: int) -> str:
        """With stride 2, padded where the windows overlap."""
        pads = [(size - 1) // 2] * 4
        return self.node("MaxPool", name, x, kernel_shape=[size] * 2, strides=[2, 2], pads=pads)

    def average_pool(self, name: str, x: str) -> str:
        """Of 2 x 2, with stride 2."""
        return self.node("AveragePool", name, x, kernel_shape=[2, 2], strides=[2, 2])

    def concat(self, name: str, *inputs: str) -> str:
        """The channels of all, in order."""
        channels = sum(self.channels[each] for each in inputs)
        return self.node("Concat", name, *inputs, channels=channels, axis=1)

    def dense(self, name: str, x: str, features: int, parts: dict[str, np.ndarray] | None = None) -> str:
        """A linear layer on vectors."""
        own = [self._given(f"{name}.{part}", array) for part, array in (parts or {}).items()]
        own = own or [self._random(f"{name}.weight", (features, self.channels[x]))]
        return self.node("Gemm", name, x, *own, channels=features, transB=1)

    def head(self, x: str, classes: int, name: str = "fc", parts: dict[str, np.ndarray] | None = None) -> str:
        """The mean of each channel, and a linear layer on them."""
        flat = self.node("Flatten", "flatten", self.node("GlobalAveragePool", "avgpool", x))
        return self.dense(name, flat, classes, parts)

    def constant(self, name: str, *values: int) -> str:
        """Integers that an operator takes as an input."""
        self.weights[name] = np.array(values, np.int64)
        return name

    def node(self, op: str, name: str, *inputs: str, channels: int = 0, **attributes: object) -> str:
        """Any node; it has as many channels as its first input unless told otherwise."""
        output = f"{name}.out"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        self.channels[output] = channels or self.channels[inputs[0]]
        return output

    def save(self, path: Path, output: str) -> Path:
        """Write the model that ends in `output`, for a batch of one."""
        save(path, self.nodes, self.weights, [1, *self._shape], output)
        return path

    def _random(self, name: str, shape: tuple[int, ...]) -> str:
        values = self._generator.standard_normal(shape, np.float32)
        return self._given(name, values / np.float32(math.sqrt(math.prod(shape[1:]))))

    def _given(self, name: str, array: np.ndarray) -> str:
        self.weights[name] = np.asarray(array, np.float32)
        return name


def save(
    path: Path, nodes: list[NodeProto], weights: dict[str, np.ndarray], shape: list[int], output: str
) -> None:
    """Write a model with one image as its input."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)

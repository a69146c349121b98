"""Small ONNX models for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return rng(sum(shape)).standard_normal(shape).astype(dtype)


def graph_model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
    opset: int = 20,
    functions: Sequence[onnx.FunctionProto] = (),
) -> ModelProto:
    """A model with float inputs, and outputs of unknown shape."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("local", 1),
        helper.make_opsetid("custom", 1),
    ]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def saved(model: ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    onnx.save(model, path)
    return path


def small_network(folder: Path, name: str = "model.onnx") -> Path:
    """A convolution, an activation and a head, which take a moment to audit with all searches."""
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight"], ["filtered"], strides=[2, 2]),
        helper.make_node("Softplus", ["filtered"], ["hidden"]),
        helper.make_node("Flatten", ["hidden"], ["features"]),
        helper.make_node("Gemm", ["features", "fc.weight"], ["y"]),
    ]
    weights = {"conv.weight": normal(4, 1, 3, 3) / 2, "fc.weight": normal(36, 3) / 2}
    return saved(graph_model(nodes, {"image": (1, 1, 8, 8)}, weights), folder, name)

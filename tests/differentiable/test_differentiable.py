"""Graphs as functions of torch tensors, against onnxruntime, and their gradients against torch's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from convsv_cli.api import load
from convsv_cli.differentiable import UndifferentiableError, differentiable
from convsv_cli.lipschitz.dependencies import relevant
from tests.support import exported_nets, onnx_models, runtime

NETS = sorted(set(exported_nets.NETS) - {"unet_upsampled"})


def function_of(path: Path):
    graph = load(path).graph
    return differentiable(graph, source=graph.inputs[0], nodes=relevant(graph), output=graph.main.outputs[0])


def run(path: Path, x: torch.Tensor) -> np.ndarray:
    session = runtime.session(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: sample[None].numpy()})[0] for sample in x])


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_networks_are_what_they_are_in_the_runtime(exported, name: str, *, dynamo: bool) -> None:
    path, (_, shape) = exported(name, dynamo), exported_nets.network(name)
    x = torch.randn(3, *shape[1:])
    ours, theirs = function_of(path)(x), run(path, x)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet"])
def test_gradients_are_those_of_the_module(exported, name: str) -> None:
    net, shape = exported_nets.network(name)
    function = function_of(exported(name, True))
    x = torch.randn(2, *shape[1:], requires_grad=True)
    (ours,) = torch.autograd.grad(function(x)[:, 0].sum(), x)
    (theirs,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


WEIGHTS = {
    "w": onnx_models.normal(4, 2, 3, 2),
    "v": onnx_models.normal(2, 3, 3, 2),
    "pads": np.array([1, 0, 2, 3]),
    "axes": np.array([-1, 2]),
    "starts": np.array([1, -3]),
    "ends": np.array([2**40, -1]),
    "low": np.float32(-0.5),
    "high": np.float32(0.25),
    "s": np.abs(onnx_models.normal(2, 1, 1)),
}
NODES = {
    "Conv, unequal pads": ("Conv", ("x", "w"), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "Conv, SAME_UPPER": ("Conv", ("x", "w"), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "Conv, SAME_LOWER": ("Conv", ("x", "w"), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    "Conv, VALID": ("Conv", ("x", "w"), {"auto_pad": "VALID"}),
    "ConvTranspose": (
        "ConvTranspose",
        ("x", "v"),
        {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 0]},
    ),
    "MaxPool": ("MaxPool", ("x",), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "MaxPool, dilated": ("MaxPool", ("x",), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "AveragePool": ("AveragePool", ("x",), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "AveragePool, padding counts": (
        "AveragePool",
        ("x",),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "PRelu": ("PRelu", ("x", "s"), {}),
    "Clip": ("Clip", ("x", "low", "high"), {}),
    "Selu": ("Selu", ("x",), {}),
    "HardSigmoid": ("HardSigmoid", ("x",), {"alpha": 0.3}),
    "Softmax": ("Softmax", ("x",), {"axis": 1}),
    "LogSoftmax": ("LogSoftmax", ("x",), {"axis": -2}),
    "Transpose": ("Transpose", ("x",), {"perm": [0, 3, 1, 2]}),
    "Flatten": ("Flatten", ("x",), {"axis": 1}),
    "Gelu": ("Gelu", ("x",), {"approximate": "tanh"}),
    "Mish": ("Mish", ("x",), {}),
    "Softsign": ("Softsign", ("x",), {}),
    "Elu": ("Elu", ("x",), {"alpha": 0.7}),
    "Div": ("Div", ("x", "s"), {}),
    "Max": ("Max", ("x", "s"), {}),
    "Pad": ("Pad", ("x", "pads", "low", "axes"), {}),
    "Slice": ("Slice", ("x", "starts", "ends", "axes"), {}),
    "Concat": ("Concat", ("x", "x"), {"axis": 2}),
}


def single(folder: Path, name: str) -> Path:
    op, inputs, attributes = NODES[name]
    node = helper.make_node(op, inputs, ["y"], **attributes)
    weights = {key: value for key, value in WEIGHTS.items() if key in inputs}
    model = onnx_models.graph_model([node], {"x": (1, 2, 7, 6)}, weights)
    path = folder / "node.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", NODES)
def test_nodes_are_what_they_are_in_the_runtime(tmp_path: Path, name: str) -> None:
    path = single(tmp_path, name)
    x = torch.randn(3, 2, 7, 6)
    ours, theirs = function_of(path)(x).numpy(), run(path, x)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("Det", {}, "convsv has no gradient of Det"),
        (
            "MaxPool",
            {"kernel_shape": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
            "MaxPool has pads and ceil_mode",
        ),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "AveragePool is dilated"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [9999] * 4}, "."),
    ],
)
def test_what_has_no_gradient_is_said(tmp_path: Path, op: str, attributes: dict, reason: str) -> None:
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    path = tmp_path / "node.onnx"
    path.write_bytes(onnx_models.graph_model([node], {"x": (1, 2, 7, 7)}, {}).SerializeToString())
    with pytest.raises(UndifferentiableError, match=reason):
        function_of(path)


def test_what_grows_too_large_is_never_computed(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", [f"x{i}", f"x{i}"], [f"x{i + 1}"], axis=1) for i in range(24)]
    path = tmp_path / "bomb.onnx"
    path.write_bytes(onnx_models.graph_model(nodes, {"x0": (1, 64)}, {}, ["x24"]).SerializeToString())
    with pytest.raises(UndifferentiableError, match="more than 67,108,864 intermediate values"):
        function_of(path)

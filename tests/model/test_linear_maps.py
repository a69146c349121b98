"""Linear maps of nodes: kernel, geometry and bias give what onnxruntime computes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch.nn import functional

from convsv_cli.loaders import load
from convsv_cli.model.graph import Graph
from convsv_cli.model.linear_map import LinearMap, Unsupported
from convsv_cli.model.linear_maps import linear_maps
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, saved

CONVOLUTIONS = (None, functional.conv1d, functional.conv2d, functional.conv3d)
TRANSPOSED = (None, functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
CONVS = [
    ((4, 3, 3), {}),
    ((4, 2, 3, 2), {"pads": [1, 1, 2, 1], "strides": [2, 1], "group": 2}),
    ((4, 3, 3, 2), {"dilations": [1, 2], "pads": [1, 0, 1, 3]}),
    ((4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ((4, 3, 2, 4), {"auto_pad": "SAME_LOWER"}),
    ((4, 3, 1, 1), {"auto_pad": "SAME_UPPER"}),
    ((2, 1, 2, 2, 3), {"auto_pad": "VALID", "group": 2}),
]
ADJOINTS = [
    ((4, 3, 3), {}),
    ((4, 2, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 3], "group": 2}),
    ((4, 2, 3, 2), {"strides": [2, 3], "output_padding": [1, 2]}),
    ((4, 3, 2, 2), {"dilations": [2, 1], "pads": [0, 1, 1, 0]}),
]
MATRICES = [
    ("Gemm", ["x", "w", "b"], (2, 5), (5, 4), {"alpha": -2.5, "beta": 0.5}),
    ("Gemm", ["x", "w"], (2, 5), (4, 5), {"transB": 1}),
    ("Gemm", ["w", "x"], (5, 4), (3, 5), {"alpha": 3.0}),
    ("Gemm", ["w", "x"], (5, 4), (5, 3), {"transA": 1}),
    ("MatMul", ["x", "w"], (2, 5), (5, 4), {}),
    ("MatMul", ["w", "x"], (5, 2), (4, 5), {}),
    ("MatMul", ["x", "w"], (2, 5), (5,), {}),
    ("MatMul", ["x", "w"], (3, 2, 5), (3, 5, 4), {}),
    ("Einsum", ["x", "w"], (2, 5), (5, 4), {"equation": "ni,io->no"}),
    ("Einsum", ["w", "x"], (2, 5), (4, 5), {"equation": "oi,ni->on"}),
]


def maps_of(op: str, inputs: list[str], shapes: dict[str, tuple[int, ...]], attributes: dict, folder: Path):
    """The graph of one node, its map, and what onnxruntime computes of x."""
    weights = {name: normal(*shape) for name, shape in shapes.items() if name != "x"}
    model = graph_model([helper.make_node(op, inputs, ["y"], **attributes)], {"x": shapes["x"]}, weights)
    graph = load(saved(model, folder)).graph
    assert graph is not None
    (found,) = linear_maps(graph.main.nodes[0], graph)
    assert isinstance(found, LinearMap)
    x = np.random.default_rng(3).standard_normal(shapes["x"]).astype(np.float32)
    (y,) = runtime.session(model).run(None, {"x": x})
    return graph, found, x, y


def bias_of(found: LinearMap, graph: Graph) -> torch.Tensor | float:
    if found.bias is None:
        return 0.0
    name, factor = found.bias
    return factor * torch.from_numpy(np.array(graph.constants[name]().read(), np.float64))


def convolved(found: LinearMap, x: torch.Tensor, bias: torch.Tensor | float) -> torch.Tensor:
    """By torch, with the padding of the geometry cut from what comes out of a full adjoint."""
    kernel = torch.from_numpy(np.array(found.kernel(), np.float64))
    geometry, axes = found.geometry, kernel.ndim - 2
    options = {"stride": geometry.stride, "dilation": geometry.dilation, "groups": geometry.groups}
    pairs = list(zip(geometry.margins[:axes], geometry.margins[axes:], strict=True))
    margins = [end for pair in reversed(pairs) for end in pair]  # torch takes the last axis first
    if geometry.transposed:
        whole = TRANSPOSED[axes](x, kernel, **options)
        y = functional.pad(whole, [-end for end in margins])
    else:
        y = CONVOLUTIONS[axes](functional.pad(x, margins), kernel, **options)
    return y + (bias.reshape(-1, *(1,) * axes) if isinstance(bias, torch.Tensor) else bias)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [*(("Conv", *case) for case in CONVS), *(("ConvTranspose", *case) for case in ADJOINTS)],
)
def test_convolutions(op: str, shape: tuple[int, ...], attributes: dict, bias: bool, tmp_path: Path) -> None:
    groups = attributes.get("group", 1)
    channels = shape[0] if op == "ConvTranspose" else shape[1] * groups
    c_out = shape[1] * groups if op == "ConvTranspose" else shape[0]
    shapes = {"x": (1, channels, *(7, 8, 6)[: len(shape) - 2]), "w": shape, "b": (c_out,)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    shapes = {name: shapes[name] for name in inputs}
    graph, found, x, y = maps_of(op, inputs, shapes, attributes, tmp_path)
    assert found.input_size == x.shape[2:]
    computed = convolved(found, torch.from_numpy(x).double(), bias_of(found, graph))
    np.testing.assert_allclose(computed.numpy(), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("op", "inputs", "data", "weight", "attributes"), MATRICES)
def test_matrices(
    op: str,
    inputs: list[str],
    data: tuple[int, ...],
    weight: tuple[int, ...],
    attributes: dict,
    tmp_path: Path,
) -> None:
    """As the dense matrix of what onnxruntime computes of each unit: their singular values are equal."""
    shapes = {"x": data, "w": weight, **({"b": (4,)} if "b" in inputs else {})}
    graph, found, _, _ = maps_of(op, inputs, shapes, attributes, tmp_path)
    assert inputs[found.data] == "x"
    session = runtime.session(tmp_path / "model.onnx")
    units = np.eye(int(np.prod(data)), dtype=np.float32).reshape(-1, *data)
    zero = session.run(None, {"x": np.zeros(data, np.float32)})[0].ravel()
    dense = np.stack([session.run(None, {"x": unit})[0].ravel() - zero for unit in units], 1)
    kernel = found.kernel().reshape(found.geometry.groups, -1, found.kernel_shape[1])
    ours = np.concatenate([np.linalg.svd(block, compute_uv=False) for block in kernel.astype(np.float64)])
    theirs = np.linalg.svd(dense, compute_uv=False)
    copies = max(1, round(float(np.square(theirs).sum() / np.square(ours).sum())))
    expected = np.sort(np.repeat(ours, copies))[::-1]
    np.testing.assert_allclose(theirs[: len(expected)], expected, atol=1e-4)
    np.testing.assert_allclose(theirs[len(expected) :], 0, atol=1e-4)
    bias = bias_of(found, graph)
    if isinstance(bias, torch.Tensor):
        np.testing.assert_allclose(np.tile(bias.numpy(), len(zero) // 4), zero, atol=1e-5)


def test_gates_are_stacked_in_the_order_of_their_inputs(tmp_path: Path) -> None:
    weights = {"w": normal(2, 8, 3), "r": normal(2, 8, 2)}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=2, direction="bidirectional")
    graph = load(saved(graph_model([node], {"x": [5, 1, 3]}, weights), tmp_path)).graph
    by_input, by_state = linear_maps(graph.main.nodes[0], graph)
    assert np.array_equal(by_input.kernel(), weights["w"].reshape(16, 3))
    assert np.array_equal(by_state.kernel(), weights["r"].reshape(16, 2))
    assert (by_input.geometry.groups, by_state.geometry.groups) == (1, 2)


def test_maps_have_one_key_where_they_have_one_norm(tmp_path: Path) -> None:
    """The same kernel, applied alike, at the same size; what differs in any of these is another row."""
    alike = [helper.make_node("Conv", ["x", "w"], [f"y{i}"], pads=[1, 1]) for i in range(2)]
    strided = helper.make_node("Conv", ["x", "w"], ["y2"], pads=[1, 1], strides=[2])
    other = helper.make_node("Conv", ["x", "v"], ["y3"], pads=[1, 1])
    later = helper.make_node("Conv", ["y2", "w"], ["y4"], pads=[1, 1])
    weights = {"w": normal(3, 3, 3), "v": normal(3, 3, 3)}
    nodes = [*alike, strided, other, later]
    model = graph_model(nodes, {"x": [1, 3, 8]}, weights, [f"y{i}" for i in range(5)])
    graph = load(saved(model, tmp_path)).graph
    keys = [linear_maps(node, graph)[0].key for node in graph.main.nodes]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_a_stack_of_square_matrices_has_another_norm_on_the_other_side(tmp_path: Path) -> None:
    """[A B] and [A; B]: here sqrt(2) and 1."""
    stack = np.zeros((2, 2, 2), np.float32)
    stack[0, 0, 0] = stack[1, 0, 1] = 1
    nodes = [helper.make_node("MatMul", ["w", "x"], ["y0"]), helper.make_node("MatMul", ["x", "w"], ["y1"])]
    network = load(saved(graph_model(nodes, {"x": [2, 2]}, {"w": stack}, ["y0", "y1"]), tmp_path))
    norms = [torch.linalg.matrix_norm(layer.read(), 2).item() for layer in network.layers]
    assert norms == pytest.approx([1, math.sqrt(2)])


@pytest.mark.parametrize("varying", ["scale", "zero point"])
def test_quantised_matrices_are_scaled_by_rows_on_the_left(varying: str, tmp_path: Path) -> None:
    """By columns on the right: one weight with one scale is two matrices."""
    weights = {
        "w": np.array([[5, 5], [0, 0]], np.int8),
        "ws": np.array([1, 100], np.float32) if varying == "scale" else np.float32(1),
        "wz": np.zeros(2, np.int8) if varying == "scale" else np.array([0, 50], np.int8),
        "s": np.float32(1),
        "z": np.int8(0),
    }
    ours, theirs, result = ["w", "ws", "wz"], ["q", "s", "z"], ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearMatMul", [*theirs, *ours, *result], ["y0"]),
        helper.make_node("QLinearMatMul", [*ours, *theirs, *result], ["y1"]),
    ]
    network = load(saved(graph_model(nodes, {"x": [2, 2]}, weights, ["y0", "y1"]), tmp_path))
    right, left = (layer.read() for layer in network.layers)
    shifted = weights["w"].astype(np.float64)
    rows, columns = (weights["wz"].reshape(shape).astype(np.float64) for shape in ((2, 1), (1, 2)))
    scales = np.broadcast_to(weights["ws"], 2).astype(np.float64)
    np.testing.assert_array_equal(right, ((shifted - columns) * scales).T)
    np.testing.assert_array_equal(left, (shifted - rows) * scales[:, None])


def test_what_is_no_linear_map_says_why(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y0"], strides=[0]),
        helper.make_node("Conv", ["x", "x"], ["y1"]),
        helper.make_node("Relu", ["x"], ["y2"]),
    ]
    model = graph_model(nodes, {"x": [3, 3, 3]}, {"w": normal(3, 3, 3)}, ["y0", "y1", "y2"])
    graph = load(saved(model, tmp_path)).graph
    misfit, varying, none = (linear_maps(node, graph) for node in graph.main.nodes)
    assert [type(found) for found in (*misfit, *varying)] == [Unsupported, Unsupported]
    assert "fit no kernel" in misfit[0].reason
    assert "computed from the network's input" in varying[0].reason
    assert none == []

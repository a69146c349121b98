"""Which nodes of an ONNX graph are layers, and what their kernels are."""

from __future__ import annotations

import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, saved

X = {"x": ["n", 4, "h", "w"]}


def layers_of(nodes, inputs, weights, folder, **options):
    return load(saved(graph_model(nodes, inputs, weights, **options), folder)).layers


def only(layers):
    (layer,) = layers
    assert isinstance(layer, Layer), layer
    return layer


def assert_kernel(layer: Layer, expected: np.ndarray, rtol: float = 0) -> None:
    kernel = layer.read().numpy()
    assert kernel.shape == layer.kernel_shape == expected.shape
    np.testing.assert_allclose(kernel, expected, rtol=rtol)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_in_one_to_three_dimensions(axes: int, tmp_path: Path) -> None:
    weight = normal(6, 2, *(3, 2, 4)[:axes])
    geometry = {
        "strides": [2, 1, 3][:axes],
        "dilations": [1, 2, 1][:axes],
        "pads": [1, 0, 2][:axes] + [0, 1, 1][:axes],
    }
    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], group=2, **geometry)
    layer = only(layers_of([node], {"x": [1, 4, 9, 8, 7][: axes + 2]}, {"conv.weight": weight}, tmp_path))
    assert (layer.name, layer.weight, layer.op, layer.dtype) == ("conv", "conv.weight", "Conv", "float32")
    assert layer.geometry.stride == tuple(geometry["strides"])
    assert layer.geometry.dilation == tuple(geometry["dilations"])
    assert layer.geometry.padding == tuple(geometry["pads"])
    assert (layer.geometry.groups, layer.geometry.transposed) == (2, False)
    assert layer.input_size == (9, 8, 7)[:axes]
    assert_kernel(layer, weight)


def test_transposed_convolution(tmp_path: Path) -> None:
    weight = normal(4, 3, 2, 2)
    node = helper.make_node("ConvTranspose", ["x", "up.weight"], ["y"], strides=[2, 2], group=2)
    layer = only(layers_of([node], X, {"up.weight": weight}, tmp_path))
    assert layer.geometry.transposed
    assert layer.geometry.stride == (2, 2)
    assert_kernel(layer, weight)


@pytest.mark.parametrize(
    ("mode", "pads"), [("SAME_UPPER", (0, 1, 1, 1)), ("SAME_LOWER", (1, 1, 0, 1)), ("VALID", (0, 0, 0, 0))]
)
def test_automatic_padding_is_resolved_as_onnxruntime_does(mode: str, pads, tmp_path: Path) -> None:
    weight = normal(2, 4, 3, 3)
    automatic = graph_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=mode, strides=[2, 1])],
        {"x": [1, 4, 6, 5]},
        {"w": weight},
    )
    layer = only(load(saved(automatic, tmp_path)).layers)
    assert layer.geometry.padding == pads
    explicit = graph_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=pads, strides=[2, 1])],
        {"x": [1, 4, 6, 5]},
        {"w": weight},
    )
    image = normal(1, 4, 6, 5)
    outputs = [runtime.session(m).run(None, {"x": image})[0] for m in (automatic, explicit)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_gemm_with_a_constant_right(trans_b: int, alpha: float, tmp_path: Path) -> None:
    weight = normal(5, 4) if trans_b else normal(4, 5)
    node = helper.make_node("Gemm", ["x", "fc.weight"], ["y"], transB=trans_b, alpha=alpha)
    layer = only(layers_of([node], {"x": ["n", 4]}, {"fc.weight": weight}, tmp_path))
    assert_kernel(layer, alpha * (weight if trans_b else weight.T))
    assert layer.input_size == ()


@pytest.mark.parametrize("trans_a", [0, 1])
def test_gemm_with_a_constant_left(trans_a: int, tmp_path: Path) -> None:
    weight = normal(4, 5) if trans_a else normal(5, 4)
    node = helper.make_node("Gemm", ["fc.weight", "x"], ["y"], transA=trans_a)
    layer = only(layers_of([node], {"x": [4, "n"]}, {"fc.weight": weight}, tmp_path))
    assert_kernel(layer, weight.T if trans_a else weight)


def test_matmul_with_a_constant_on_either_side(tmp_path: Path) -> None:
    right, left = normal(4, 5), normal(6, 7)
    nodes = [
        helper.make_node("MatMul", ["x", "right"], ["z"]),
        helper.make_node("MatMul", ["left", "z"], ["y"]),
    ]
    first, second = layers_of(nodes, {"x": ["n", 7, 4]}, {"right": right, "left": left}, tmp_path)
    assert_kernel(first, right.T)
    assert_kernel(second, left)


def test_matmul_by_a_vector(tmp_path: Path) -> None:
    vector = normal(4)
    layer = only(
        layers_of([helper.make_node("MatMul", ["x", "v"], ["y"])], {"x": ["n", 4]}, {"v": vector}, tmp_path)
    )
    assert_kernel(layer, vector[None])


@pytest.mark.parametrize(("batch", "groups"), [((3,), 3), ((7, 3), 3), (("n", 3), 3), ((1,), 1), (("n",), 1)])
def test_batched_matmul_is_blocks_only_where_the_input_is_known_to_have_the_batch(
    batch, groups, tmp_path
) -> None:
    weight = normal(3, 4, 5)
    layer = only(
        layers_of(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [*batch, 2, 4]}, {"w": weight}, tmp_path
        )
    )
    assert layer.geometry.groups == groups
    assert bool(layer.assumed) == (groups == 1)
    assert_kernel(layer, weight.swapaxes(1, 2).reshape(15, 4))


@pytest.mark.parametrize(
    ("equation", "x", "w", "kernel", "groups"),
    [
        ("bi,oi->bo", [2, 4], (5, 4), lambda w: w, 1),
        ("oi,bi->bo", [2, 4], (5, 4), lambda w: w, 1),
        ("bhi,hio->bho", [2, 3, 4], (3, 4, 5), lambda w: w.swapaxes(1, 2).reshape(15, 4), 3),
        ("...i,iok->...o", [2, 3, 4], (4, 5, 2), lambda w: w.sum(2).T, 1),
        ("bnhd,hde->bne", [2, 3, 4, 5], (4, 5, 6), lambda w: w.reshape(20, 6).T, 1),
        ("bi,io", [2, 4], (4, 5), lambda w: w.T, 1),
    ],
)
def test_einsum_that_is_a_linear_map(equation, x, w, kernel, groups, tmp_path: Path) -> None:
    weight = normal(*w)
    operands = ["w", "x"] if equation == "oi,bi->bo" else ["x", "w"]
    node = helper.make_node("Einsum", operands, ["y"], equation=equation)
    layer = only(layers_of([node], {"x": x}, {"w": weight}, tmp_path))
    assert layer.geometry.groups == groups
    assert_kernel(layer, kernel(weight.astype(np.float64)), rtol=1e-12)


@pytest.mark.parametrize("equation", ["bi,oo->bo", "bij,oi->bo", "bi,o...->bo"])
def test_other_einsums_are_listed_with_the_reason(equation: str, tmp_path: Path) -> None:
    axes = 3 if "bij" in equation else 2
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    (layer,) = layers_of([node], {"x": [4] * axes}, {"w": normal(4, 4)}, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "Einsum" in layer.reason


@pytest.mark.parametrize(
    ("equation", "x", "w"),
    [
        ("bhi,hio->bho", [2, 1, 4], (3, 4, 5)),
        ("bi,oi->bo", [2, 1], (5, 4)),
        ("...i,oi->...o", [2, 3, 4], (5, 1)),
    ],
)
def test_an_einsum_that_repeats_an_axis_is_listed_with_the_reason(equation, x, w, tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    (layer,) = layers_of([node], {"x": x}, {"w": normal(*w)}, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "stretches" in layer.reason


def test_recurrent_layers_give_their_gate_matrices(tmp_path: Path) -> None:
    weights = {"rnn.weight_ih": normal(2, 12, 5), "rnn.weight_hh": normal(2, 12, 3)}
    node = helper.make_node("LSTM", ["x", *weights], ["y"], hidden_size=3, direction="bidirectional")
    w, r = layers_of([node], {"x": [7, 1, 5]}, weights, tmp_path)
    assert (w.name, r.name) == ("rnn.W", "rnn.R")
    assert (w.geometry.groups, r.geometry.groups) == (1, 2)
    assert_kernel(w, weights["rnn.weight_ih"].reshape(24, 5))
    assert_kernel(r, weights["rnn.weight_hh"].reshape(24, 3))
    assert "recurrence" in w.assumed[0]


def weight_norm_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceL2", ["conv.weight_v", "axes"], ["norm"], keepdims=1),
        helper.make_node("Div", ["conv.weight_v", "norm"], ["direction"]),
        helper.make_node("Mul", ["direction", "conv.weight_g"], ["mul_9"]),
        helper.make_node("Conv", ["x", "mul_9"], ["y"]),
    ]


def test_weights_come_through_constant_expressions(tmp_path: Path) -> None:
    g, v = normal(5, 1, 1, 1), normal(5, 4, 3, 3)
    weights = {"conv.weight_g": g, "conv.weight_v": v, "axes": np.array([1, 2, 3])}
    layer = only(layers_of(weight_norm_nodes(), X, weights, tmp_path))
    assert layer.name == "conv"
    assert_kernel(layer, g * v / np.sqrt((v**2).sum((1, 2, 3), keepdims=True)), rtol=1e-6)


def test_a_constant_is_looked_for_once(tmp_path: Path) -> None:
    """Rules ask for a weight again and again, and chains of Identity nodes may be long."""
    chain = [helper.make_node("Identity", [f"w{i}"], [f"w{i + 1}"]) for i in range(3)]
    nodes = [*chain, helper.make_node("MatMul", ["x", "w3"], ["y"])]
    graph = load(saved(graph_model(nodes, {"x": [1, 4]}, {"w0": normal(4, 4)}), tmp_path)).graph
    assert graph.constant("w3") is graph.constant("w3")


def test_weights_come_through_reshapes_casts_and_identities(tmp_path: Path) -> None:
    stored = normal(4, 20, dtype="float16")
    nodes = [
        helper.make_node("Identity", ["stored"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0]),
        helper.make_node("Constant", [], ["shape"], value_ints=[5, 4, 4]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Unsqueeze", ["d", "axis"], ["e"]),
        helper.make_node("Conv", ["x", "e"], ["y"]),
    ]
    layer = only(layers_of(nodes, X, {"stored": stored, "axis": np.array([3])}, tmp_path))
    assert_kernel(layer, stored.T.reshape(5, 4, 4, 1).astype(np.float32))


@pytest.mark.parametrize("axis", [None, 0])
def test_dequantised_weights(axis: int | None, tmp_path: Path) -> None:
    stored = np.arange(-80, 64, dtype=np.int8).reshape(4, 4, 3, 3)
    scale = np.float32(0.1) if axis is None else np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    zero = np.int8(3) if axis is None else np.array([3, 0, -2, 1], np.int8)
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], **attributes),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    layer = only(layers_of(nodes, X, {"q": stored, "s": np.array(scale), "z": np.array(zero)}, tmp_path))
    shape = () if axis is None else (4, 1, 1, 1)
    expected = (stored.astype(np.float32) - np.reshape(zero, shape).astype(np.float32)) * np.reshape(
        scale, shape
    )
    assert_kernel(layer, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, ml_dtypes.float8_e4m3fn])
def test_every_float_type_is_read_exactly(dtype: type, tmp_path: Path) -> None:
    weight = normal(5, 4, 3, 3).astype(dtype)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    model = graph_model([node], X, {"w": weight})
    layer = only(load(saved(model, tmp_path)).layers)
    assert layer.dtype == np.dtype(dtype).name
    assert_kernel(layer, weight.astype(np.float64))


def test_weights_as_constant_nodes_and_inputs_with_a_default(tmp_path: Path) -> None:
    first, second = normal(4, 4, 3, 3), normal(2, 4, 1, 1)
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(first, "stem.weight")),
        helper.make_node("Conv", ["x", "a"], ["z"]),
        helper.make_node("Conv", ["z", "b"], ["y"]),
    ]
    model = graph_model(nodes, {**X, "b": second.shape}, {"b": second})
    network = load(saved(model, tmp_path))
    assert [name for name, _ in network.inputs] == ["x"]
    a, b = network.layers
    assert a.name == "stem"
    assert_kernel(a, first)
    assert_kernel(b, second)


def test_a_weight_is_its_reader_s_own(tmp_path: Path) -> None:
    """Also where it is a view of numbers in a node, which the evaluator of all such nodes keeps."""
    nodes = [
        helper.make_node("Constant", [], ["flat"], value_floats=[1.0, 2.0, 3.0, 4.0]),
        helper.make_node("Constant", [], ["shape"], value_ints=[2, 2]),
        helper.make_node("Reshape", ["flat", "shape"], ["w"]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    for _ in range(2):
        layer = only(layers_of(nodes, {"x": ["n", 2]}, {}, tmp_path))
        assert_kernel(layer, np.array([[1, 2], [3, 4]], np.float32))
        layer.read().zero_()


def test_layers_in_bodies_see_outer_constants_and_their_own(tmp_path: Path) -> None:
    outer, inner = normal(4, 4, 3, 3), normal(4, 4, 1, 1)

    def body(name: str, weight: str, own: np.ndarray | None) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node("Conv", ["x", weight], ["z"], name=f"{name}_conv")],
            name,
            [],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            [] if own is None else [numpy_helper.from_array(own, weight)],
        )

    node = helper.make_node(
        "If", ["flag"], ["y"], name="choice",
        then_branch=body("then", "net.weight", None), else_branch=body("else", "net.weight", inner),
    )  # fmt: skip
    model = graph_model([node], X, {"net.weight": outer})
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    own, seen = load(
        saved(model, tmp_path), input_size=16
    ).layers  # attributes are stored in their names' order
    assert (own.name, seen.name) == ("net", "choice.then_branch/net")
    assert own.input_size == seen.input_size == (16, 16)
    assert_kernel(own, inner)
    assert_kernel(seen, outer)


def test_bodies_belong_to_their_own_node(tmp_path: Path) -> None:
    """Also after nodes that are left out, having no outputs, and after sizes that were made constants."""

    def body(name: str) -> onnx.GraphProto:
        product = helper.make_node("MatMul", ["x", name], ["z"])
        return helper.make_graph([product], name, [], [onnx.ValueInfoProto(name="z")])

    def branches(name: str) -> dict[str, onnx.GraphProto]:
        return {"then_branch": body(name), "else_branch": body(name)}

    nodes = [
        helper.make_node("If", ["flag"], [], **branches("w")),
        helper.make_node("Shape", ["x"], ["size"], name="If", then_branch=body("w")),
        helper.make_node("If", ["flag"], ["y"], name="If", **branches("v")),
    ]
    model = graph_model(nodes, {"x": [1, 3]}, {"w": np.eye(3, dtype=np.float32), "v": normal(3, 5)})
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    graph = load(saved(model, tmp_path)).graph
    last = graph.main.nodes[-1]
    found = [inner.inputs[1] for _, body in last.bodies for inner in body.nodes]
    assert (last.outputs, found) == (("y",), ["v", "v"])
    assert [graph.shapes[name] for _, body in last.bodies for name in body.outputs] == [(1, 5)] * 2


def test_layers_in_local_functions(tmp_path: Path) -> None:
    function = helper.make_function(
        "local", "Block", ["x", "w"], ["y"],
        [helper.make_node("Conv", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["y"])],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Block", ["x", "a.weight"], ["z"], domain="local"),
        helper.make_node("Block", ["z", "b.weight"], ["y"], domain="local"),
    ]
    weights = {"a.weight": normal(4, 4, 3, 3), "b.weight": normal(2, 4, 3, 3)}
    model = graph_model(nodes, X, weights, functions=[function])
    a, b = load(saved(model, tmp_path), input_size=16).layers
    assert [(layer.name, layer.input_size) for layer in (a, b)] == [("a", (16, 16)), ("b", (14, 14))]
    assert_kernel(b, weights["b.weight"])


def test_layers_in_local_functions_of_another_operator_set(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(normal(4, 4, 3, 3)))
    body = [constant, helper.make_node("Conv", ["x", "w"], ["y"])]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    call = helper.make_node("Block", ["x"], ["y"], domain="local")
    function = helper.make_function("local", "Block", ["x"], ["y"], body, imports)
    assert_kernel(only(layers_of([call], X, {}, tmp_path, functions=[function])), normal(4, 4, 3, 3))
    function.opset_import[1].version = 3
    with pytest.raises(UnreadableModelError, match="'Block' needs operator versions other than"):
        layers_of([call], X, {}, tmp_path, functions=[function])


def test_a_shared_weight_is_one_row_with_all_its_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Identity", ["w"], ["tied"]),
        helper.make_node("Conv", ["a", "tied"], ["b"], name="second", pads=[1] * 4),
        helper.make_node("Conv", ["b", "w"], ["y"], name="strided", pads=[1] * 4, strides=[2, 2]),
    ]
    one, other = layers_of(nodes, X, {"w": normal(4, 4, 3, 3)}, tmp_path)
    assert (one.name, one.aliases) == ("first", ("second",))
    assert (other.name, other.geometry.stride) == ("strided", (2, 2))


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        ((4, 4), [("Gemm", {"alpha": 1.0}), ("Gemm", {"alpha": 10.0})]),
        ((4, 4, 4), [("Einsum", {"equation": "bi,oik->bo"}), ("Einsum", {"equation": "bi,oki->bo"})]),
    ],
    ids=["alpha", "equation"],
)
def test_a_weight_used_in_two_ways_is_two_rows(shape, nodes, tmp_path: Path) -> None:
    (first, a), (second, b) = nodes
    graph = [
        helper.make_node(first, ["x", "w"], ["z"], **a),
        helper.make_node(second, ["z", "w"], ["y"], **b),
    ]
    one, other = layers_of(graph, {"x": [1, 4]}, {"w": normal(*shape)}, tmp_path)
    assert (one.aliases, other.aliases) == ((), ())
    assert not torch.equal(one.read(), other.read())


def test_what_is_no_layer_is_not_listed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["a"]),
        helper.make_node("Add", ["a", "matrix"], ["b"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["d"]),
        helper.make_node("Erf", ["matrix"], ["positions"]),
        helper.make_node("Gather", ["positions", "index"], ["e"]),
        helper.make_node("Rotate", ["e", "positions"], ["f"], domain="custom"),
        helper.make_node("MatMul", ["d", "matrix"], ["y"]),
    ]
    layer = only(layers_of(nodes, {"x": [4, 4], "index": [1]}, {"matrix": normal(4, 4)}, tmp_path))
    assert layer.name == "matrix"


@pytest.mark.parametrize(
    ("node", "fragment"),
    [
        (helper.make_node("QLinearConv", ["x", "s", "z", "w", "x", "z", "s", "z"], ["y"]), "computed from"),
        (helper.make_node("ConvInteger", ["x", "w"], ["y"]), "scale is not found"),
        (helper.make_node("MatMulInteger", ["x", "m"], ["y"]), "scale is not found"),
        (helper.make_node("DeformConv", ["x", "f", "x"], ["y"]), "deformable"),
        (helper.make_node("Mystery", ["x", "m"], ["y"], domain="custom"), "'custom'"),
        (helper.make_node("Gather", ["f", "index"], ["y"]), "look-up"),
        (helper.make_node("Conv", ["x", "x"], ["y"]), "computed from the network's input"),
        (helper.make_node("Conv", ["x", "w"], ["y"]), "uint8"),
        (helper.make_node("Conv", ["x", "f"], ["y"], strides=[2]), "fit no kernel"),
        (helper.make_node("Conv", ["x", "f"], ["y"], pads=[1, 1]), "fit no kernel"),
        (helper.make_node("Conv", ["x", "f"], ["y"], dilations=[0, 1]), "fit no kernel"),
        (helper.make_node("ConvTranspose", ["x", "f"], ["y"], group=0), "fit no kernel"),
    ],
    ids=lambda value: getattr(value, "op_type", value),
)
def test_weights_that_cannot_be_audited_are_listed_with_the_reason(
    node, fragment: str, tmp_path: Path
) -> None:
    weights = {
        "w": np.ones((4, 4, 3, 3), np.uint8),
        "f": normal(4, 4, 3, 3),
        "m": np.ones((4, 4), np.uint8),
        "s": np.float32(1)[None],
        "z": np.uint8(0)[None],
    }
    (layer,) = layers_of([node], {**X, "index": [1]}, weights, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert layer.op == node.op_type
    assert fragment in layer.reason


def test_a_constant_by_an_unknown_operator_is_listed_where_it_is_a_weight(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Erf", ["w"], ["v"]),
        helper.make_node("MatMul", ["w", "v"], ["u"]),
        helper.make_node("MatMul", ["x", "u"], ["z"]),
        helper.make_node("Gemm", ["z", "v"], ["y"]),
    ]
    layers = layers_of(nodes, {"x": [1, 4]}, {"w": normal(4, 4)}, tmp_path)
    assert [(layer.op, layer.reason) for layer in layers] == [
        ("MatMul", "a constant Erf, which convsv does not compute"),
        ("Gemm", "a constant Erf, which convsv does not compute"),
    ]


def test_no_file_passes_its_operators_off_as_ours(tmp_path: Path) -> None:
    """By "convsv.unreadable.Conv" a graph means a Conv that its operator set does not define."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], domain="convsv.unreadable")
    model = graph_model([node], X, {"w": normal(4, 4, 3, 3)})
    model.opset_import.append(helper.make_opsetid("convsv.unreadable", 1))
    with pytest.raises(UnreadableModelError, match="convsv's own"):
        load(saved(model, tmp_path))


def test_a_foreign_operator_between_a_weight_and_its_layer_is_no_layer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unpack", ["w"], ["v"], domain="custom"),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    (layer,) = layers_of(nodes, {"x": [1, 4]}, {"w": normal(4, 4)}, tmp_path)
    assert (layer.op, layer.reason) == ("MatMul", "a constant Unpack, which convsv does not compute")


def test_a_constant_that_explodes_is_not_computed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Expand", ["w", "shape"], ["big"]),
        helper.make_node("MatMul", ["x", "big"], ["y"]),
    ]
    weights = {"w": np.ones((1, 1), np.float32), "shape": np.array([10**6, 10**6])}
    (layer,) = layers_of(nodes, {"x": [1, 10**6]}, weights, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "much larger than what is stored" in layer.reason


class TwoLayers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, 2, 1, groups=1)
        self.up = torch.nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=2)
        self.fc = torch.nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.up(torch.relu(self.conv(x)))).flatten(1))


@pytest.mark.parametrize("dynamo", [True, False])
def test_both_of_torchs_exporters(dynamo: bool, tmp_path: Path) -> None:
    model = TwoLayers().eval()
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.rand(1, 3, 8, 8),), path, dynamo=dynamo, verbose=False)
    network = load(path)
    conv, up, fc = network.layers
    assert [layer.name for layer in network.layers] == ["conv", "up", "fc"]
    assert (conv.input_size, up.input_size, fc.input_size) == ((8, 8), (4, 4), ())
    assert (up.geometry.stride, up.geometry.groups, up.geometry.transposed) == ((2, 2), 2, True)
    for layer, module in ((conv, model.conv), (up, model.up), (fc, model.fc)):
        assert_kernel(layer, module.weight.detach().numpy())


@pytest.mark.parametrize("normalise", [torch.nn.utils.spectral_norm, torch.nn.utils.weight_norm])
def test_reparametrised_layers_as_exported_without_folding(normalise, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(
            normalise(torch.nn.Conv2d(3, 4, 3)), torch.nn.Flatten(), normalise(torch.nn.Linear(144, 5))
        ).eval()
        torch.onnx.export(model, (torch.rand(1, 3, 8, 8),), path, dynamo=False, do_constant_folding=False)
    conv, fc = load(path).layers
    assert [(layer.name, layer.op) for layer in (conv, fc)] == [("0", "Conv"), ("2", "Gemm")]
    assert_kernel(conv, model[0].weight.detach().numpy(), rtol=1e-5)
    assert_kernel(fc, model[2].weight.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Gemm", {"alpha": "two"}),
        ("Gemm", {"beta": [1.0]}),
        ("Gemm", {"transB": 0.5}),
        ("Conv", {"strides": [1.5, 1.0]}),
        ("Conv", {"strides": 2}),
        ("Conv", {"group": 1.0}),
        ("Conv", {"auto_pad": 3}),
        ("ConvTranspose", {"output_padding": 1}),
    ],
)
def test_attributes_of_another_type_are_no_layer(op: str, attributes: dict, tmp_path: Path) -> None:
    """Runtimes refuse them, too; before, most of these ended in an internal error."""
    shape, weight = ([1, 3], (3, 3)) if op == "Gemm" else ([1, 3, 8, 8], (3, 3, 2, 2))
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    path = saved(graph_model([node], {"x": shape}, {"w": normal(*weight)}), tmp_path)
    with pytest.raises(Exception, match=r"(?i)attribute"):
        runtime.session(path)
    found = audit(path)
    (row,) = found.layers
    assert (row.status, row.op) == ("unsupported", op)
    assert f"attribute '{next(iter(attributes))}' has the wrong type" in row.reason
    assert found.bound.status == "unbounded"


@pytest.mark.parametrize("ir_version", [3, 8])
def test_a_weight_that_callers_may_replace_says_so(ir_version: int, tmp_path: Path) -> None:
    """Before IR version 4 every initializer had to be an input, and none could be replaced."""
    weights = {name: normal(3, 3) for name in "wvu"}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["v"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "t"], ["b"]),
        helper.make_node("MatMul", ["b", "u"], ["y"]),
    ]
    model = graph_model(nodes, {"x": [1, 3], "w": [3, 3], "v": [3, 3]}, weights)
    model.ir_version = ir_version
    notes = [" ".join(layer.assumed) for layer in load(saved(model, tmp_path)).layers]
    said = [
        f"the input {name!r}, which callers may replace" in note
        for name, note in zip("wvu", notes, strict=True)
    ]
    assert said == ([False] * 3 if ir_version < 4 else [True, True, False])

"""Quantised, packed, narrow and sparse weights of ONNX graphs, against what onnxruntime makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, rng, saved

X = {"x": [1, 4, 8, 8]}
INT8 = "dequantised weights: int8 values with their scale"


def model_of(
    nodes: Sequence[NodeProto], inputs: dict[str, Any], weights: dict[str, np.ndarray], **options: Any
) -> onnx.ModelProto:
    model = graph_model(nodes, inputs, weights, opset=options.pop("opset", 21), **options)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def layers_of(model: onnx.ModelProto, folder: Path) -> tuple[Layer | UnsupportedLayer, ...]:
    return load(saved(model, folder)).layers


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> np.ndarray:
    """What onnxruntime computes, without its own rewriting of the graph."""
    session = runtime.session(model, rewritten=False)
    return np.asarray(session.run(None, feeds)[0])


# DequantizeLinear.

CODES = np.arange(-80, 64, dtype=np.int8).reshape(4, 4, 3, 3)
UNSIGNED = (CODES.astype(np.int16) + 100).astype(np.uint8)
FOUR = (np.arange(144) % 15 - 7).reshape(4, 4, 3, 3)
SCALES = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
BLOCKS = rng(1).uniform(0.1, 1, (4, 2, 3, 3)).astype(np.float32)
ONE = np.array(0.1, np.float32)
QDQ: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None, dict[str, int]]] = {
    "int8": (CODES, ONE, None, {}),
    "int8, zero point": (CODES, ONE, np.array(3, np.int8), {}),
    "uint8, zero point": (UNSIGNED, ONE, np.array(128, np.uint8), {}),
    "int8 an axis": (CODES, SCALES, np.array([3, 0, -2, 1], np.int8), {"axis": 0}),
    "int8 the last axis": (CODES, SCALES[:3], None, {"axis": -1}),
    "int8 blocked": (CODES, BLOCKS, np.full(BLOCKS.shape, 2, np.int8), {"axis": 1, "block_size": 2}),
    "int8 blocked unevenly": (CODES, BLOCKS, None, {"axis": 1, "block_size": 3}),
    "int4": (FOUR.astype(ml_dtypes.int4), ONE, np.array(1).astype(ml_dtypes.int4), {}),
    "uint4": ((FOUR + 7).astype(ml_dtypes.uint4), SCALES, np.full(4, 7).astype(ml_dtypes.uint4), {"axis": 0}),
    "int4 blocked": (FOUR.astype(ml_dtypes.int4), BLOCKS, None, {"axis": 1, "block_size": 2}),
    "fp8": ((FOUR / 4).astype(ml_dtypes.float8_e4m3fn), ONE, np.zeros((), ml_dtypes.float8_e4m3fn), {}),
    "int32": (CODES.astype(np.int32) * 100_000, ONE, None, {}),
    "int16": (CODES.astype(np.int16) * 99, ONE, np.array(5, np.int16), {}),
    "half scales": (CODES, SCALES.astype(np.float16), None, {"axis": 0}),
}


@pytest.mark.parametrize("case", QDQ)
def test_dequantised_weights_are_onnxruntimes(case: str, tmp_path: Path) -> None:
    values, scale, zero, attributes = QDQ[case]
    names = ["q", "s"] if zero is None else ["q", "s", "z"]
    weights = {"q": values, "s": scale} | ({} if zero is None else {"z": zero})
    dequantise = helper.make_node("DequantizeLinear", names, ["w"], **attributes)
    (layer,) = layers_of(
        model_of([dequantise, helper.make_node("Conv", ["x", "w"], ["y"])], X, weights), tmp_path
    )
    assert isinstance(layer, Layer)
    assert layer.assumed == (f"dequantised weights: {values.dtype.name} values with their scale",)
    alone = graph_model([dequantise], {}, weights, outputs=["w"], opset=21)
    alone.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(scale.dtype)
    if case != "int8 blocked unevenly":  # onnxruntime 1.32 wants whole blocks
        np.testing.assert_array_equal(layer.read().numpy(), run(alone))
    spread = BLOCKS.repeat(3, 1)[:, :4]
    if case == "int8 blocked unevenly":
        np.testing.assert_array_equal(layer.read().numpy(), values.astype(np.float32) * spread)


def test_onnxruntimes_own_dequantize_linear(tmp_path: Path) -> None:
    weights = {"q": CODES.astype(np.int16) * 300, "s": ONE, "z": np.array(-7, np.int16)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], domain="com.microsoft"),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    (layer,) = layers_of(model_of(nodes, X, weights, opset=17), tmp_path)
    np.testing.assert_array_equal(layer.read().numpy(), (weights["q"] + np.float32(7)) * ONE)


@pytest.mark.parametrize(
    ("scale", "attributes"),
    [
        (SCALES[:3], {"axis": 0}),
        (BLOCKS, {"axis": 1, "block_size": 5}),
        (SCALES, {"axis": 9}),
        (SCALES[:0], {}),
    ],
)
def test_scales_that_do_not_fit_are_listed(
    scale: np.ndarray, attributes: dict[str, int], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], **attributes),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    (layer,) = layers_of(model_of(nodes, X, {"q": CODES, "s": scale}), tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "DequantizeLinear that cannot be computed" in layer.reason


# Operators that compute with integers.


def codes(*shape: int, dtype: type = np.int8) -> np.ndarray:
    low = np.iinfo(dtype).min
    return rng(sum(shape)).integers(low + 1, low + 255, shape).astype(dtype)


@pytest.mark.parametrize(
    ("scale", "zero"), [(ONE, np.array(3, np.int8)), (SCALES, np.zeros(4, np.int8))], ids=["one", "channels"]
)
def test_qlinear_conv(scale: np.ndarray, zero: np.ndarray, tmp_path: Path) -> None:
    weights = {
        "xs": np.array(0.05, np.float32), "xz": np.array(120, np.uint8), "w": codes(4, 2, 3, 3),
        "ws": scale, "wz": zero,
        "ys": np.array(0.5, np.float32), "yz": np.array(128, np.uint8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node(
            "QLinearConv", ["xq", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["yq"],
            strides=[2, 1], pads=[1, 0, 1, 2], group=2,
        ),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, X, weights)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, Layer)
    assert layer.assumed == (INT8,)
    assert (layer.name, layer.op, layer.input_size) == ("w", "QLinearConv", (8, 8))
    assert (layer.geometry.stride, layer.geometry.groups, layer.geometry.padding) == ((2, 1), 2, (1, 0, 1, 2))
    image = (codes(1, 4, 8, 8, dtype=np.uint8) - np.float32(120)) * weights["xs"] / 20
    seen = np.clip(np.rint(image / weights["xs"]), -120, 135) * weights["xs"]
    padded = torch.nn.functional.pad(torch.tensor(seen), (0, 2, 1, 1)).double()
    expected = torch.nn.functional.conv2d(padded, layer.read(), stride=(2, 1), groups=2).numpy()
    np.testing.assert_allclose(run(model, x=image), np.clip(expected, -64, 63.5), atol=0.26)


@pytest.mark.parametrize("scale", [ONE, SCALES])
def test_qlinear_matmul(scale: np.ndarray, tmp_path: Path) -> None:
    zero = np.array(3, np.int8) if scale.ndim == 0 else np.array([3, 0, -2, 1], np.int8)
    weights = {
        "s": np.array(0.05, np.float32),
        "z": np.array(9, np.int8),
        "w": codes(5, 4),
        "ws": scale,
        "wz": zero,
    }
    weights |= {"ys": np.array(2, np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("QLinearMatMul", ["xq", "s", "z", "w", "ws", "wz", "ys", "z"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "z"], ["y"]),
    ]
    model = model_of(nodes, {"x": [3, 5]}, weights)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, Layer)
    assert (layer.kernel_shape, layer.assumed) == ((4, 5), (INT8,))
    np.testing.assert_array_equal(layer.read(), ((weights["w"].astype(float) - zero) * scale).T)
    x = np.rint(normal(3, 5) * 20) * np.float32(0.05)
    np.testing.assert_allclose(run(model, x=x), x @ layer.read().numpy().T, atol=1.01)


def integer_product(
    operator: str, weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, **attributes: Any
):
    """As onnxruntime's dynamic quantisation writes it."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node(operator, ["xq", "w", "xz", "wz"], ["integers"], **attributes),
        helper.make_node("Cast", ["integers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "ws"], ["scales"]),
        helper.make_node("Mul", ["floats", "scales"], ["y"]),
    ]
    return nodes, {"w": weight, "ws": scale, "wz": zero}


def test_conv_integer_with_its_scale_downstream(tmp_path: Path) -> None:
    nodes, weights = integer_product(
        "ConvInteger", codes(4, 4, 3, 3), SCALES.reshape(1, 4, 1, 1), np.array(3, np.int8), strides=[2, 2]
    )
    model = model_of(nodes, X, weights)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, Layer)
    assert (layer.assumed, layer.geometry.stride, layer.input_size) == ((INT8,), (2, 2), (8, 8))
    expected = (weights["w"].astype(float) - 3) * SCALES.reshape(4, 1, 1, 1)
    np.testing.assert_array_equal(layer.read(), expected)
    weights["w"] = weights["w"].astype(np.uint8)  # onnxruntime has no int8 weights here
    weights["wz"] = np.array(3, np.uint8)
    model = model_of(nodes, X, weights)
    (layer,) = layers_of(model, tmp_path)
    image = np.rint(normal(1, 4, 8, 8) * 10)
    image.flat[:2] = -100, 155  # so that the scale is 1
    convolved = torch.nn.functional.conv2d(torch.tensor(image).double(), layer.read(), stride=2)
    np.testing.assert_allclose(run(model, x=image), convolved.numpy(), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("scale", [ONE, SCALES])
def test_matmul_integer_with_its_scale_downstream(scale: np.ndarray, tmp_path: Path) -> None:
    zero = np.array(3, np.int8) if scale.ndim == 0 else np.array([3, 0, -2, 1], np.int8)
    nodes, weights = integer_product("MatMulInteger", codes(5, 4), scale, zero)
    model = model_of(nodes, {"x": [2, 3, 5]}, weights)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, Layer)
    assert layer.assumed == (INT8,)
    x = np.rint(normal(2, 3, 5) * 10)
    x.flat[:2] = -100, 155
    np.testing.assert_allclose(run(model, x=x), x @ layer.read().numpy().T, rtol=1e-5, atol=1e-2)


def statically_scaled(
    scale: np.ndarray, *, quantise: bool, operator: str = "MatMulInteger"
) -> onnx.ModelProto:
    nodes = [
        helper.make_node(operator, ["xq", "w"], ["integers"]),
        helper.make_node("Cast", ["integers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ws", "floats"], ["y"]),
    ]
    if quantise:
        nodes.insert(0, helper.make_node("QuantizeLinear", ["x", "xs"], ["xq"]))
    weight = codes(4, 4, dtype=np.uint8) if operator == "MatMulInteger" else codes(4, 4, 3, 3, dtype=np.uint8)
    weights = {"w": weight, "ws": scale, "xs": np.array(0.25, np.float32)}
    shape = [1, 4] if operator == "MatMulInteger" else [1, 4, 8, 8]
    return model_of(nodes, {"x" if quantise else "xq": shape}, weights)


def test_a_constant_scale_of_the_result_is_divided_by_that_of_the_input(tmp_path: Path) -> None:
    (layer,) = layers_of(statically_scaled(SCALES, quantise=True), tmp_path)
    kernel = codes(4, 4, dtype=np.uint8).astype(float) * SCALES * 4
    np.testing.assert_allclose(layer.read(), kernel.T, rtol=1e-15)
    (layer,) = layers_of(statically_scaled(SCALES, quantise=False), tmp_path)
    np.testing.assert_allclose(layer.read(), kernel.T / 4, rtol=1e-15)
    assert "integers it is given" in layer.assumed[1]


@pytest.mark.parametrize(
    ("scale", "operator"),
    [(SCALES, "ConvInteger"), (SCALES.reshape(4, 1), "ConvInteger"), (SCALES.reshape(4, 1), "MatMulInteger")],
)
def test_a_factor_along_another_axis_is_no_scale(scale: np.ndarray, operator: str, tmp_path: Path) -> None:
    """It broadcasts along the result's width or rows, which no kernel can express."""
    (layer,) = layers_of(statically_scaled(scale, quantise=True, operator=operator), tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "does not fit" in layer.reason


def test_integers_whose_scale_is_not_found_are_listed(tmp_path: Path) -> None:
    nodes, weights = integer_product("MatMulInteger", codes(5, 4), ONE, np.array(3, np.int8))
    cases = {
        "two users": [*nodes, helper.make_node("Relu", ["floats"], ["z"])],
        "no cast": [nodes[0], nodes[1], helper.make_node("Neg", ["integers"], ["y"])],
        "varying": [*nodes[:3], helper.make_node("Mul", ["floats", "xs"], ["y"])],
        "other input": [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["xq2", "xs", "xz2"]),
            helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs2", "xz"]),
            *nodes[1:],
        ],
    }
    for name, case in cases.items():
        (layer,) = layers_of(model_of(case, {"x": [3, 5]}, weights), tmp_path)
        assert isinstance(layer, UnsupportedLayer), name
        assert "whose scale is not found" in layer.reason
    (layer,) = layers_of(
        model_of(nodes, {"x": [3, 5], "wz": []}, {k: weights[k] for k in ("w", "ws")}), tmp_path
    )
    assert "computed from the network's input" in layer.reason


def float_net(folder: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["a"], pads=[1] * 4, name="conv"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "fc.weight"], ["y"], name="fc"),
    ]
    weights = {"conv.weight": normal(8, 4, 3, 3), "fc.weight": normal(8, 5)}
    return saved(graph_model(nodes, X, weights), folder, "float.onnx")


class Images:
    def __init__(self) -> None:
        self.left = 3

    def get_next(self) -> dict[str, np.ndarray] | None:
        self.left -= 1
        return {"x": normal(1, 4, 8, 8)} if self.left else None


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator, "dynamic"], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnxruntimes_quantisation_writes(form: Any, per_channel: bool, tmp_path: Path) -> None:
    source, path = float_net(tmp_path), tmp_path / "quantised.onnx"
    if form == "dynamic":
        quantize_dynamic(source, path, per_channel=per_channel, weight_type=QuantType.QUInt8)
    else:
        quantize_static(source, path, Images(), quant_format=form, per_channel=per_channel)
    rows = load(path).layers
    assert len(rows) == 2
    for row, real in zip(rows, load(source).layers, strict=True):
        assert isinstance(row, Layer)
        assert row.kernel_shape == real.kernel_shape
        assert row.geometry == real.geometry
        assert any("dequantised" in line for line in row.assumed)
        error = (row.read() - real.read()).abs().max()
        assert 0 < error < 0.03 * real.read().abs().max()


# MatMulNBits.


def n_bits(
    bits: int, columns: int, block: int, zeros: str, dtype: type = np.float32
) -> tuple[NodeProto, dict[str, np.ndarray]]:
    rows, blocks = 6, math.ceil(columns / block)
    random = rng(bits + columns)
    weights = {
        "fc.weight_Q": random.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8),
        "scales": random.uniform(0.01, 1, rows * blocks).astype(dtype),
    }
    names = ["x", "fc.weight_Q", "scales"]
    if zeros != "none":
        names.append("zeros")
        packed = random.integers(0, 256, rows * math.ceil(blocks * bits / 8)).astype(np.uint8)
        weights["zeros"] = packed if zeros == "packed" else random.uniform(0, 9, (rows, blocks)).astype(dtype)
    attributes = {"K": columns, "N": rows, "bits": bits, "block_size": block}
    return helper.make_node("MatMulNBits", names, ["y"], domain="com.microsoft", **attributes), weights


@pytest.mark.parametrize(("columns", "block"), [(64, 16), (80, 32), (33, 16)])
@pytest.mark.parametrize(
    ("bits", "zeros"),  # onnxruntime has no floats as zero points of 8 bits
    [(bits, zeros) for bits in (2, 4, 8) for zeros in ("none", "packed", "floats")][:-1],
)
def test_n_bits_are_dequantised_as_onnxruntime_does(
    bits: int, columns: int, block: int, zeros: str, tmp_path: Path
) -> None:
    node, weights = n_bits(bits, columns, block, zeros)
    model = model_of([node], {"x": [columns, columns]}, weights)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, Layer)
    assert (layer.kernel_shape, layer.op) == ((6, columns), "MatMulNBits")
    assert layer.assumed == (f"dequantised weights: {bits}-bit values with their scale",)
    seen = run(model, x=np.eye(columns, dtype=np.float32))
    np.testing.assert_allclose(layer.read().numpy().T, seen, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"K": 65}, "does not fit"),
        ({"bits": 3}, "sizes"),
        ({"K": 0}, "sizes"),
        ({"block_size": -16}, "sizes"),
        ({"N": 2**40}, "sizes"),
    ],
)
def test_n_bits_of_odd_sizes_are_listed(change: dict[str, int], reason: str, tmp_path: Path) -> None:
    node, weights = n_bits(4, 64, 16, "packed")
    for attribute in node.attribute:
        attribute.i = change.get(attribute.name, attribute.i)
    (layer,) = layers_of(model_of([node], {"x": [1, 64]}, weights), tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert reason in layer.reason


def test_blocks_in_an_order_of_their_own_are_listed(tmp_path: Path) -> None:
    node, weights = n_bits(4, 64, 16, "packed")
    node.input.append("order")
    model = model_of([node], {"x": [1, 64]}, weights | {"order": np.arange(64, dtype=np.int32) // 16})
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "g_idx" in layer.reason


@pytest.mark.parametrize("operator", ["QOrderedMatMul", "MatMulInteger16", "QMoE"])
def test_other_operators_of_onnxruntime_are_listed(operator: str, tmp_path: Path) -> None:
    node = helper.make_node(operator, ["x", "w", "s"], ["y"], domain="com.microsoft")
    (layer,) = layers_of(model_of([node], {"x": [1, 5]}, {"w": codes(5, 4), "s": ONE}), tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "'com.microsoft'" in layer.reason


@pytest.mark.parametrize(
    "dtype",
    [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float4_e2m1fn],
)
def test_narrow_floats_are_read_exactly(dtype: type, tmp_path: Path) -> None:
    weight = normal(4, 4, 3, 3).astype(dtype)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    (layer,) = layers_of(model_of([node], X, {"w": weight}, opset=23), tmp_path)
    np.testing.assert_array_equal(layer.read().numpy(), weight.astype(np.float32))


# Sparse initializers.

DENSE = np.where(rng(7).uniform(size=(4, 4, 3, 3)) < 0.2, normal(4, 4, 3, 3), 0).astype(np.float32)


def sparse(dense: np.ndarray, *, flat: bool, name: str = "w") -> onnx.SparseTensorProto:
    where = np.flatnonzero(dense) if flat else np.argwhere(dense)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(dense[dense != 0], name),
        numpy_helper.from_array(where.astype(np.int64), "indices"),
        dense.shape,
    )


def sparse_model(tensor: onnx.SparseTensorProto, *, as_node: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w"], ["z"]), helper.make_node("Conv", ["z", "v"], ["y"])]
    if as_node:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=tensor))
    model = model_of(nodes, X, {"v": normal(2, 4, 1, 1)})
    if not as_node:
        model.graph.sparse_initializer.append(tensor)
    return model


@pytest.mark.parametrize("as_node", [False, True])
@pytest.mark.parametrize("flat", [True, False])
def test_sparse_weights(flat: bool, as_node: bool, tmp_path: Path) -> None:
    model = sparse_model(sparse(DENSE, flat=flat), as_node=as_node)
    first, second = layers_of(model, tmp_path)
    assert isinstance(first, Layer)
    np.testing.assert_array_equal(first.read().numpy(), DENSE)
    assert (first.dtype, first.input_size, second.input_size) == ("float32", (8, 8), (6, 6))
    result = audit(tmp_path / "model.onnx")
    assert [row.status for row in result.layers] == ["audited"] * 2
    assert math.isfinite(result.bound.lipschitz)


def test_a_sparse_weight_in_an_expression(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0, 2, 3]),
        helper.make_node("Conv", ["x", "t"], ["y"]),
    ]
    model = model_of(nodes, X, {})
    model.graph.sparse_initializer.append(sparse(DENSE, flat=True))
    (layer,) = layers_of(model, tmp_path)
    np.testing.assert_array_equal(layer.read().numpy(), DENSE.swapaxes(0, 1))


def test_a_sparse_tensor_that_explodes_is_listed(tmp_path: Path) -> None:
    tensor = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "w"),
        numpy_helper.from_array(np.zeros(1, np.int64), "indices"),
        [10**5, 10**5],
    )
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 10**5]}, {})
    model.graph.sparse_initializer.append(tensor)
    (layer,) = layers_of(model, tmp_path)
    assert isinstance(layer, UnsupportedLayer)
    assert "much larger than what is stored" in layer.reason


@pytest.mark.parametrize(
    "indices",
    [[3, 2], [2, 2], [-1, 2], [0, 144], [0], [[0, 0, 0, 0], [0, 0, 0, 9]], [[0, 1], [0, 2]]],
    ids=str,
)
def test_sparse_indices_that_do_not_fit(indices: list[Any], tmp_path: Path) -> None:
    tensor = onnx.SparseTensorProto(dims=DENSE.shape)
    tensor.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), "indices"))
    with pytest.raises(UnreadableModelError, match="do not fit"):
        layers_of(sparse_model(tensor), tmp_path)

"""Operators of onnxruntime on codes: read as what they do to numbers, and bounded as quantised networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx.helper import make_node as node

from convsv_cli.loaders.onnx import contributed
from convsv_cli.model.layer import Layer
from tests.support.contributed_nodes import MICROSOFT, evaluator
from tests.support.onnx_models import graph_model
from tests.support.sensitivity import network
from tests.support.whole_bounds import bounded

RANDOM = np.random.default_rng(0)
STEP, RESULT = 0.02, 0.05


def codes(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 255, shape).astype(np.uint8)


def scale(*values: float) -> np.ndarray:
    return np.array(values, np.float32) if len(values) > 1 else np.array(values[0], np.float32)


WEIGHTS = {
    "s": scale(STEP), "z": np.array(120, np.uint8), "t": scale(RESULT), "u": np.array(100, np.uint8),
    "w": codes(6, 5), "v": codes(5, 6), "ws": scale(0.01), "wz": np.array(128, np.uint8),
    "cs": scale(0.01, 0.02, 0.005, 0.01, 0.03), "cz": np.full(5, 127, np.uint8),
    "b": RANDOM.integers(-500, 500, 5).astype(np.int32), "r": RANDOM.standard_normal(5).astype(np.float32),
    "a": codes(6, 12), "as": scale(0.004), "ab": RANDOM.standard_normal(12).astype(np.float32),
    "k4": codes(5, 4, 3, 2), "one": np.array([STEP], np.float32),
}  # fmt: skip
X, ENDS = ("q", "s", "z"), ("t", "u")
Step = tuple[str, tuple[str, ...], dict[str, object]]
ON_CODES: dict[str, Step] = {
    "QLinearAdd": ("QLinearAdd", (*X, *X, *ENDS), {}),
    "QLinearMul": ("QLinearMul", (*X, *X, *ENDS), {}),
    "QLinearMul by a constant": ("QLinearMul", (*X, "c", "ws", "wz", *ENDS), {}),
    "QLinearConcat": ("QLinearConcat", (*ENDS, *X, *X), {"axis": 1}),
    "QLinearSigmoid": ("QLinearSigmoid", (*X, *ENDS), {}),
    "QLinearLeakyRelu": ("QLinearLeakyRelu", (*X, *ENDS), {"alpha": 0.3}),
    "QLinearSoftmax": ("QLinearSoftmax", (*X, *ENDS), {"axis": -1, "opset": 13}),
    "QLinearReduceMean": ("QLinearReduceMean", (*X, *ENDS), {"axes": [1], "keepdims": 1}),
    "QGemm": ("QGemm", (*X, "w", "ws", "wz", "b", *ENDS), {}),
    "QGemm by columns": ("QGemm", (*X, "v", "cs", "cz", "", *ENDS), {"transB": 1, "alpha": 0.5}),
}
TO_NUMBERS: dict[str, Step] = {
    "QGemm without a result's scale": ("QGemm", (*X, "w", "ws", "wz", "b"), {}),
    "MatMulIntegerToFloat": ("MatMulIntegerToFloat", ("q", "w", "s", "ws", "z", "wz", "r"), {}),
    "MatMulIntegerToFloat, columns": ("MatMulIntegerToFloat", ("q", "w", "one", "cs", "z", "cz"), {}),
    "QAttention": ("QAttention", ("q", "a", "ab", "s", "as", "", "z", "wz"), {"num_heads": 2}),
}
FROM_NUMBERS: dict[str, Step] = {
    "DynamicQuantizeMatMul": ("DynamicQuantizeMatMul", ("x", "w", "ws", "wz", "r"), {}),
    "DynamicQuantizeMatMul, columns": ("DynamicQuantizeMatMul", ("x", "w", "cs", "cz"), {}),
}
IMAGES: dict[str, Step] = {
    "QLinearAveragePool": ("QLinearAveragePool", (*X, *ENDS), {"kernel_shape": [2, 2]}),
    "QLinearAveragePool, last": (
        "QLinearAveragePool",
        (*X, *ENDS),
        {"kernel_shape": [2, 2], "channels_last": 1},
    ),
    "QLinearConv, last": ("QLinearConv", (*X, "k4", "ws", "wz", *ENDS), {"channels_last": 1}),
    "QLinearConv": ("QLinearConv", (*X, "k4", "ws", "wz", *ENDS), {"pads": [1, 0, 0, 1]}),
    "QLinearGlobalAveragePool": ("QLinearGlobalAveragePool", (*X, *ENDS), {}),
}
STEPS = {**ON_CODES, **TO_NUMBERS, **FROM_NUMBERS, **IMAGES}


def shape_of(name: str) -> tuple[int, ...]:
    if name in IMAGES:
        return (1, 5, 3, 4) if "last" in name else (1, 4, 5, 3)
    return (1, 3, 6) if name == "QAttention" else (3, 6)


def model(name: str) -> ModelProto:
    """Numbers to codes, the operator, and its codes to numbers."""
    op, inputs, attributes = STEPS[name]
    nodes: list[NodeProto] = [node("QuantizeLinear", ["x", "s", "z"], ["q"])] if "q" in inputs else []
    numbers = name in {**TO_NUMBERS, **FROM_NUMBERS}
    nodes.append(node(op, inputs, ["y" if numbers else "k"], "odd", domain=MICROSOFT, **attributes))
    if not numbers:
        nodes.append(node("DequantizeLinear", ["k", "t", "u"], ["y"]))
    used = {each for one in nodes for each in one.input}
    weights = {each: array for each, array in {**WEIGHTS, "c": codes(3, 6)}.items() if each in used}
    found = graph_model(nodes, {"x": shape_of(name)}, weights, opset=21)
    found.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return found


def _rounded(x: np.ndarray, step: float, zero: int) -> np.ndarray:
    return (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step


def _mean(x: np.ndarray) -> np.ndarray:
    return _rounded(_rounded(x, STEP, 120).mean(1, keepdims=True), RESULT, 100)


def function(original: ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """By onnxruntime, which has no kernel of one of them for processors."""
    if any(each.op_type == "QLinearReduceMean" for each in original.graph.node):
        return _mean
    run = evaluator(original)
    return lambda x: run({"x": x.astype(np.float32)})[0].astype(np.float64)


@pytest.mark.parametrize("name", STEPS)
def test_codes_are_read_as_numbers(name: str) -> None:
    """No result is further off than a step; most are the same."""
    original = model(name)
    first = function(original)
    contributed.read(original)
    assert not [each.op_type for each in original.graph.node if each.domain]
    second, random = function(original), np.random.default_rng(1)
    step = 1e-4 if name in {**TO_NUMBERS, **FROM_NUMBERS} else RESULT * 1.01
    for _ in range(4):
        x = random.standard_normal(shape_of(name))
        error = np.abs(first(x) - second(x))
        assert error.max() <= step
        assert (error < 1e-4).mean() > 0.9


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", STEPS)
def test_what_is_proven_of_them_holds(name: str) -> None:
    original = model(name)
    run, random, sizes = function(original), np.random.default_rng(2), shape_of(name)
    found = bounded(original, (-3.0, 3.0)).quantised
    assert found is not None
    assert np.isfinite([found.lipschitz, found.added]).all(), found.reason
    for distance in (0.01, 0.1, 1.0):
        for _ in range(20):
            x = random.uniform(-2, 2, sizes).astype(np.float32)
            y = (x + distance * random.uniform(-1, 1, sizes)).astype(np.float32)
            apart = np.linalg.norm(x.astype(np.float64) - y)
            assert np.linalg.norm(run(x) - run(y)) <= found.lipschitz * apart + found.added * (1 + 1e-6)


@pytest.mark.parametrize("name", ["QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
def test_matrices_of_codes_are_rows(name: str) -> None:
    (row,) = network(model(name)).layers
    real = (WEIGHTS["w"].astype(np.float64) - 128) * 0.01
    assert isinstance(row, Layer)
    assert any("dequantised" in line for line in row.assumed)
    assert np.linalg.norm(row.read().double().numpy(), 2) == pytest.approx(np.linalg.norm(real, 2), rel=1e-6)

"""Quantised networks: the bound with a term for their steps, against pairs of inputs in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from convsv_cli import audit
from convsv_cli.report import UNBOUNDED
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, rng, saved

SCALES = {"x": 0.05, "h": 0.1, "y": 0.2}


def rounded(name: str, source: str) -> list[NodeProto]:
    """A quantiser of a tensor and its dequantiser."""
    grid = [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [source, *grid], [f"{name}_codes"]),
        helper.make_node("DequantizeLinear", [f"{name}_codes", *grid], [f"{name}_values"]),
    ]


def weights(kind: type[np.integer], zero: int, **scales: float) -> dict[str, np.ndarray]:
    grids = {f"{name}_scale": np.float32(scale) for name, scale in scales.items()}
    return grids | {f"{name}_zero": kind(zero) for name in scales}


def network(kind: type[np.integer], zero: int) -> onnx.ModelProto:
    """A quantised convolution with stored integers as its weights, a ReLU, a skip and a matrix."""
    codes = np.clip(np.round(normal(2, 2, 3, 3) * 40), -128, 127).astype(np.int8)
    nodes = [
        *rounded("x", "x"),
        helper.make_node("DequantizeLinear", ["codes", "w_scale"], ["w"]),
        helper.make_node("Conv", ["x_values", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        *rounded("h", "r"),
        helper.make_node("Add", ["h_values", "x_values"], ["s"]),
        helper.make_node("MatMul", ["s", "m"], ["z"]),
        *rounded("y", "z"),
        helper.make_node("Identity", ["y_values"], ["y"]),
    ]
    stored = {"codes": codes, "w_scale": np.float32(0.01), "m": normal(5, 4) / 3}
    return graph_model(nodes, {"x": [1, 2, 5, 5]}, stored | weights(kind, zero, **SCALES), opset=21)


def terms(model: onnx.ModelProto, folder: Path, **more: object) -> tuple[float, float, int]:
    """The factor of |x - y|, what is added to it, and of how many quantisers."""
    bound = audit(saved(model, folder), **more).bound
    assert bound.status == UNBOUNDED
    found = bound.quantised
    assert found is not None
    assert not found.reason
    return found.lipschitz, found.added, found.quantisers


@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 3), (np.uint8, 128), (np.uint16, 30000)])
def test_no_pair_of_inputs_is_beyond_both_terms(kind: type[np.integer], zero: int, tmp_path: Path) -> None:
    model = network(kind, zero)
    factor, added, count = terms(model, tmp_path)
    assert count == 3
    session, draws = runtime.session(model, rewritten=False), rng()
    largest = 0.0
    for size in (1e-3, 0.05, 1.0, 10.0) * 50:
        one = draws.standard_normal((1, 2, 5, 5)).astype(np.float32)
        other = one + np.float32(size) * draws.standard_normal(one.shape).astype(np.float32)
        first, second = (session.run(None, {"x": each})[0].astype(np.float64) for each in (one, other))
        apart, moved = np.linalg.norm(one.astype(np.float64) - other), np.linalg.norm(first - second)
        assert moved <= factor * apart + added
        largest = max(largest, moved / apart)
    assert largest > factor, "without the second term it is no bound"


def test_a_quantiser_alone_jumps_by_its_step_in_each_entry(tmp_path: Path) -> None:
    nodes = [*rounded("x", "x"), helper.make_node("Neg", ["x_values"], ["y"])]
    model = graph_model(nodes, {"x": [1, 9]}, weights(np.int8, 0, x=0.25), opset=21)
    factor, added, _ = terms(model, tmp_path)
    assert 1 <= factor <= 1 + 1e-5
    below, above = (np.full((1, 9), value, np.float32) for value in (0.1249, 0.1251))
    session = runtime.session(model)
    jump = np.linalg.norm(session.run(None, {"x": below})[0] - session.run(None, {"x": above})[0])
    assert jump <= added <= jump * (1 + 1e-5)


def test_what_is_behind_a_quantiser_multiplies_its_step(tmp_path: Path) -> None:
    matrix = normal(9, 4)
    nodes = [*rounded("x", "x"), helper.make_node("MatMul", ["x_values", "m"], ["y"])]
    model = graph_model(nodes, {"x": [1, 9]}, weights(np.int8, 0, x=0.25) | {"m": matrix}, opset=21)
    factor, added, _ = terms(model, tmp_path)
    norm = np.linalg.norm(matrix.astype(np.float64), 2)
    assert norm <= factor <= norm * (1 + 1e-3)
    assert norm * 0.75 <= added <= norm * 0.75 * (1 + 1e-3)


def test_other_uses_of_the_codes_scale_what_they_stand_for(tmp_path: Path) -> None:
    """A cast to real numbers has a step of 1, and another scale another one; a jump tells what is added."""
    grid = weights(np.int8, 7, x=0.25) | {"other": np.float32(0.5), "shift": np.int8(-3)}
    cast = helper.make_node("Cast", ["x_codes"], ["y"], to=TensorProto.FLOAT)
    other = helper.make_node("DequantizeLinear", ["x_codes", "other", "shift"], ["y"])
    start = rounded("x", "x")[:1]
    for last, step in ((cast, 1.0), (other, 0.5)):
        model = graph_model([*start, last], {"x": [1, 9]}, grid, opset=21)
        factor, added, _ = terms(model, tmp_path)
        assert step * 4 <= factor <= step * 4 * (1 + 1e-9)
        below, above = (np.full((1, 9), value, np.float32) for value in (0.1249, 0.1251))
        session = runtime.session(model, rewritten=False)
        jump = np.linalg.norm(session.run(None, {"x": below})[0] - session.run(None, {"x": above})[0])
        assert jump == 3 * step
        assert jump <= added <= jump * (1 + 1e-9)


def test_what_is_not_known_of_codes_leaves_no_such_bound(tmp_path: Path) -> None:
    """Their squares are no multiples, and a cast to other whole numbers is no map to real ones."""
    square = helper.make_node("Mul", ["i", "i"], ["j"])
    cast = [
        helper.make_node("Cast", ["x_codes"], ["i"], to=TensorProto.INT32),
        square,
        helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    ]
    start = rounded("x", "x")[:1]
    path = saved(graph_model([*start, *cast], {"x": [1, 9]}, weights(np.int8, 0, x=0.25), opset=21), tmp_path)
    bound = audit(path).bound
    assert bound.status == UNBOUNDED
    assert bound.quantised is None


def test_products_behind_quantisers_have_a_bound_where_ranges_are_known(tmp_path: Path) -> None:
    """Values are within those of the codes, with no range of the input."""
    nodes = [*rounded("x", "x"), helper.make_node("Mul", ["x_values", "x_values"], ["y"])]
    model = graph_model(nodes, {"x": [1, 9]}, weights(np.int8, 0, x=0.25), opset=21)
    factor, added, _ = terms(model, tmp_path)
    assert 2 * 32 <= factor < 2 * 33
    assert 0.75 * 2 * 31.75 <= added < 0.75 * 2 * 33


def test_codes_that_a_branch_reads_leave_no_such_bound(tmp_path: Path) -> None:
    value = helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["inner"])
    result = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    body = helper.make_graph([value], "body", [], [result])
    nodes = [
        rounded("x", "x")[0],
        helper.make_node("If", ["which"], ["y"], then_branch=body, else_branch=body),
    ]
    model = graph_model(nodes, {"x": [1, 9]}, weights(np.int8, 0, x=0.25), opset=21)
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    bound = audit(saved(model, tmp_path)).bound
    assert bound.status == UNBOUNDED
    assert bound.quantised is None

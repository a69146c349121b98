"""Networks on whole numbers that a Cast makes real: bounded like the same network on real numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from convsv_cli import audit
from convsv_cli.report import BOUNDED, UNBOUNDED, UNKNOWN, NetworkBound
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, rng, saved

WEIGHTS = {
    "order": np.array([1, 4 * 4 * 3]),
    "ends": np.array([3]),
    "starts": np.array([0]),
    "w": normal(48, 5) / 255,
    "square": normal(5, 5),
    "one": np.array([1]),
    "scale": np.float32([1 / 255]),
}


def image(kind: str, *nodes: NodeProto, shape: tuple[int, ...] = (1, 4, 4, 3)) -> onnx.ModelProto:
    """A network of an image [1, 4, 4, 3] of whole numbers, with its nodes up to `y`."""
    model = graph_model(list(nodes), {"x": shape}, WEIGHTS, opset=17)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(kind.upper())
    return model


CAST = helper.make_node("Cast", ["x"], ["r"], to=TensorProto.FLOAT)
LINEAR = (
    helper.make_node("Reshape", ["r", "order"], ["v"]),
    helper.make_node("MatMul", ["v", "w"], ["h"]),
)
TANH = helper.make_node("Tanh", ["h"], ["y"])


def bound_of(model: onnx.ModelProto, folder: Path, **more: object) -> NetworkBound:
    return audit(saved(model, folder), **more).bound


def test_the_bound_is_that_of_the_real_network_and_holds_on_images(tmp_path: Path) -> None:
    model = image("uint8", CAST, *LINEAR, TANH)
    whole = bound_of(model, tmp_path)
    assert whole.status == BOUNDED
    assert whole.lipschitz == bound_of(image("float", CAST, *LINEAR, TANH), tmp_path).lipschitz
    assert any("whole numbers of the input 'x' (uint8)" in line for line in whole.assumptions)
    session, draws = runtime.session(model), rng()
    for _ in range(200):
        one, other = (draws.integers(0, 256, (1, 4, 4, 3)).astype(np.uint8) for _ in range(2))
        first, second = (session.run(None, {"x": each})[0].astype(np.float64) for each in (one, other))
        apart = np.linalg.norm(one.astype(np.float64) - other)
        assert np.linalg.norm(first - second) <= whole.lipschitz * apart * (1 + 1e-6)


def test_movement_and_wider_types_may_come_before_the_cast(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["i"], to=TensorProto.INT32),
        helper.make_node("Slice", ["i", "starts", "ends", "one"], ["s"]),
        helper.make_node("Cast", ["s"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["r", "scale"], ["y"]),
    )
    found = bound_of(image("uint8", *nodes), tmp_path)
    assert 1 / 255 <= found.lipschitz <= (1 + 1e-6) / 255


def test_pixels_are_in_the_range_of_their_type(tmp_path: Path) -> None:
    """A square has no bound on all numbers; on those of 8 bits it varies by 2 * 255 at most."""
    square = (CAST, helper.make_node("Mul", ["r", "r"], ["y"]))
    assert 510 <= bound_of(image("uint8", *square), tmp_path).lipschitz <= 510 * (1 + 1e-6)
    assert 510 <= bound_of(image("int64", *square), tmp_path, input_range=(0, 255)).lipschitz < 511
    assert 20 <= bound_of(image("uint8", *square), tmp_path, input_range=(0, 10)).lipschitz < 21
    assert bound_of(image("int64", *square), tmp_path).status == UNBOUNDED


@pytest.mark.parametrize(
    "nodes",
    [
        (CAST, helper.make_node("Gather", ["square", "x"], ["g"]), helper.make_node("Neg", ["r"], ["y"])),
        (helper.make_node("Gather", ["square", "x"], ["y"]),),
        (
            helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BOOL),
            helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
        ),
        (
            helper.make_node("Div", ["x", "x"], ["i"]),
            helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
        ),
        (
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT8),
            helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
        ),
    ],
    ids=["also an index", "an index", "a comparison", "arithmetic", "narrower"],
)
def test_other_uses_are_no_perturbation(nodes: tuple[NodeProto, ...], tmp_path: Path) -> None:
    found = bound_of(image("int64", *nodes, shape=(3,)), tmp_path)
    assert found.status == UNKNOWN
    assert "no input is of real numbers" in found.reason


def test_beside_a_real_input_whole_numbers_are_held(tmp_path: Path) -> None:
    model = image("int64", CAST, helper.make_node("Add", ["r", "z"], ["y"]))
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4, 4, 3]))
    assert bound_of(model, tmp_path).lipschitz == 1

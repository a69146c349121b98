"""Whole models of old operator sets: the right norms and bounds; or the reason, by operator and opset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, helper
from onnx.helper import make_node as node
from torch import nn

from convsv_cli.errors import UnreadableModelError
from convsv_cli.model.layer import UnsupportedLayer
from convsv_cli.report import BOUNDED, UNBOUNDED
from tests.support.exported_nets import jacobian_norm
from tests.support.onnx_models import graph_model
from tests.support.sensitivity import network, norms_of_rows
from tests.support.whole_bounds import bounded

MATRIX = np.array([[10.0, 20.0], [30.0, 40.0]], np.float32)
FACTORS = np.array([1.0, 0.1], np.float32)
ROWS = float(np.linalg.norm(MATRIX.astype(np.float64) * FACTORS[:, None], 2))


def made(
    nodes: Sequence[NodeProto], weights: Mapping[str, np.ndarray], opset: int, shape: Sequence[int] = (1, 2)
) -> ModelProto:
    return graph_model(nodes, {"x": shape}, weights, opset=opset)


def printed_norm(model: ModelProto) -> float:
    """Of the only layer, as certified."""
    read = network(model)
    (layer,) = read.layers
    return norms_of_rows(read).of_row(layer.name)


SCALED = {
    "broadcast": ([node("Mul", ["w", "b"], ["v"], broadcast=1, axis=0)], 6),
    "unsqueeze": ([node("Unsqueeze", ["b"], ["c"], axes=[1]), node("Mul", ["w", "c"], ["v"])], 12),
    "ai.onnx": (
        [node("Unsqueeze", ["b"], ["c"], axes=[1], domain="ai.onnx"), node("Mul", ["w", "c"], ["v"])],
        11,
    ),
    "sum": (
        [
            node("Unsqueeze", ["b"], ["c"], axes=[1, 2]),
            node("ReduceSum", ["c"], ["d"], axes=[2], keepdims=0),
            node("Clip", ["d"], ["e"], min=-5.0, max=5.0),
            node("Mul", ["w", "e"], ["v"]),
        ],
        10,
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_weights_are_computed_by_the_rules_of_the_model(name: str) -> None:
    nodes, opset = SCALED[name]
    model = made([*nodes, node("MatMul", ["x", "v"], ["y"])], {"w": MATRIX, "b": FACTORS}, opset)
    model.opset_import.add(domain="ai.onnx", version=opset)
    assert printed_norm(model) == pytest.approx(ROWS, rel=1e-5)


@pytest.mark.parametrize(("own", "opset"), [(6, 13), (12, 13), (11, 17)])
def test_functions_follow_the_operator_set_that_they_import(own: int, opset: int) -> None:
    scaled = SCALED["broadcast" if own == 6 else "unsqueeze"][0]
    body = [*scaled, node("MatMul", ["x", "v"], ["y"])]
    function = helper.make_function(
        "local", "F", ["x", "w", "b"], ["y"], body, [helper.make_opsetid("", own)]
    )
    call = [node("F", ["x", "w", "b"], ["y"], domain="local")]
    weights = {"w": MATRIX, "b": FACTORS}
    model = graph_model(call, {"x": (1, 2)}, weights, opset=opset, functions=[function])
    assert printed_norm(model) == pytest.approx(ROWS, rel=1e-5)


def test_a_function_whose_operator_is_another_one_now_is_refused() -> None:
    """onnx's converter makes a Resize with other coordinates of it."""
    body = [node("Upsample", ["x", "s"], ["y"], mode="linear")]
    function = helper.make_function("local", "F", ["x", "s"], ["y"], body, [helper.make_opsetid("", 9)])
    call = [node("F", ["x", "s"], ["y"], domain="local")]
    weights = {"s": np.array([1, 1, 2, 2], np.float32)}
    model = graph_model(call, {"x": (1, 1, 3, 3)}, weights, opset=13, functions=[function])
    with pytest.raises(UnreadableModelError, match="'F' has a Upsample of opset 9"):
        network(model)


IMAGE = (1, 2, 3, 3)
UNREADABLE = {
    "later attribute": (
        node("Mul", ["w", "b"], ["v"], broadcast=1, axis=0),
        7,
        "which has no attribute 'axis'",
    ),
    "earlier attribute": (node("ReduceSum", ["w"], ["v"], axes=[0]), 13, "which has no attribute 'axes'"),
    "later input": (node("Unsqueeze", ["w", "n"], ["v"]), 12, "which has no input 1"),
    "misfit": (
        node("Mul", ["w", "b"], ["v"], broadcast=1, axis=2),
        6,
        "whose axis 2 does not fit its inputs",
    ),
    "type": (node("Cast", ["w"], ["v"], to="WORD"), 5, "to 'WORD', which is not a type"),
    "tiles": (node("Tile", ["w", "n", "n"], ["v"]), 1, "does not say whether it repeats entries"),
    "attribute of another kind": (node("Squeeze", ["w"], ["v"], axes="all"), 11, "has the wrong type"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_an_operator_set_does_not_define_is_unsupported_by_name(name: str) -> None:
    """As a constant, where the layer says it; and as a node of the network, where the bound does."""
    odd, opset, reason = UNREADABLE[name]
    weights = {"w": MATRIX, "b": FACTORS, "n": np.array([1], np.int64)}
    model = made([odd, node("MatMul", ["x", "v"], ["y"])], weights, opset)
    (layer,) = network(model).layers
    assert isinstance(layer, UnsupportedLayer)
    assert layer.reason.startswith(f"a constant {odd.op_type} of opset {opset}, ")
    assert reason in layer.reason
    moving = NodeProto()
    moving.CopyFrom(odd)
    moving.input[0], moving.output[0] = "x", "y"
    (obstacle,) = bounded(made([moving], weights, opset, (2, 2))).obstacles
    assert (obstacle.op, reason in obstacle.reason) == (odd.op_type, True)
    assert obstacle.reason.startswith(f"a {odd.op_type} of opset {opset}, ")


@pytest.mark.parametrize(
    ("odd", "opset", "reason"),
    [
        (node("Dropout", ["x"], ["y"]), 6, "is_test is not set"),
        (node("BatchNormalization", ["x", *"cccc"], ["y"]), 6, "training mode"),
        (node("Pad", ["x"], ["y"], paddings=[0, 0, 0, 1] * 2, mode="edge"), 1, "order of its paddings"),
        (node("LSTM", ["x", "w", "r"], ["y"], hidden_size=1), 6, "output_sequence"),
    ],
)
def test_nodes_that_have_no_bound_say_why(odd: NodeProto, opset: int, reason: str) -> None:
    weights = {"c": np.ones(2, np.float32), "w": np.ones((1, 4, 3), np.float32)}
    weights["r"] = np.ones((1, 4, 1), np.float32)
    found = bounded(made([odd], weights, opset, (1, 2, 3) if odd.op_type == "LSTM" else IMAGE))
    assert found.status == UNBOUNDED
    assert any(each.op == odd.op_type and reason in each.reason for each in found.obstacles)


def test_scales_of_channels_that_are_unsqueezed_have_a_bound() -> None:
    """As in DenseNet and Inception of the ONNX model zoo."""
    nodes = [node("Unsqueeze", ["b"], ["c"], axes=[1, 2]), node("Mul", ["x", "c"], ["y"])]
    assert bounded(made(nodes, {"b": FACTORS}, 9, IMAGE)).lipschitz == pytest.approx(1.0)


def test_softmax_of_maps_is_that_of_all_behind_its_axis_before_13() -> None:
    """Over all of an image at 12; over its channels at 13. Of one pixel, both are the same."""
    for shape, more in (((1, 8, 1, 1), 1.0), ((1, 8, 3, 3), 3.0)):
        logarithms = [
            bounded(made([node("LogSoftmax", ["x"], ["y"], axis=1)], {}, opset, shape)).lipschitz
            for opset in (11, 12, 13)
        ]
        assert logarithms == pytest.approx([np.sqrt(8) * more, np.sqrt(8) * more, np.sqrt(8)])


class Cell(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(4, 5, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


def exported(cell: Cell, opset: int, path: Path, **axes: object) -> ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            cell, (torch.zeros(3, 1, 4),), path, opset_version=opset, dynamo=False, input_names=["x"], **axes
        )
    return onnx.load(path)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_networks_have_the_same_bound_at_every_opset(
    kind: type[nn.RNNBase], bidirectional: bool, tmp_path: Path
) -> None:
    cell = Cell(kind, bidirectional=bidirectional).eval()
    found = [bounded(exported(cell, opset, tmp_path / "m.onnx")) for opset in (9, 11, 12, 13, 17)]
    assert all(bound.status == BOUNDED for bound in found)
    assert len({bound.lipschitz for bound in found}) == 1
    assert jacobian_norm(cell, torch.randn(3, 1, 4)) <= found[0].lipschitz < 100


@pytest.mark.parametrize("opset", [11, 12, 13])
def test_only_the_length_of_a_sequence_may_be_missing(opset: int, tmp_path: Path) -> None:
    axes = {"dynamic_axes": {"x": {1: "steps"}}}
    cell = Cell(nn.LSTM, batch_first=True).eval()
    found = bounded(exported(cell, opset, tmp_path / "m.onnx", **axes))
    assert [each.op for each in found.obstacles] == ["LSTM"]
    assert "length of its sequence" in found.obstacles[0].reason

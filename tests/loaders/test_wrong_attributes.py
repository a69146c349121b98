"""Attributes that an operator does not take: the node says so, and what is beside it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, helper

from convsv_cli import limits, load
from convsv_cli.loaders.onnx.costs import Growth
from convsv_cli.model.graph import UNREADABLE, Node, UnknownValueError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support.onnx_models import graph_model, normal, saved
from tests.support.small_files.graph_attributes import WRONG, each_of_its_own


def node_of(attributes: Mapping[str, Any], folder: Path, op: str = "LeakyRelu", domain: str = "") -> Node:
    """One node as the graph has it, behind nothing."""
    node = helper.make_node(op, ["x"], ["y"], domain=domain, **attributes)
    graph = load(saved(graph_model([node], {"x": [1, 3, 8, 8]}, {"w": normal(3, 3)}), folder)).graph
    (found,) = graph.main.nodes
    return found


def test_each_says_why_and_the_layer_beside_them_is_one(tmp_path: Path) -> None:
    network = load(saved(each_of_its_own(), tmp_path))
    layers = {layer.name: layer for layer in network.layers}
    assert isinstance(layers["conv"], Layer)
    reasons = [layer.reason for layer in network.layers if isinstance(layer, UnsupportedLayer)]
    assert reasons
    assert all("whose attribute" in reason for reason in reasons)
    nodes = [node for node in network.graph.main.nodes if node.op.startswith(UNREADABLE)]
    harmless = {"Constant", "Relu"}  # a Constant is no node of a graph; Relu has no attributes to be wrong
    assert len(nodes) >= sum(op not in harmless for op, _, _ in WRONG) - 1


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"alpha": "x"}, "it is a string, not a number"),
        ({"alpha": 1}, "it is an integer, not a number"),
        ({"alpha": [1.0]}, "it is a list of numbers, not a number"),
    ],
)
def test_the_types_are_named(attributes: Mapping[str, Any], reason: str, tmp_path: Path) -> None:
    node = node_of(attributes, tmp_path)
    assert node.op == f"{UNREADABLE}LeakyRelu"
    assert reason in node.attribute("reason", "")


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("Softmax", {"axis": 2**50}, "beyond all sizes"),
        ("Softmax", {"axis": -(2**63)}, "beyond all sizes"),
        ("Transpose", {"perm": [0] * 70_000}, "70,000 entries"),
        ("Gelu", {"approximate": "x" * 5000}, "longer than 4,096"),
    ],
)
def test_no_size_is_beyond_what_is_in_use(
    op: str, attributes: Mapping[str, Any], reason: str, tmp_path: Path
) -> None:
    assert reason in node_of(attributes, tmp_path, op).attribute("reason", "")


def test_what_no_version_of_an_operator_has_goes_nowhere(tmp_path: Path) -> None:
    node = node_of({"alpha": 0.5, "ops": 5, "reason": 1.0}, tmp_path)
    assert (node.op, dict(node.attributes)) == ("LeakyRelu", {"alpha": 0.5})
    foreign = node_of({"alpha": 0.5, "ops": 5}, tmp_path, "Gate", "custom")
    assert (foreign.op, dict(foreign.attributes)) == ("custom.Gate", {})


def test_two_attributes_of_one_name_are_none(tmp_path: Path) -> None:
    node = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    node.attribute.add(name="alpha", type=AttributeProto.FLOAT, f=2.0)
    graph = load(saved(graph_model([node], {"x": [4]}, {}), tmp_path)).graph
    assert "two attributes of one name" in graph.main.nodes[0].attribute("reason", "")


def test_the_ends_of_axes_may_be_the_largest_integers(tmp_path: Path) -> None:
    """As exporters write them."""
    node = helper.make_node("Slice", ["x"], ["y"], starts=[0], ends=[2**63 - 1], axes=[1])
    graph = load(saved(graph_model([node], {"x": [1, 4]}, {}, opset=9), tmp_path)).graph
    assert [node.op for node in graph.main.nodes] == ["Slice"]


def test_sizes_that_no_tensor_has_are_unknown(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = load(saved(graph_model([node], {"x": [1, 2**41, 8]}, {}), tmp_path)).graph
    assert graph.shapes["x"] == (1, None, 8)


def test_what_a_constant_takes_beyond_its_share_is_not_known() -> None:
    node = helper.make_node("Sin", ["x"], ["y"])
    values = np.zeros(2**22, np.float32)
    with limits.granting(steps=1e8), limits.allowing():
        Growth(stored=values.size).charge(helper.make_node("Neg", ["x"], ["y"]), [values])
        with pytest.raises(UnknownValueError, match="more constants than convsv computes: the Sin 'y' would"):
            Growth(stored=values.size).charge(node, [values])

"""Weights that do not fit what they are applied to: no runtime takes them, and no step is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import NodeProto, helper

from convsv_cli import audit
from tests.support.onnx_models import graph_model, normal, saved

node = helper.make_node

MISFITS = {
    "channels of a Conv": ([node("Conv", ["x", "w"], ["c"])], normal(4, 5, 3, 3)),
    "groups of a Conv": ([node("Conv", ["x", "w"], ["c"], group=2)], normal(4, 5, 3, 3)),
    "channels of a ConvTranspose": ([node("ConvTranspose", ["x", "w"], ["c"])], normal(5, 4, 3, 3)),
    "columns behind a Flatten": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["c"], transB=1)],
        normal(5, 16),
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_weights_that_do_not_fit_are_left_to_the_rules(misfit: str, tmp_path: Path) -> None:
    nodes: list[NodeProto]
    nodes, weight = MISFITS[misfit]
    model = graph_model([*nodes, node("Relu", ["c"], ["y"])], {"x": [1, 4, 6, 6]}, {"w": weight})
    bound = audit(saved(model, tmp_path), network_effort="quick").bound
    assert {block.route for block in bound.blocks} <= {"rules"}

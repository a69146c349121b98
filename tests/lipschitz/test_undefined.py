"""A network with NaN among its numbers has no bound, wherever they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.lipschitz.reported import defined
from convsv_cli.model.graph import Body, Constant, Graph, Node
from convsv_cli.report import BOUNDED, UNBOUNDED, NetworkBound
from tests.support.onnx_models import graph_model, normal, saved

NAN = math.nan
GEMM = helper.make_node("Gemm", ["x", "w"], ["z"])
CONSTANTS = {
    "bias": ([helper.make_node("Gemm", ["x", "w", "c"], ["y"])], [4]),
    "sum": ([GEMM, helper.make_node("Add", ["z", "c"], ["y"])], [4]),
    "difference": ([GEMM, helper.make_node("Sub", ["c", "z"], ["y"])], [1]),
    "slope": ([GEMM, helper.make_node("PRelu", ["z", "c"], ["y"])], [4]),
}


def bound_of(nodes: list[Any], constants: dict[str, Any], folder: Path) -> Any:
    weights = {"w": normal(4, 4), **constants}
    return audit(saved(graph_model(nodes, {"x": [1, 4]}, weights), folder), input_range=(0, 1)).bound


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str, tmp_path: Path) -> None:
    nodes, shape = CONSTANTS[name]
    constant = np.full(shape, 0.5, np.float32)
    assert bound_of(nodes, {"c": constant}, tmp_path).status == BOUNDED
    constant[-1] = NAN
    bound = bound_of(nodes, {"c": constant}, tmp_path)
    assert (bound.status, bound.lipschitz, bound.log10) == (UNBOUNDED, math.inf, None)
    assert bound.obstacles


@pytest.mark.parametrize("op", ["LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Selu", "HardSigmoid"])
def test_attributes(op: str, tmp_path: Path) -> None:
    def nodes(alpha: float) -> list[Any]:
        return [
            helper.make_node("Gemm", ["x", "w"], ["z"]),
            helper.make_node(op, ["z"], ["y"], name="act", alpha=alpha),
        ]

    assert bound_of(nodes(0.5), {}, tmp_path).status == (UNBOUNDED if op == "ThresholdedRelu" else BOUNDED)
    bound = bound_of(nodes(NAN), {}, tmp_path)
    assert bound.status == UNBOUNDED
    assert [obstacle.op for obstacle in bound.obstacles] == [op]


def test_a_constant_is_read_once_however_often_it_is_used() -> None:
    reads = []

    def read() -> np.ndarray:
        reads.append(1)
        return np.ones(1, np.float32)

    many = Node(op="Sum", name="s", inputs=("x", *["c"] * 1000), outputs=("y",))
    graph = Graph(
        main=Body(nodes=(many,), outputs=("y",)),
        inputs=("x",),
        constants={"c": lambda: Constant(name="c", shape=(1,), dtype="float32", identity="c", read=read)},
        shapes={"c": (1,), "x": (1,), "y": (1,)},
        dtypes={},
    )
    bound = NetworkBound(status=BOUNDED, lipschitz=1.0, log10=0.0)
    assert defined(bound, graph) == bound
    assert len(reads) == 1

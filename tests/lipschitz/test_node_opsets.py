"""Nodes of every operator set, as networks are bounded by them: against onnxruntime and onnx's converter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from onnx import ModelProto, helper

from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.model.graph import UNREADABLE, Body, Graph
from convsv_cli.report import BOUNDED, NetworkBound
from tests.support import graph_files
from tests.support.constant_cases import CASES
from tests.support.node_cases import NODE_CASES
from tests.support.opset_cases import Case, of_every_version, results, versions
from tests.support.sensitivity import network, norms_of_rows

ENDLESS = {"ConstantOfShape", "MaxRoiPool", "MaxUnpool", "OneHot", "RoiAlign", "Unique"}
"""Operators of which no bound is ever known, once their input varies."""
GONE = {("Scatter", 11), ("Upsample", 10), ("Tile", 1)}
"""What runtimes do not have any more, and what was never defined well."""
LISTS = {
    *("ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceAt", "SequenceConstruct"),
    *("SequenceErase", "SequenceInsert", "SplitToSequence"),
}
"""Operators of sequences, which are not alone in a graph."""
SCALED = {"DequantizeLinear"}
"""Operators whose first input is never of real numbers: `test_held_values` has what moves them."""
NAMED = {"DOUBLE", "FLOAT16", "INT32", "BOOL"}
LATE = {"Attention", "Swish", "RMSNormalization", "RotaryEmbedding", "TensorScatter", "Upsample"}
"""What the operator set of `graph_files` does not have."""


def moves(case: Case) -> bool:
    """Onnx's inference knows no type of the first Cast, which graphs need to be run again."""
    return bool(case.inputs) and case.inputs[0].dtype == np.float32 and case.attributes.get("to") not in NAMED


SWEEP = [
    (case, opset)
    for case, opset in of_every_version([*NODE_CASES, *CASES])
    if case.op in RULES and moves(case) and (case.op, opset) not in GONE
]


def together(cases: list[Case], opset: int) -> ModelProto:
    """One model of many nodes, each with inputs and outputs of its own."""
    parts = [case.model(opset, moving=("x0",)).graph for case in cases]
    whole = helper.make_graph([], "g", [], [])
    for number, part in enumerate(parts):
        for value in (*part.input, *part.output, *part.initializer):
            value.name = f"c{number}.{value.name}"
        for node in part.node:
            node.input[:] = [name and f"c{number}.{name}" for name in node.input]
            node.output[:] = [f"c{number}.{name}" for name in node.output]
        whole.node.extend(part.node)
        whole.input.extend(part.input)
        whole.output.extend(part.output)
        whole.initializer.extend(part.initializer)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def alone(graph: Graph, number: int) -> Graph:
    """What the graph computes for one of the cases."""
    mine = f"c{number}."
    nodes = tuple(node for node in graph.main.nodes if node.outputs[0].startswith(mine))
    outputs = tuple(name for name in graph.main.outputs if name.startswith(mine))
    return replace(graph, main=Body(nodes=nodes, outputs=outputs), inputs=(f"{mine}x0",))


def largest_ratio(graph: Graph, x: np.ndarray, step: float = 0.02) -> float:
    """Of a pair of inputs around x that differ along the singular vector of the Jacobian, in onnxruntime."""
    session = graph_files.session(graph)
    (name,) = graph.inputs

    def function(flat: np.ndarray) -> np.ndarray:
        found = session.run(graph.main.outputs[:1], {name: flat.reshape(x.shape).astype(np.float32)})
        return found[0].ravel().astype(np.float64)

    flat, units = x.ravel().astype(np.float64), np.eye(x.size) * step
    columns = [(function(flat + unit) - function(flat - unit)) / (2 * step) for unit in units]
    along = np.linalg.svd(np.stack(columns, 1))[2][0] * step
    return float(np.linalg.norm(function(flat + along) - function(flat - along)) / (2 * step))


def bounds(model: ModelProto, cases: list[Case]) -> list[tuple[Graph, NetworkBound]]:
    read = network(model)
    assert read.graph is not None
    norms = norms_of_rows(read, partial(kernel_norm, tolerance=1e-3))
    graphs = [alone(read.graph, i) for i in range(len(cases))]
    return [(graph, network_bound(graph, norms)) for graph in graphs]


@pytest.mark.parametrize("opset", sorted({opset for _, opset in SWEEP}))
def test_nodes_are_what_their_operator_set_says(opset: int) -> None:
    cases = [case for case, version in SWEEP if version == opset]
    for case, (graph, bound) in zip(cases, bounds(together(cases, opset), cases), strict=True):
        assert not any(node.op.startswith(UNREADABLE) for node in graph.main.nodes), (str(case), opset)
        if case.op in LATE or any(node.op in LATE for node in graph.main.nodes):
            continue
        expected = next(results(case, opset))
        (source,) = graph.inputs
        for one, other in zip(graph_files.run(graph, {source: case.inputs[0]}), expected, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype), (str(case), opset)
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6, err_msg=f"{case} of {opset}")
        if bound.status == BOUNDED and expected[0].dtype == np.float32:  # rounding to half does not count
            ratio = largest_ratio(graph, case.inputs[0])
            assert ratio <= bound.lipschitz * (1 + 1e-3) + 1e-4, (str(case), opset)


def test_every_version_of_every_operator_with_a_rule_is_tried() -> None:
    seen = {(case.op, opset) for case, opset in SWEEP} | GONE
    for op in RULES.keys() - ENDLESS - LISTS - SCALED - {"convsv.Elementwise", "Where"}:
        assert {(op, opset) for opset in versions(op)} <= seen

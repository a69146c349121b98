"""Norms of weights that are no rows: as certified as those that are, and against dense matrices."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from convsv_cli import audit, load
from convsv_cli.lipschitz.norms import Norms, kernel_norm
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.graph import Body, Constant, Graph, Node
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, saved

TOLERANCE = 1e-3
NODES = [
    ("Conv", (4, 2, 3, 2), {"pads": [1, 1, 2, 1], "strides": [2, 1], "group": 2}),
    ("Conv", (4, 3, 3, 2), {"dilations": [1, 2], "pads": [1, 1, 1, 1]}),
    ("Conv", (4, 3, 1, 1), {}),
    ("Conv", (3, 2, 4), {"strides": [3], "dilations": [2], "pads": [2, 2]}),
    ("ConvTranspose", (4, 2, 3, 2), {"strides": [2, 3], "group": 2}),
    ("ConvTranspose", (2, 3, 4), {"strides": [2], "pads": [1, 1]}),
    ("Gemm", (5, 4), {"alpha": -2.5}),
    ("Gemm", (5, 4), {"transB": 1, "alpha": 0.5}),
    ("MatMul", (5, 4), {}),
    ("MatMul", (5,), {}),
]


def input_shape(op: str, shape: tuple[int, ...], attributes: dict) -> tuple[int, ...]:
    if op in ("Gemm", "MatMul"):
        return (1, shape[1] if attributes.get("transB") else shape[0])
    channels = shape[0] if op == "ConvTranspose" else shape[1] * attributes.get("group", 1)
    return (1, channels, *(9, 8)[: len(shape) - 2])


def node_of(op: str, **attributes: object) -> Node:
    return Node(op=op, name="n", inputs=("x", "w"), outputs=("y",), attributes=attributes)


def graph_of(node: Node, weight: np.ndarray, error: float = 0.0) -> Graph:
    constant = Constant(
        name="w",
        shape=weight.shape,
        dtype=str(weight.dtype),
        identity="w",
        read=lambda: weight,
        error=lambda: error,
    )
    return Graph(
        main=Body(nodes=(node,), outputs=("y",)),
        inputs=("x",),
        constants={"w": lambda: constant},
        shapes={"w": weight.shape},
        dtypes={},
    )


def norm_of(node: Node, graph: Graph, **options: float) -> float:
    norms = Norms(rows={}, of_row=lambda _: math.nan, of_kernel=partial(kernel_norm, **options))
    (found,) = norms(node, graph)
    return found


def norm_by(node: Node, weight: np.ndarray, *, error: float = 0.0, **options: float) -> float:
    return norm_of(node, graph_of(node, weight, error), **options)


@pytest.mark.parametrize(("op", "shape", "attributes"), NODES)
def test_the_norm_is_that_of_a_row_and_no_less_than_the_true_one(
    op: str, shape: tuple[int, ...], attributes: dict, tmp_path: Path
) -> None:
    whole = input_shape(op, shape, attributes)
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    model = graph_model([node], {"x": ["n", *whole[1:]]}, {"w": normal(*shape)})
    path = saved(model, tmp_path)
    graph = load(path).graph
    assert graph is not None
    found = norm_of(graph.main.nodes[0], graph, tolerance=TOLERANCE)
    (row,) = audit(path, tolerance=TOLERANCE).layers
    assert found == pytest.approx(row.measurement("certified").value, rel=3 * TOLERANCE)
    session = runtime.session(model)
    units = np.eye(math.prod(whole), dtype=np.float32).reshape(-1, *whole[1:])
    truth = np.linalg.norm(session.run(None, {"x": units})[0].reshape(len(units), -1), 2)
    assert truth * (1 - 1e-6) <= found <= 1.6 * truth


def test_a_stack_of_matrices_counts_as_one_on_either_side() -> None:
    stack = np.random.default_rng(0).standard_normal((3, 4, 5))
    right = np.linalg.norm(np.concatenate(list(stack), axis=1), 2)
    left = np.linalg.norm(np.concatenate(list(stack), axis=0), 2)
    for node, truth in ((node_of("MatMul"), right), (replace(node_of("MatMul"), inputs=("w", "x")), left)):
        found = norm_by(node, stack)
        assert found == pytest.approx(truth, rel=1e-9)
        assert found >= truth


def test_rounding_is_added_for_every_tap() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    exact = norm_by(node_of("Conv"), weight, tolerance=TOLERANCE)
    rounded = norm_by(node_of("Conv"), weight, error=0.5, tolerance=TOLERANCE)
    assert rounded == pytest.approx(exact + 3 * 0.5)


def test_without_work_it_is_the_least_unfolding_bound() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 5, 3, 3))
    splits = {(0, 2, 1, 3): 18, (0, 3, 1, 2): 18, (0, 1, 2, 3): 6, (0, 2, 3, 1): 54}
    unfoldings = [weight.transpose(axes).reshape(rows, -1) for axes, rows in splits.items()]
    least = 3 * min(np.linalg.norm(matrix, 2) for matrix in unfoldings)
    found = norm_by(node_of("Conv"), weight, work_limit=0)
    assert found <= least * (1 + 1e-9)
    assert found >= norm_by(node_of("Conv"), weight, tolerance=TOLERANCE) * (1 - 1e-2)


def test_zero_and_empty_weights_amplify_nothing() -> None:
    assert norm_by(node_of("Conv"), np.zeros((2, 3, 3, 3))) == 0
    assert norm_by(node_of("MatMul"), np.zeros((0, 3))) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("op", "shape"), [("Conv", (2, 2, 3, 3)), ("Gemm", (2, 2)), ("MatMul", (2, 3, 2))])
def test_no_number_for_weights_that_are_none(op: str, shape: tuple[int, ...], bad: float) -> None:
    weight = np.ones(shape)
    weight.flat[1] = bad
    with pytest.raises(UnboundedError, match="NaN or infinity"):
        norm_by(node_of(op), weight)


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (node_of("Einsum"), (2, 2)),
        (node_of("Conv"), (2, 2)),
        (node_of("Conv", strides=(2,)), (2, 2, 3, 3)),
        (node_of("Conv", dilations=(0, 1)), (2, 2, 3, 3)),
        (node_of("Conv", group=3), (4, 2, 3, 3)),
        (node_of("Gemm"), (2, 2, 2)),
        (node_of("MatMul"), ()),
    ],
)
def test_no_number_for_what_is_not_understood(node: Node, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnboundedError):
        norm_by(node, np.ones(shape))


@pytest.mark.parametrize(("op", "shape"), [("Conv", (2, 2, 3, 3)), ("Gemm", (2, 2)), ("MatMul", (2, 3, 2))])
def test_no_number_for_what_is_no_number(op: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnboundedError, match="no real numbers"):
        norm_by(node_of(op), np.ones(shape, bool))

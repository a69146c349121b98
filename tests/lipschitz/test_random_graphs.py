"""Bounds of random graphs never fall below what onnxruntime shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

from convsv_cli.report import NetworkBound
from tests.support.random_graphs import Builder, random_graph
from tests.support.random_operators import TAME, WILD
from tests.support.whole_bounds import bounded

Function = Callable[[np.ndarray], np.ndarray]
GRAPHS, WILD_GRAPHS, TAKEN_APART = range(300), range(1000, 1080), range(2000, 2040)
BOX = (-2.0, 2.0)


@cache
def case(seed: int) -> tuple[Builder, ModelProto, NetworkBound]:
    """A random graph and its bound."""
    graph = random_graph(seed, (*TAME, *WILD) if seed in WILD_GRAPHS else TAME)
    model = graph.model()
    return graph, model, bounded(model)


def function_of(model: ModelProto) -> tuple[Function, int]:
    """The model as a function of one vector, all inputs one after the other, and the vector's length."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    shapes = [value.shape for value in session.get_inputs()]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    dtype = np.float64 if "double" in session.get_inputs()[0].type else np.float32

    def function(x: np.ndarray) -> np.ndarray:
        parts = np.split(x.astype(dtype), ends[:-1])
        feeds = {name: p.reshape(shape) for name, p, shape in zip(names, parts, shapes, strict=True)}
        return np.concatenate([y.ravel() for y in session.run(None, feeds)]).astype(np.float64)

    return function, int(ends[-1])


def points(size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Where kinks and steep places are, and elsewhere; all within `BOX`."""
    yield np.zeros(size)
    yield np.full(size, 0.7)
    yield 1.9 * np.eye(size)[rng.integers(size)]
    yield 0.03 * rng.standard_normal(size)
    yield rng.uniform(-1.9, 1.9, size)


def steepest(function: Function, x: np.ndarray, step: float, limit: float) -> Iterator[float]:
    """Amplification along singular vectors of the finite-difference Jacobian, near and far, up to a limit.

    Each is a ratio of one pair of inputs, so that it holds at kinks too, where the columns of the Jacobian
    belong to different pieces and its norm may exceed every amplification.
    """
    columns = [(function(x + d) - function(x - d)) / (2 * step) for d in step * np.eye(x.size)]
    for direction in np.linalg.svd(np.stack(columns, 1), full_matrices=False)[2][:2]:
        for length in (step, 0.3, 5.0):
            pair = x + length * direction, x - length * direction
            if length == step or max(abs(end).max() for end in pair) <= limit:
                change = function(pair[0]) - function(pair[1])
                yield float(np.linalg.norm(change)) / (2 * length)


def amplification(model: ModelProto, graph: Builder, limit: float = math.inf) -> float:
    """The largest that is found, less what the rounding of onnxruntime may have added."""
    function, size = function_of(model)
    step, slack = (1e-4, 1e-7) if graph.double else (0.03, 1e-3)
    every = (steepest(function, x, step, limit) for x in points(size, np.random.default_rng(size)))
    return max(ratio for ratios in every for ratio in ratios) * (1 - slack)


@pytest.mark.parametrize("seed", GRAPHS)
def test_no_amplification_exceeds_the_bound(seed: int) -> None:
    graph, model, bound = case(seed)
    assert len(graph.nodes) >= 5
    assert amplification(model, graph) <= bound.lipschitz


def test_what_has_a_lipschitz_constant_has_a_bound() -> None:
    """Rules that give up are noticed."""
    bounds = [case(seed)[2] for seed in GRAPHS]
    obstacles = Counter(f"{each.op}: {each.reason}" for bound in bounds for each in bound.obstacles)
    assert sum(math.isfinite(bound.lipschitz) for bound in bounds) >= 0.97 * len(bounds), obstacles


def test_all_operators_take_part() -> None:
    ops = Counter(node.op_type for seed in GRAPHS for node in case(seed)[0].nodes)
    assert len(ops) >= 80
    assert min(ops.values()) >= 3, ops


@pytest.mark.parametrize("seed", TAKEN_APART)
def test_every_node_alone(seed: int) -> None:
    """In a whole graph, the rest may hide that one rule is too small."""
    graph = random_graph(seed, TAME)
    for model in graph.nodes_alone():
        bound = bounded(model).lipschitz
        assert amplification(model, graph) <= bound < math.inf, model.graph.node


@pytest.mark.parametrize("seed", WILD_GRAPHS)
def test_products_of_activations(seed: int) -> None:
    """What has no Lipschitz constant may have one where inputs are in a box; each bound holds."""
    graph, model, bound = case(seed)
    anywhere, in_box = bound.lipschitz, bounded(model, BOX).lipschitz
    assert amplification(model, graph, BOX[1]) <= in_box <= anywhere
    if math.isfinite(anywhere):
        assert amplification(model, graph) <= anywhere


def test_most_products_have_a_bound_in_a_box() -> None:
    finite = sum(math.isfinite(bounded(case(seed)[1], BOX).lipschitz) for seed in WILD_GRAPHS)
    assert finite >= 0.3 * len(WILD_GRAPHS)

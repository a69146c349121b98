"""Bounds of random graphs never fall below what onnxruntime shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from convsv_cli.report import NetworkBound
from tests.support import runtime
from tests.support.random_graphs import Builder, random_graph
from tests.support.random_operators import TAME, WILD
from tests.support.sampling import one_in
from tests.support.whole_bounds import bounded

Function = Callable[[np.ndarray], np.ndarray]
GRAPHS, WILD_GRAPHS, TAKEN_APART = range(300), range(1000, 1080), range(2000, 2040)
SAMPLE = 3
"""The default run has every third of them."""
BOX = (-2.0, 2.0)


def both(seeds: range) -> list[Any]:
    """A test of the sample, and in the long run one of all others."""
    sample = seeds[::SAMPLE]
    others = [seed for seed in seeds if seed not in sample]
    return [
        pytest.param(sample, id="sample"),
        pytest.param(others, id="others", marks=pytest.mark.exhaustive),
    ]


@cache
def case(seed: int) -> tuple[Builder, ModelProto]:
    """A random graph."""
    graph = random_graph(seed, (*TAME, *WILD) if seed in WILD_GRAPHS else TAME)
    return graph, graph.model()


@cache
def bound(seed: int, box: tuple[float, float] | None = None) -> NetworkBound:
    """That of the random graph, for all inputs or those in a box."""
    return bounded(case(seed)[1], box)


def function_of(model: ModelProto) -> tuple[Function, int]:
    """The model as a function of one vector, all inputs one after the other, and the vector's length."""
    session = runtime.session(model, rewritten=False)
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


@pytest.mark.parametrize("seed", one_in(SAMPLE, GRAPHS))
def test_no_amplification_exceeds_the_bound(seed: int) -> None:
    graph, model = case(seed)
    assert len(graph.nodes) >= 5
    assert amplification(model, graph) <= bound(seed).lipschitz


@pytest.mark.parametrize("seeds", both(GRAPHS))
def test_what_has_a_lipschitz_constant_has_a_bound(seeds: Sequence[int]) -> None:
    """Rules that give up are noticed."""
    bounds = [bound(seed) for seed in seeds]
    obstacles = Counter(f"{each.op}: {each.reason}" for bound in bounds for each in bound.obstacles)
    assert sum(math.isfinite(bound.lipschitz) for bound in bounds) >= 0.97 * len(bounds), obstacles


def test_all_operators_take_part() -> None:
    """Nearly all of them in the default run, and each more than once in the long one."""
    drawn = {seed: Counter(node.op_type for node in case(seed)[0].nodes) for seed in GRAPHS}
    ops, sampled = (sum((drawn[seed] for seed in seeds), Counter()) for seeds in (GRAPHS, GRAPHS[::SAMPLE]))
    assert len(ops) >= 80
    assert min(ops.values()) >= 3, ops
    assert len(sampled) >= 79


@pytest.mark.parametrize("seed", one_in(SAMPLE, TAKEN_APART))
def test_every_node_alone(seed: int) -> None:
    """In a whole graph, the rest may hide that one rule is too small."""
    graph = random_graph(seed, TAME)
    for model in graph.nodes_alone():
        assert amplification(model, graph) <= bounded(model).lipschitz < math.inf, model.graph.node


@pytest.mark.parametrize("seed", one_in(SAMPLE, WILD_GRAPHS))
def test_products_of_activations(seed: int) -> None:
    """What has no Lipschitz constant may have one where inputs are in a box; each bound holds."""
    graph, model = case(seed)
    anywhere, in_box = bound(seed).lipschitz, bound(seed, BOX).lipschitz
    assert amplification(model, graph, BOX[1]) <= in_box <= anywhere
    if math.isfinite(anywhere):
        assert amplification(model, graph) <= anywhere


@pytest.mark.parametrize("seeds", both(WILD_GRAPHS))
def test_most_products_have_a_bound_in_a_box(seeds: Sequence[int]) -> None:
    finite = sum(math.isfinite(bound(seed, BOX).lipschitz) for seed in seeds)
    assert finite >= 0.3 * len(seeds)

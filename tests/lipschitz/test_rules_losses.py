"""Losses against matrices and Jacobians, in onnxruntime."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules import RULES
from tests.support.single_nodes import Single, check_linear, check_range

LOOKED_UP, ENTROPY = "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"
SCORES = (2, 3, 4)
TARGETS = np.array([[0, 2, 1, 1], [2, 0, 0, 1]])
WEIGHTS = np.array([0.5, 2, 1], np.float32)
REDUCTIONS = ("none", "sum", "mean")


def loss(op: str, reduction: str, *, weighted: bool = True, **attributes: int) -> Single:
    constants = {1: TARGETS, 2: WEIGHTS} if weighted else {1: TARGETS}
    given = {"reduction": reduction, **attributes}
    return Single(op=op, moving={0: SCORES}, constants=constants, attributes=given, dtype="float32")


def held(single: Single) -> float:
    """Where the targets are fed, so that nobody knows them."""
    operation = single.operation()
    unknown = replace(operation.inputs[1], read=None)
    inputs = (operation.inputs[0], unknown, *operation.inputs[2:])
    return RULES[single.op].lipschitz(replace(operation, inputs=inputs))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("attributes", [{}, {"ignore_index": 0}])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_that_are_looked_up(reduction: str, attributes: dict, weighted) -> None:
    single = loss(LOOKED_UP, reduction, weighted=weighted, **attributes)
    check_linear(single)
    assert held(single) >= single.rule() * (1 - 1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_entropy_is_attained_where_a_wrong_class_is_certain(reduction: str, weighted) -> None:
    """Planted elsewhere: 1 instead of the root of two."""
    single = loss(ENTROPY, reduction, weighted=weighted)
    certain = np.zeros(SCORES)
    for n, position in np.ndindex(2, 4):
        certain[n, (TARGETS[n, position] + 1) % 3, position] = 30.0
    assert single.jacobian_norm(certain.ravel(), 0.25) == pytest.approx(single.rule(), rel=1e-4)
    for seed in range(3):
        scores = np.random.default_rng(seed).standard_normal(math.prod(SCORES)) * 4**seed
        assert single.jacobian_norm(scores, 1e-2) <= single.rule() * (1 + 1e-3)
    check_range(single)


def test_entropy_with_its_logarithms() -> None:
    operation = loss(ENTROPY, "mean").operation()
    both = replace(operation, outputs=(*operation.outputs, ("y1", SCORES)))
    alone = replace(operation, outputs=(("", ()), ("y1", SCORES)))
    rule = RULES[ENTROPY]
    assert rule.lipschitz(alone) == rule.lipschitz(both) == pytest.approx(math.sqrt(3))
    assert rule.range(alone).upper == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_targets_that_are_not_known_have_the_largest_constant(reduction: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    bound = held(loss(LOOKED_UP, reduction))
    for _ in range(10):
        targets = random.integers(0, 3, TARGETS.shape)
        single = replace(loss(LOOKED_UP, reduction), constants={1: targets, 2: WEIGHTS})
        assert single.norm() <= bound * (1 + 1e-6)


@pytest.mark.parametrize(
    ("weights", "reason"), [([1, -1, 0], "add up to zero"), ([1, np.nan, 1], "holds? NaN")]
)
def test_weights_without_a_mean(weights: list[float], reason: str) -> None:
    targets = np.array([[0, 1, 0, 1], [0, 1, 0, 1]])
    constants = {1: targets, 2: np.array(weights, np.float32)}
    single = Single(op=LOOKED_UP, moving={0: SCORES}, constants=constants, dtype="float32")
    with pytest.raises(UnboundedError, match=reason):
        single.rule()
    with pytest.raises(UnboundedError, match=r"NaN|add up"):
        held(single)


def test_targets_that_vary() -> None:
    with pytest.raises(UnboundedError, match="varies"):
        loss(ENTROPY, "mean").rule(discrete=[1])

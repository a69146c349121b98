"""Bounds of exported networks of the well-known kinds."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from convsv_cli.report import NetworkBound
from tests.support import whole_bounds
from tests.support.exported_nets import NETS, jacobian_norm, network

BOX = (-3.0, 3.0)
UNBOUNDED = {"efficientnet": {"Mul": 3}, "transformer": {"MatMul": 1}}
"""Networks without a Lipschitz constant: the gates, and attention, which its last product is called by."""
BOTH = pytest.mark.parametrize("dynamo", [True, False])


bounded = cache(whole_bounds.bounded)


@cache
def steepest(name: str, scale: float) -> float:
    """The largest Jacobian norm at some inputs."""
    net, shape = network(name)
    torch.manual_seed(1)
    return max(jacobian_norm(net, scale * x) for x in (torch.rand(shape), 2 * torch.rand(shape) - 1))


def obstacles(bound: NetworkBound) -> Counter[str]:
    return Counter(obstacle.op for obstacle in bound.obstacles)


@BOTH
@pytest.mark.parametrize("name", sorted(NETS.keys() - UNBOUNDED.keys()))
def test_what_has_a_lipschitz_constant_has_a_bound(name: str, dynamo: bool, exported) -> None:
    bound = bounded(exported(name, dynamo), None)
    assert not bound.obstacles
    assert steepest(name, 1.0) <= bound.lipschitz < math.inf


@BOTH
@pytest.mark.parametrize("name", UNBOUNDED)
def test_gates_and_attention_are_named(name: str, dynamo: bool, exported) -> None:
    """And nothing else is."""
    bound = bounded(exported(name, dynamo))
    assert obstacles(bound) == UNBOUNDED[name]
    assert bound.lipschitz == math.inf
    assert all("a product of two activations" in obstacle.reason for obstacle in bound.obstacles)


@BOTH
@pytest.mark.parametrize("name", UNBOUNDED)
def test_they_have_a_bound_where_inputs_have_a_range(name: str, dynamo: bool, exported) -> None:
    bound = bounded(exported(name, dynamo), BOX)
    assert not bound.obstacles
    assert steepest(name, 3.0) <= bound.lipschitz < math.inf


@pytest.mark.parametrize("name", NETS)
def test_both_exports_have_about_the_same_bound(name: str, exported) -> None:
    """One folds BatchNorm into kernels, the other does not: the product of both norms is no smaller."""
    box = BOX if name in UNBOUNDED else None
    new, old = (bounded(exported(name, dynamo), box).lipschitz for dynamo in (True, False))
    assert 0.1 < new / old < 10


def test_the_sample_model_has_a_bound(root: Path) -> None:
    bound = bounded(root / "sample_models/resnet20.onnx")
    assert not bound.obstacles
    assert 0 < bound.lipschitz < math.inf


@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_half.onnx", "silero_vad_op18_ifless.onnx"])
def test_silero_gets_an_answer(name: str, shared: Path) -> None:
    for box in (None, BOX):
        bound = bounded(shared / "models/silero-vad" / name, box)
        assert bound.lipschitz == math.inf
        assert bound.obstacles
        assert all(obstacle.reason for obstacle in bound.obstacles)

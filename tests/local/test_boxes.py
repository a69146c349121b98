"""Smaller boxes hold what a network makes of a ball, and are smaller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.local.boxes import largest, smaller_boxes
from convsv_cli.local.effort import BoxEffort
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball
from convsv_cli.local.propagation import places
from tests.support.local_nets import Net, own_norms, points_in_ball, random_net
from tests.support.sampling import one_in

EFFORT = BoxEffort(steps=4, count=20)


@pytest.mark.parametrize("seed", one_in(5, range(100)))
def test_smaller_boxes_hold_all_tensors(seed: int, tmp_path: Path) -> None:
    program = lowered(random_net(seed).graph(tmp_path), own_norms())
    x = torch.randn(2, *program.shapes["x"], dtype=torch.float64)
    ball = Ball(x=x, radius=torch.tensor([0.3, 0.1], dtype=torch.float64))
    weights = {
        step.output: torch.ones(2, *program.shapes[step.output], dtype=torch.float64)
        for step in program.activations
    }
    known = smaller_boxes(program, ball, weights, EFFORT)
    before, after = places(program, ball), places(program, ball, known)
    for i, radius in enumerate(ball.radius.tolist()):
        values = program.values(points_in_ball(x[i : i + 1], radius, 100, seed))
        for name, place in after.items():
            assert ((values[name] >= place.low[i]) & (values[name] <= place.high[i])).all()
    for name in known:
        assert (after[name].upper <= before[name].upper * (1 + 1e-12)).all(), "but for rounding"
        assert float((after[name].upper - after[name].lower).sum()) <= float(
            (before[name].upper - before[name].lower).sum()
        ) * (1 + 1e-12)


def test_boxes_hold_among_any_other_samples(tmp_path: Path) -> None:
    """Of more samples, a product of matrices is summed in another order, so that centres are not the same."""
    net = Net(0, (1, 784))
    net.add("MatMul", "x", net.weight(np.random.default_rng(0).standard_normal((784, 100))), shape=(1, 100))
    net.add("Relu", "t0")
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((16, 1, 784)))
    ball = Ball(x=x, radius=torch.zeros(16, dtype=torch.float64))
    centre = places(program, ball)["t0"].centre
    point = torch.zeros_like(centre)
    for count in (1, 3, 16):
        alone = Ball(x=ball.x[:count], radius=torch.zeros(count, dtype=torch.float64))
        found = places(program, alone, {"t0": (point[:count], point[:count])})["t0"]
        assert ((found.low <= centre[:count]) & (centre[:count] <= found.high)).all()


def test_the_largest_are_chosen_in_all_tensors_together() -> None:
    chosen = largest({"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([[1.0, 2.0]])}, 2)
    assert chosen["a"].tolist() == [[True, False]]
    assert chosen["b"].tolist() == [[False, True]]


def test_what_costs_nothing_is_never_chosen() -> None:
    assert largest({"a": torch.zeros(1, 3)}, 2)["a"].tolist() == [[False] * 3]

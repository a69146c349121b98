"""Boxes and balls hold whatever a network makes of a ball, and a little less would not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.local.arithmetic import FLOAT32
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import Program
from tests.support.local_nets import Net, own_norms, points_in_ball, random_net

NETS = range(50)


def drawn(seed: int, folder: Path) -> tuple[Program, torch.Tensor, float]:
    """A network, a sample and a radius."""
    generator = torch.Generator().manual_seed(seed)
    program = lowered(random_net(seed).graph(folder), own_norms())
    x = torch.randn(1, *program.shapes["x"], generator=generator, dtype=torch.float64)
    return program, x, 0.01 + 1.5 * float(torch.rand((), generator=generator))


def held(values: torch.Tensor, place: Place) -> bool:
    """Whether a box and a ball hold [n, *shape]."""
    inside = (values >= place.low) & (values <= place.high)
    far = (values - place.centre).flatten(1).norm(dim=1)
    return bool(inside.all()) and bool((far <= place.radius * (1 + 1e-12)).all())


@pytest.mark.parametrize("seed", NETS)
def test_places_hold_all_tensors(seed: int, tmp_path: Path) -> None:
    program, x, radius = drawn(seed, tmp_path)
    found = places(program, Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64)))
    values = program.values(points_in_ball(x, radius, 200, seed))
    assert all(held(values[name], place) for name, place in found.items())


@pytest.mark.parametrize("seed", NETS)
def test_places_hold_the_input_between_limits(seed: int, tmp_path: Path) -> None:
    program, x, radius = drawn(seed, tmp_path)
    x = x.clamp(-1, 1)
    ball = Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64), lower=-1.0, upper=1.0)
    values = program.values(points_in_ball(x, radius, 200, seed).clamp(-1, 1))
    assert all(held(values[name], place) for name, place in places(program, ball).items())


@pytest.mark.parametrize("seed", NETS)
def test_places_hold_what_single_precision_makes(seed: int, tmp_path: Path) -> None:
    program, x, radius = drawn(seed, tmp_path)
    x = x.float().double()
    ball = Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64), arithmetic=FLOAT32)
    found = places(program, ball)
    points = points_in_ball(x, radius * (1 - 1e-6), 50, seed).float()
    values = program.to(torch.float32).values(points)
    assert all(held(values[name].double(), place) for name, place in found.items())


def line(folder: Path) -> Program:
    """x -> relu(A x), where A is orthogonal up to a factor, and nothing is cut off."""
    net = Net(0, (1, 4))
    matrix = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    net.add("MatMul", "x", net.weight(matrix.astype(np.float32)), shape=(1, 4))
    net.add("Add", "t0", net.weight(np.full((1, 4), 10.0, np.float32)))
    net.add("Relu", "t1")
    return lowered(net.graph(folder), own_norms())


def test_a_ball_one_percent_too_small_does_not_hold(tmp_path: Path) -> None:
    program = line(tmp_path)
    x = torch.zeros(1, 1, 4, dtype=torch.float64)
    place = places(program, Ball(x=x, radius=torch.ones(1, dtype=torch.float64)))[program.output]
    moves = torch.randn(100, 1, 4, dtype=torch.float64)
    values = program.values(moves / moves.flatten(1).norm(dim=1)[:, None, None])[program.output]
    assert held(values, place)
    assert not held(values, replace(place, radius=0.99 * place.radius))


def test_dead_neurons_leave_the_norm(tmp_path: Path) -> None:
    net = Net(0, (1, 3))
    net.add("Add", "x", net.weight(np.array([[5.0, -5.0, 5.0]], np.float32)))
    net.add("Relu", "t0")
    net.add("MatMul", "t1", net.weight(np.diag([1.0, 100.0, 2.0]).astype(np.float32)))
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.zeros(1, 1, 3, dtype=torch.float64)
    found = places(program, Ball(x=x, radius=torch.ones(1, dtype=torch.float64)))
    assert float(found["t2"].radius) == pytest.approx(2.0, rel=1e-6)


def test_a_constant_of_the_network_limits_a_ball(tmp_path: Path) -> None:
    program = line(tmp_path)
    x = torch.zeros(1, 1, 4, dtype=torch.float64)
    ball = Ball(x=x, radius=torch.ones(1, dtype=torch.float64), constants={"t0": 0.25})
    assert float(places(program, ball)["t0"].radius) == pytest.approx(0.25, rel=1e-6)

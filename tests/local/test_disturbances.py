"""What errors within steps can do to the logits is bounded for any errors, and no more than they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from convsv_cli.local.arithmetic import BFLOAT16
from convsv_cli.local.disturbances import disturbance
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import Affine, Program
from tests.support.local_nets import Net, own_norms, points_in_ball, random_net

NETS = range(60)
POINTS = 40


def drawn(seed: int, folder: Path) -> tuple[Program, dict[str, Place], Tensor, Tensor]:
    """A network, where its tensors are in bfloat16, points of the ball, and a direction of the output."""
    generator = torch.Generator().manual_seed(seed)
    program = lowered(random_net(seed).graph(folder), own_norms())
    x = torch.randn(1, *program.shapes["x"], generator=generator, dtype=torch.float64)
    radius = 0.01 + float(torch.rand((), generator=generator))
    ball = Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64), arithmetic=BFLOAT16)
    direction = torch.randn(1, *program.shapes[program.output], generator=generator, dtype=torch.float64)
    return program, places(program, ball), points_in_ball(x, radius, POINTS, seed), direction


def executed(program: Program, x: Tensor, error: Callable[[str, Tensor], Tensor]) -> Tensor:
    """The output of a runtime that makes errors: [n, *shape].

    Args:
        program: the network.
        x: [n, *shape].
        error: of a tensor, by its name and what it should be.
    """
    found = {program.source: x + error(program.source, x)}
    for step in program.steps:
        if isinstance(step, Affine):
            value = step.forward(tuple(found[name] for name in step.inputs))
        else:
            value = step.value(found[step.input])
        found[step.output] = value + error(step.output, value)
    return found[program.output]


def made(program: Program, found: dict[str, Place], x: Tensor, direction: Tensor, signs: str) -> Tensor:
    """By how much errors of the largest size, of some signs, move <direction, output>: [n]."""
    generator = torch.Generator().manual_seed(0)
    gradients = along(program, x, direction) if signs == "adversarial" else {}

    def error(name: str, value: Tensor) -> Tensor:
        off = found[name].off
        if off is None:
            return torch.zeros_like(value)
        if name in gradients:
            return off * gradients[name].sign()
        return off * (2.0 * torch.randint(0, 2, value.shape, generator=generator) - 1.0)

    exact = program.values(x)[program.output]
    return (direction * (executed(program, x, error) - exact)).flatten(1).sum(1)


def along(program: Program, x: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """Gradients of <direction, output> at all tensors, found by errors of 0 at each of them."""
    errors: dict[str, Tensor] = {}

    def error(name: str, value: Tensor) -> Tensor:
        errors[name] = torch.zeros_like(value, requires_grad=True)
        return errors[name]

    (direction * executed(program, x, error)).sum().backward()
    return {name: each.grad for name, each in errors.items() if each.grad is not None}


@pytest.mark.parametrize("signs", ["random", "adversarial"])
@pytest.mark.parametrize("seed", NETS)
def test_no_errors_do_more_than_is_said(seed: int, signs: str, tmp_path: Path) -> None:
    program, found, x, direction = drawn(seed, tmp_path)
    bound = disturbance(program, found, torch.zeros(1, dtype=torch.int64), direction)
    moved = made(program, found, x, direction, signs)
    assert (moved.abs() <= bound + 1e-12).all()


def test_a_linear_network_is_disturbed_as_much_as_that(tmp_path: Path) -> None:
    """Rows of the product of the matrices, times the errors at each of them, with nothing lost."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal(shape) for shape in ((5, 7), (7, 3)))
    net = Net(0, (1, 5))
    net.add("MatMul", "x", net.weight(first), shape=(1, 7))
    net.add("MatMul", "t0", net.weight(second), shape=(1, 3))
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.from_numpy(rng.standard_normal((1, 1, 5)))
    ball = Ball(x=x, radius=torch.tensor([0.3], dtype=torch.float64), arithmetic=BFLOAT16)
    found = places(program, ball)
    direction = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64).reshape(1, 1, 3)
    at = {program.output: direction.flatten(), "t0": torch.from_numpy(second) @ direction.flatten()}
    at["x"] = torch.from_numpy(first) @ at["t0"]
    expected = sum(
        float((v.abs() * found[name].off.flatten()).sum())
        for name, v in at.items()
        if found[name].off is not None
    )
    bound = disturbance(program, found, torch.zeros(1, dtype=torch.int64), direction)
    assert expected <= float(bound) <= expected * (1 + 1e-9)


def test_what_comes_back_twice_counts_twice(tmp_path: Path) -> None:
    """A skip around an activation: an error before it goes both ways."""
    net = Net(0, (1, 4))
    net.add("MatMul", "x", net.weight(np.eye(4, dtype=np.float32)), shape=(1, 4))
    net.add("Relu", "t0")
    net.add("Add", "t1", "t0")
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.full((1, 1, 4), 3.0, dtype=torch.float64)
    ball = Ball(x=x, radius=torch.tensor([0.1], dtype=torch.float64), arithmetic=BFLOAT16)
    found = places(program, ball)
    without = {n: replace(p, off=None) if n == program.output else p for n, p in found.items()}
    direction = torch.zeros(1, 1, 4, dtype=torch.float64)
    direction[..., 0] = 1.0
    bound = disturbance(program, without, torch.zeros(1, dtype=torch.int64), direction)
    own = sum(float(without[n].off.flatten()[0]) for n in ("x", "t0") if without[n].off is not None)
    assert float(bound) == pytest.approx(2 * own, rel=1e-9)


def test_where_a_tensor_may_overflow_nothing_is_said(tmp_path: Path) -> None:
    program, found, _, direction = drawn(3, tmp_path)
    name = program.steps[0].output
    beyond = replace(found[name], off=torch.full_like(found[name].centre, torch.inf))
    bound = disturbance(program, {**found, name: beyond}, torch.zeros(1, dtype=torch.int64), direction)
    assert bound.isinf().all()

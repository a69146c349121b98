"""Certified bounds are below whatever is found in a ball, and planted errors show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.local import certificate
from convsv_cli.local.backward import improved
from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import Choice, crown_choices, first_choices
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import Rows, samples_of
from tests.support.local_nets import Attacked, Net, attacked, own_norms, points_in_ball, random_net
from tests.support.sampling import one_in

NETS, SAMPLE = range(180), 3
"""The default run has every fifth of them."""
CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A network at a ball, with rows for each logit, its negative, and a difference."""

    net: Attacked
    x: torch.Tensor
    radius: float
    rows: Rows

    def found(self, seed: int) -> torch.Tensor:
        """The least that is found of each row."""
        outputs = self.net.program.values(points_in_ball(self.x, self.radius, 200, seed))
        values = outputs[self.net.program.output].flatten(1) @ self.rows.direction.flatten(1).T
        return values.amin(0).minimum(self.net.lowest(self.rows.direction, self.x, self.radius, seed))


def case(seed: int, folder: Path) -> Case:
    generator = torch.Generator().manual_seed(seed)
    net = attacked(random_net(seed), folder)
    x = torch.randn(1, *net.program.shapes["x"], generator=generator, dtype=torch.float64)
    radius = 0.01 + 1.5 * float(torch.rand((), generator=generator))
    found = places(net.program, Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64)))
    unit = torch.eye(CLASSES, dtype=torch.float64)
    direction = torch.cat([unit, -unit, unit[:1] - unit[1:2]])[:, None]
    rows = samples_of(net.program, found).rows(torch.zeros(len(direction), dtype=torch.int64), direction)
    return Case(net=net, x=x, radius=radius, rows=rows)


def choices_of(rows: Rows) -> Iterator[list[Choice]]:
    """The first ones, better ones, and any others."""
    yield first_choices(rows)
    yield improved(rows, first_choices(rows), 15)[0]
    yield [
        Choice(
            below=torch.randn_like(choice.below),
            above=torch.randn_like(choice.above),
            log_multiplier=torch.randn_like(choice.log_multiplier),
        )
        for choice in first_choices(rows)
    ]


@pytest.mark.parametrize("seed", one_in(SAMPLE, NETS))
def test_nothing_in_the_ball_is_below_the_bound(seed: int, tmp_path: Path) -> None:
    found = case(seed, tmp_path)
    bounds = torch.stack([certified(found.rows, choices) for choices in choices_of(found.rows)])
    assert (bounds.amax(0) <= found.found(seed)).all()


@pytest.mark.parametrize("seed", one_in(SAMPLE, NETS))
def test_nothing_between_limits_is_below_the_bound(seed: int, tmp_path: Path) -> None:
    found = case(seed, tmp_path)
    program, x = found.net.program.limited(), found.x.clamp(-1, 1)
    ball = Ball(x=x, radius=found.rows.radius[:1], lower=-1.0, upper=1.0)
    rows = samples_of(program, places(program, ball)).rows(found.rows.sample, found.rows.direction)
    points = points_in_ball(x, found.radius, 200, seed).clamp(-1, 1)
    values = program.values(points)[program.output].flatten(1) @ rows.direction.flatten(1).T
    for choices in choices_of(rows):
        assert (certified(rows, choices) <= values.amin(0)).all()


def test_limits_of_the_input_count(tmp_path: Path) -> None:
    net = Net(0, (1, 2))
    net.add("MatMul", "x", net.weight(np.eye(2, dtype=np.float32)))
    program = lowered(net.graph(tmp_path), own_norms()).limited()
    x = torch.tensor([[[0.1, 5.0]]], dtype=torch.float64)
    ball = Ball(x=x, radius=torch.ones(1, dtype=torch.float64), lower=0.0)
    direction = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
    rows = samples_of(program, places(program, ball)).rows(torch.zeros(1, dtype=torch.int64), direction)
    choices, _ = improved(rows, first_choices(rows), 200)
    assert float(certified(rows, choices)[0]) == pytest.approx(5 - np.sqrt(1 - 0.01), rel=1e-3)


def ridge(folder: Path, *, skip: bool) -> Case:
    """x -> relu(x + 9), plus x again where there is a skip: linear near 0, so that bounds are tight."""
    net = Net(0, (1, 3))
    net.add("Add", "x", net.weight(np.full((1, 3), 9.0, np.float32)))
    net.add("Relu", "t0")
    if skip:
        net.add("Add", "t1", "x")
    with_gradients = attacked(net, folder)
    x = torch.zeros(1, 1, 3, dtype=torch.float64)
    found = places(with_gradients.program, Ball(x=x, radius=torch.ones(1, dtype=torch.float64)))
    direction = torch.ones(1, 1, 3, dtype=torch.float64)
    rows = samples_of(with_gradients.program, found).rows(torch.zeros(1, dtype=torch.int64), direction)
    return Case(net=with_gradients, x=x, radius=1.0, rows=rows)


def test_bounds_of_what_is_linear_are_tight(tmp_path: Path) -> None:
    found = ridge(tmp_path, skip=True)
    bound = float(certified(found.rows, crown_choices(found.rows))[0])
    assert bound == pytest.approx(27 - 2 * np.sqrt(3), rel=1e-9)
    assert bound <= float(found.found(0)[0])


def test_a_smaller_ball_than_there_is_shows(tmp_path: Path) -> None:
    found = ridge(tmp_path, skip=False)
    wrong = replace(found.rows, radius=0.99 * found.rows.radius)
    assert float(certified(wrong, crown_choices(wrong))[0]) > float(found.found(0)[0])


def test_a_cotangent_that_is_dropped_at_a_skip_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ridge(tmp_path, skip=True)

    def replaced(ledger: certificate._Ledger, name: str, v: torch.Tensor, lost: torch.Tensor | None) -> None:
        del lost
        ledger.cotangents[name] = v

    monkeypatch.setattr(certificate._Ledger, "hand_on", replaced)
    assert float(certified(found.rows, crown_choices(found.rows))[0]) > float(found.found(0)[0])


def cancelling(folder: Path) -> Rows:
    """x -> (x A) B where the products cancel in real arithmetic, and not as they are rounded."""
    net = Net(0, (1, 1))
    rng = np.random.default_rng(1)
    first = rng.standard_normal((1, 64)).astype(np.float32)
    net.add("MatMul", "x", net.weight(first), shape=(1, 64))
    other = rng.standard_normal((64, 1)).astype(np.float32)
    net.add("MatMul", "t0", net.weight(other), shape=(1, 1))
    program = lowered(net.graph(folder), own_norms())
    x = torch.full((1, 1, 1), 1e8, dtype=torch.float64)
    found = places(program, Ball(x=x, radius=torch.zeros(1, dtype=torch.float64)))
    direction = torch.ones(2, 1, 1, dtype=torch.float64) * torch.tensor([1.0, -1.0])[:, None, None]
    return samples_of(program, found).rows(torch.zeros(2, dtype=torch.int64), direction)


def test_without_gamma_the_rounding_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = cancelling(tmp_path)
    a, b = (step.maps[0].weight.flatten() for step in rows.program.steps)  # type: ignore[union-attr]
    exact = sum(
        (int(p * 2**60) * int(q * 2**60) for p, q in zip(a.tolist(), b.tolist(), strict=True)), start=0
    )

    def proven() -> bool:
        """Whether both bounds are on their side of the real value."""
        least, most = certified(rows, [])
        scaled = [int(value * 2**40) for value in (float(least), -float(most))]
        real = exact * 10**8 * 2**40
        return scaled[0] * 2**120 <= real <= scaled[1] * 2**120

    assert proven()
    monkeypatch.setattr(certificate, "gamma", lambda *_: 0.0)
    monkeypatch.setattr(certificate, "UNDERFLOW", 0.0)
    assert not proven()

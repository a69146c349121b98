"""Cutting a ball decides more, all of its parts together hold it, and no sample is decided wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convsv_cli.local import QUICK, Problem, margins
from convsv_cli.local.arithmetic import BFLOAT16, FLOAT32, REAL, Arithmetic
from convsv_cli.local.branching import Decided, least_of_parts
from convsv_cli.local.effort import BoxEffort, Effort
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import Boxes, places
from convsv_cli.local.steps import Program
from tests.support.local_nets import own_norms, points_in_ball, random_net

WHOLE = replace(QUICK, boxes=(BoxEffort(steps=4, count=16),))
CUT = replace(WHOLE, splits=5)


def problem_of(seed: int, folder: Path) -> Problem:
    """A network as a classifier of a few samples."""
    generator = torch.Generator().manual_seed(seed)
    program = lowered(random_net(seed).graph(folder), own_norms())
    x = torch.randn(6, *program.shapes["x"], generator=generator, dtype=torch.float64)
    classes = program.values(x)[program.output].flatten(1).argmax(1)
    return Problem(program=program, x=x, classes=classes)


def edge(problem: Problem, effort: Effort) -> Tensor:
    """Radii at which about half of the samples are decided."""
    radius = torch.full((len(problem.x),), 1e-3, dtype=torch.float64)
    for _ in range(12):
        radius = torch.where(margins(problem, radius, effort) > 0, 2 * radius, radius)
    return radius


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_what_is_decided_in_parts_holds_in_the_ball(seed: int, tmp_path: Path) -> None:
    problem = problem_of(seed, tmp_path)
    radius = edge(problem, QUICK)
    kept = margins(problem, radius, CUT)
    assert (kept > 0).sum() >= (margins(problem, radius, WHOLE) > 0).sum()
    for index in (kept > 0).nonzero()[:, 0].tolist():
        points = points_in_ball(problem.x[index : index + 1], float(radius[index]), 400, seed)
        logits = problem.program.values(points)[problem.program.output].flatten(1)
        own = logits[:, problem.classes[index]]
        others = logits.scatter(1, problem.classes[index].expand(len(points), 1), -torch.inf).amax(1)
        assert (own - others >= kept[index] - 1e-9).all()


def test_nothing_is_cut_where_smaller_boxes_decide_all(tmp_path: Path) -> None:
    problem = replace(problem_of(5, tmp_path), arithmetic=FLOAT32)
    radius = torch.full((len(problem.x),), 0.512, dtype=torch.float64)
    quick, boxes = (margins(problem, radius, effort) for effort in (QUICK, WHOLE))
    decided = ((quick <= 0) & (boxes > 0)).nonzero()[:, 0]
    assert len(decided)
    assert (margins(problem.take(decided), radius[decided], CUT) > 0).all()


def sampled(program: Program, seed: int) -> Tensor:
    """A sample."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *program.shapes["x"], dtype=torch.float64, generator=generator)


def recorded(program: Program, ball: Ball, depth: int) -> list[Boxes]:
    """The boxes of all parts that there are, where none is ever decided."""
    seen: list[Boxes] = []

    def decide(sample: Tensor, known: Boxes) -> Decided:
        seen.append(known)

        def look(which: Tensor) -> tuple[dict[str, Place], dict[str, Tensor]]:
            boxes = {name: (lower[which], upper[which]) for name, (lower, upper) in known.items()}
            some = replace(ball, x=ball.x[sample[which]], radius=ball.radius[sample[which]])
            found = places(program, some, boxes)
            weights = {s.output: torch.ones_like(found[s.output].centre) for s in program.activations}
            return found, weights

        return Decided(worst=torch.full((len(sample),), len(seen) - 100.0, dtype=torch.float64), look=look)

    least = least_of_parts(program, decide, {}, len(ball.x), depth)
    assert least.tolist() == [-torch.inf] * len(ball.x)
    return seen


@pytest.mark.parametrize("arithmetic", [REAL, BFLOAT16], ids=lambda each: each.name)
@pytest.mark.parametrize("seed", [1, 4, 6, 9])
def test_every_point_of_the_ball_is_in_a_part(seed: int, arithmetic: Arithmetic, tmp_path: Path) -> None:
    """With all that runtimes make of it, too: both halves reach beyond the kink."""
    program = problem_of(seed, tmp_path).program
    x = torch.randn(
        1, *program.shapes["x"], dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    ball = Ball(x=x, radius=torch.tensor([1.0], dtype=torch.float64), arithmetic=arithmetic)
    centres = places(program, ball)
    values = program.values(points_in_ball(x, 1.0, 100, seed))
    for boxes in recorded(program, ball, 2)[1:]:
        inside = torch.ones(len(next(iter(boxes.values()))[0]), 100, dtype=torch.bool)
        for name, (lower, upper) in boxes.items():
            apart = (values[name] - centres[name].centre)[None].flatten(2)
            slack = 1e-9 * (1 + apart.abs())
            inner = (apart >= lower.flatten(1)[:, None] - slack) & (
                apart <= upper.flatten(1)[:, None] + slack
            )
            inside &= inner.all(2)
        assert inside.any(0).all()


def test_halves_overlap_by_what_runtimes_may_be_off(tmp_path: Path) -> None:
    program = problem_of(4, tmp_path).program
    ball = Ball(x=sampled(program, 4), radius=torch.tensor([1.0], dtype=torch.float64), arithmetic=BFLOAT16)
    whole, parts = places(program, ball), recorded(program, ball, 1)[1]
    overlaps = []
    for name, (lower, upper) in parts.items():
        cut = (upper[0] < whole[name].upper[0] - 1e-12) & (lower[1] > whole[name].lower[0] + 1e-12)
        overlaps += ((upper[0] - lower[1])[cut] / (2 * whole[name].noise[0])).tolist()
    assert overlaps == [pytest.approx(1.0)]


@pytest.mark.parametrize("bound", [-1e-3, -torch.inf, torch.nan])
def test_a_part_that_is_not_decided_decides_nothing(bound: float, tmp_path: Path) -> None:
    """Though all others are."""
    program = problem_of(4, tmp_path).program
    ball = Ball(x=sampled(program, 4), radius=torch.tensor([1.0], dtype=torch.float64))
    found = places(program, ball)
    weights = {s.output: torch.ones_like(found[s.output].centre) for s in program.activations}

    def decide(sample: Tensor, _known: Boxes) -> Decided:
        worst = torch.ones(len(sample), dtype=torch.float64)
        worst[-1] = bound
        return Decided(worst=worst, look=lambda _which: (found, weights))

    assert least_of_parts(program, decide, {}, 1, 3).tolist() == [-torch.inf]

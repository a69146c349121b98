"""The minimum over a box and a ball, against fine grids and exact arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.local import dual, region
from convsv_cli.local.pieces import Enclosure, Piecewise, absolute, clip, hinge, identity, relu
from convsv_cli.local.region import region_of

BATCH, ROWS, SHAPE = 3, 4, (5, 2)
ACTIVATIONS = {
    "relu": relu(),
    "abs": absolute(),
    "leaky": hinge(0.1),
    "clip": clip(-0.5, 0.7),
    "nothing below": clip(0.2),
    "constant": clip(1.0, -1.0),
    "identity": identity(),
    "a slope per channel": hinge(torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)[:, None]),
    "between two": Enclosure(
        lower=Piecewise(knots=(-0.3, 0.4), slopes=(0.1, -1.0, 2.0), intercepts=(0.03, -0.3, -1.5)),
        upper=Piecewise(knots=(0.1,), slopes=(-0.5, 2.0), intercepts=(0.65, 0.4)),
    ),
}
EACH = pytest.mark.parametrize("enclosure", ACTIVATIONS.values(), ids=ACTIVATIONS)
LAMBDAS = (0.0, 0.3, 5.0, 1e-12)


def problem(lam: float) -> dict[str, torch.Tensor]:
    """All kinds of boxes; the centre may be outside."""
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=draw)

    centre = normal(BATCH, *SHAPE)
    lower = centre - normal(BATCH, *SHAPE).abs()
    return {
        "v": normal(BATCH, ROWS, *SHAPE),
        "g": normal(BATCH, ROWS, *SHAPE),
        "lam": torch.full((BATCH, ROWS), lam, dtype=torch.float64),
        "box_lower": lower,
        "box_upper": lower + normal(BATCH, *SHAPE).abs() * (normal(BATCH, *SHAPE) > -0.5),
        "centre": centre,
    }


def minimum(*, v, g, lam, box_lower, box_upper, centre, scale, enclosure) -> torch.Tensor:
    return dual.minimum(v, g, lam, region_of(box_lower, box_upper, centre, scale, enclosure))


def objective(
    p: dict[str, torch.Tensor], enclosure: Enclosure, t: torch.Tensor, scale: float
) -> torch.Tensor:
    """Of every element at t [batch, *shape, points]: [batch, rows, *shape, points]."""
    moved = t.movedim(-1, 0).flatten(0, 1)
    below, above = (
        side(moved).unflatten(0, (t.shape[-1], -1)).movedim(0, -1)[:, None]
        for side in (enclosure.lower, enclosure.upper)
    )
    v, g = p["v"][..., None], p["g"][..., None]
    distance = ((t - p["centre"][..., None]) / scale)[:, None]
    phi = torch.where(v > 0, below, above)
    return v * phi - g * t[:, None] + p["lam"][..., None, None, None] / 2 * distance**2


@EACH
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_it_is_the_least_on_a_grid(enclosure, lam, scale):
    p = problem(lam)
    steps = torch.linspace(0, 1, 4001, dtype=torch.float64)
    width = p["box_upper"] - p["box_lower"]
    grid = p["box_lower"][..., None] + steps * width[..., None]
    found = minimum(**p, scale=scale, enclosure=enclosure)
    least = objective(p, enclosure, grid, scale).amin(-1).flatten(2).sum(2)
    # between two points, nothing falls by more than the steepest slope over half a step
    steep = 3 * (p["v"].abs() + p["g"].abs()) + lam / scale**2 * (width + 3)[:, None]
    coarse = (steep * width[:, None] / 4000).flatten(2).sum(2)
    assert (found <= least + 1e-12).all()
    assert (found >= least - coarse - 1e-12).all()


@EACH
def test_its_gradients_are_those_of_finite_differences(enclosure):
    p = problem(0.4)
    moving = {name: p[name].clone().requires_grad_() for name in ("v", "g", "lam")}
    scale = torch.linspace(0.5, 2, 10, dtype=torch.float64).reshape(SHAPE)

    def found(v: torch.Tensor, g: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        return minimum(**{**p, "v": v, "g": g, "lam": lam}, scale=scale, enclosure=enclosure)

    assert torch.autograd.gradcheck(found, tuple(moving.values()), eps=1e-7, atol=1e-5)


@EACH
@pytest.mark.parametrize("size", [1, 7, 2**20])
def test_chunks_change_nothing(enclosure, size, monkeypatch):
    p = problem(0.4)
    whole = minimum(**p, scale=1.0, enclosure=enclosure)
    monkeypatch.setattr(region, "CHUNK", size)
    assert torch.allclose(minimum(**p, scale=1.0, enclosure=enclosure), whole, rtol=1e-13)


def test_a_scale_for_each_element_is_that_of_each():
    p = problem(0.4)
    scale = torch.linspace(0.5, 2, 10, dtype=torch.float64).reshape(SHAPE)
    each = [
        minimum(
            **{name: x if name == "lam" else x.flatten(-2)[..., i : i + 1] for name, x in p.items()},
            scale=float(scale.flatten()[i]),
            enclosure=relu(),
        )
        for i in range(10)
    ]
    assert torch.allclose(minimum(**p, scale=scale, enclosure=relu()), sum(each), rtol=1e-12)


def one(v: float, g: float, lam: float, lower: float, upper: float, centre: float, enclosure: Enclosure):
    """The minimum of a single element."""
    tensor = lambda x, *shape: torch.tensor(x, dtype=torch.float64).reshape(shape)  # noqa: E731
    box = (tensor(lower, 1, 1), tensor(upper, 1, 1), tensor(centre, 1, 1))
    where = region_of(*box, 1.0, enclosure)
    return float(dual.minimum(tensor(v, 1, 1, 1), tensor(g, 1, 1, 1), tensor(lam, 1, 1), where))


def test_without_a_box_the_ball_bounds_it():
    # relu(t) - t/4 + (t + 1)^2 / 2 on the line: least where t + 1 = 1/4
    assert one(1.0, 0.25, 1.0, -math.inf, math.inf, -1.0, relu()) == pytest.approx(0.75 / 4 + 1 / 32)


@pytest.mark.parametrize(
    ("v", "g", "least"),
    [(1.0, 2.0, -math.inf), (1.0, -1.0, -math.inf), (1.0, 0.5, 0.0), (1.0, 1.0, 0.0), (-1.0, 0.0, -math.inf)],
)
def test_without_box_and_ball(v, g, least):
    assert one(v, g, 0.0, -math.inf, math.inf, 0.3, relu()) == pytest.approx(least, abs=1e-12)


@given(
    v=st.floats(-1e6, 1e6),
    g=st.floats(-1e6, 1e6),
    lam=st.one_of(st.just(0.0), st.floats(1e-9, 1e9)),
    lower=st.floats(-1e4, 1e4),
    width=st.one_of(st.just(0.0), st.floats(1e-12, 1e4)),
    centre=st.floats(-1e4, 1e4),
    share=st.floats(0, 1),
)
@settings(max_examples=300)
def test_no_point_of_the_box_is_below(v, g, lam, lower, width, centre, share):
    upper = lower + width
    t = min(max(lower + share * width, lower), upper)
    for enclosure in (relu(), absolute(), clip(-1.0, 3.0)):
        phi = float(enclosure.lower(torch.tensor(t, dtype=torch.float64)))
        value = v * phi - g * t + lam / 2 * (t - centre) ** 2
        slack = 1e-13 * (abs(v * phi) + abs(g * t) + (abs(v) + abs(g)) * (abs(centre) + abs(t)))
        slack += (1e-13 * lam + dual.LEAST) * (abs(centre) + abs(t)) ** 2
        assert one(v, g, lam, lower, upper, centre, enclosure) <= value + slack


def test_a_piece_that_the_box_does_not_meet_would_be_noticed():
    """Planted: the line below 0 counts above it too."""
    one, two, half = (torch.full((1, 1), x, dtype=torch.float64) for x in (1.0, 2.0, 1.5))
    honest = region_of(one, two, half, 1.0, relu())
    ((below, line),) = honest.sides
    planted = replace(honest, sides=((replace(below, absent=0 * line.absent), line),))
    found = [float(dual.minimum(one[None], 0 * one[None], 0 * one, each)) for each in (honest, planted)]
    assert found == pytest.approx([1.0, 0.0])

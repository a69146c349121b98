"""The proven minimum over a box and a ball, against rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.local import certificate, dual
from convsv_cli.local.certificate import minimum_below
from convsv_cli.local.pieces import Enclosure, Piecewise, absolute, clip, hinge, relu
from convsv_cli.local.region import region_of

BETWEEN = Enclosure(
    lower=Piecewise(knots=(-0.3, 0.4), slopes=(0.1, -1.0, 2.0), intercepts=(0.03, -0.3, -1.5)),
    upper=Piecewise(knots=(0.1,), slopes=(-0.5, 2.0), intercepts=(0.65, 0.4)),
)
ACTIVATIONS = (relu(), absolute(), hinge(0.1), clip(-1.0, 3.0), BETWEEN)
SIZES = st.one_of(st.floats(-4, 4), st.floats(-1e8, 1e8), st.floats(-1e-8, 1e-8), st.just(0.0))


def tensor(x: float, *shape: int) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64).reshape(shape)


def single(v, g, lam, lower, upper, centre, scale, enclosure):
    """`minimum`'s arguments for one element."""
    where = region_of(tensor(lower, 1, 1), tensor(upper, 1, 1), tensor(centre, 1, 1), scale, enclosure)
    return tensor(v, 1, 1, 1), tensor(g, 1, 1, 1), tensor(lam, 1, 1), where


def exact(v, g, lam, lower, upper, centre, scale, enclosure) -> Fraction:
    """The minimum, in rational arithmetic."""
    v, g, lam, lower, upper, centre, scale = map(Fraction, (v, g, lam, lower, upper, centre, scale))
    side = enclosure.lower if v > 0 else enclosure.upper
    knots = (lower, *map(Fraction, side.knots), upper)
    found = []
    lines = zip(knots[:-1], knots[1:], side.slopes, side.intercepts, strict=True)
    for start, stop, slope, intercept in lines:
        first, last = max(start, lower), min(stop, upper)
        if first <= last:
            w, e = g - Fraction(slope) * v, lam / scale**2
            free = centre + w / e if e else last if w > 0 else first
            t = min(max(free, first), last)
            found.append(v * Fraction(intercept) - w * t + e / 2 * (t - centre) ** 2)
    return min(found)


@given(
    v=SIZES,
    g=SIZES,
    lam=st.one_of(st.just(0.0), st.floats(1e-12, 1e9), st.floats(1e-300, 1e-30)),
    lower=SIZES,
    width=st.one_of(st.just(0.0), st.floats(0, 4), st.floats(0, 1e8), st.floats(0, 1e-12)),
    centre=SIZES,
    scale=st.sampled_from([1.0, 0.3, 1e5]),
    enclosure=st.sampled_from(ACTIVATIONS),
    same=st.booleans(),
)
@settings(max_examples=600)
def test_it_is_below_and_close(v, g, lam, lower, width, centre, scale, enclosure, same):
    box = (lower, lower + width)
    if same:  # where a line is flat, but for rounding
        g = v * enclosure.lower.slopes[0]
    least = exact(v, g, lam, *box, centre, scale, enclosure)
    found = float(minimum_below(*single(v, g, lam, *box, centre, scale, enclosure)))
    assert Fraction(found) <= least
    farthest = max(map(abs, (*box, centre)))
    size = 3 * (abs(v) + abs(g)) * (farthest + 2) + lam / scale**2 * farthest * (width + farthest)
    assert least - Fraction(found) <= 1e-13 * size + 1e-290


def test_rounding_alone_would_not_be_below():
    """What it takes off is needed: by itself, `minimum` is above the true minimum every other time."""
    draw = torch.Generator().manual_seed(0)
    above = 0
    for _ in range(60):
        numbers = [float(x) for x in torch.randn(6, dtype=torch.float64, generator=draw)]
        v, g, lam, lower, width, centre = numbers
        problem = (v, g, abs(lam), lower, lower + abs(width), centre, 1.0, hinge(0.1))
        above += Fraction(float(dual.minimum(*single(*problem)))) > exact(*problem)
    assert above > 5


def test_a_sum_of_many_is_below():
    draw = torch.Generator().manual_seed(0)
    v, g = torch.randn(2, 1, 1, 2000, dtype=torch.float64, generator=draw)
    centre = torch.randn(1, 2000, dtype=torch.float64, generator=draw)
    lam = tensor(0.7, 1, 1)
    found = float(minimum_below(v, g, lam, region_of(centre - 1, centre + 2, centre, 1.0, relu())))
    least = sum(
        exact(float(a), float(b), 0.7, float(z - 1), float(z + 2), float(z), 1.0, relu())
        for a, b, z in zip(v[0, 0], g[0, 0], centre[0], strict=True)
    )
    assert Fraction(found) <= least <= Fraction(found) + Fraction(1e-8)


@pytest.mark.parametrize(
    ("v", "g", "lam", "least"),
    [
        (1.0, 2.0, 0.0, -math.inf),  # relu(t) - 2 t falls
        (1.0, 0.5, 0.0, 0.0),
        (1.0, 1.0, 0.0, 0.0),  # flat: known to be, as no product is rounded
        (1.0, 0.25, 1.0, 0.045),  # at 0, where only the parabola is not 0
        (math.nan, 0.0, 1.0, -math.inf),
        (1.0, math.inf, 1.0, -math.inf),
    ],
)
def test_boxes_without_end(v, g, lam, least):
    found = float(minimum_below(*single(v, g, lam, -math.inf, math.inf, 0.3, 1.0, relu())))
    assert found == pytest.approx(least, abs=1e-12)


def test_a_dropped_error_is_noticed(monkeypatch):
    """Planted: nothing for the rounding of slope and value."""
    monkeypatch.setattr(certificate, "gamma", lambda _: 0.0)
    monkeypatch.setattr(certificate, "UNIT_ROUNDOFF", 0.0)
    with pytest.raises(AssertionError):
        test_it_is_below_and_close()

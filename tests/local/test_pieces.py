"""Piecewise linear functions, against onnxruntime's operators and exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli.local.pieces import Piecewise, absolute, clip, exactly, hard_sigmoid, hinge, identity, relu
from tests.support.piecewise import exact_values

POINTS = torch.linspace(-8, 8, 4097, dtype=torch.float64)
SAME = {
    "Relu": (relu(), torch.relu),
    "LeakyRelu": (hinge(0.01), torch.nn.functional.leaky_relu),
    "Abs": (absolute(), torch.abs),
    "Relu6": (clip(0.0, 6.0), torch.nn.functional.relu6),
    "HardTanh": (clip(-1.0, 1.0), torch.nn.functional.hardtanh),
    "Clip below": (clip(upper=2.0), lambda t: t.clamp(max=2.0)),
    "Clip above": (clip(-2.0), lambda t: t.clamp(min=-2.0)),
    "Clip, crossed": (clip(2.0, 1.0), lambda t: torch.full_like(t, 1.0)),
    "Clip of nothing": (clip(), lambda t: t),
    "Identity": (identity(), lambda t: t),
}


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_it_is_the_operator(case):
    enclosure, function = case
    assert enclosure.exact
    assert torch.equal(enclosure.lower(POINTS), function(POINTS))


def test_slopes_per_channel():
    slopes = torch.tensor([0.25, -0.5, 0.0])
    x = torch.randn(2, 3, 4, 4)
    found = hinge(slopes[:, None, None]).lower(x)
    assert torch.equal(found, torch.nn.functional.prelu(x, slopes))


def test_equal_and_infinite_knots_leave_pieces_out():
    function = exactly(
        Piecewise(
            knots=(-math.inf, 0.0, 0.0, math.inf),
            slopes=(9.0, 0.0, 9.0, 1.0, 9.0),
            intercepts=(9.0, 0.0, 9.0, 0.0, 9.0),
        )
    )
    assert torch.equal(function.lower(POINTS), torch.relu(POINTS))


@given(
    alpha=st.floats(-50, 50).filter(lambda a: a == 0 or abs(a) > 1e-6),
    beta=st.floats(-50, 50),
    near=st.sampled_from([0, 1]),
    steps=st.integers(-3, 3),
)
def test_hard_sigmoids_lie_between_theirs(alpha, beta, near, steps):
    """In rational arithmetic, at floats around both knots."""
    enclosure = hard_sigmoid(alpha, beta)
    t = enclosure.lower.knots[near] if enclosure.lower.knots else float(near)
    for _ in range(abs(steps)):
        t = math.nextafter(t, math.copysign(math.inf, steps))
    exact = min(max(Fraction(alpha) * Fraction(t) + Fraction(beta), Fraction(0)), Fraction(1))
    below, above = (exact_values(side, t) for side in (enclosure.lower, enclosure.upper))
    assert max(below) <= exact <= min(above)
    assert min(above) - max(below) <= 1e-13

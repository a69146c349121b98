"""Piecewise linear functions, against onnxruntime's operators and exact rationals."""

from __future__ import annotations

import math

import pytest
import torch

from convsv_cli.local.pieces import Piecewise, absolute, clip, exactly, hinge, identity, relu

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

"""Envelopes of smooth activations, and what they are looked up from, against mpmath."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.scalar.operators import expressed
from convsv_cli.local import envelopes
from convsv_cli.local.curvature import curvatures, kinks
from convsv_cli.local.envelopes import envelope
from convsv_cli.local.tabulated import tabulated
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Intervals
from tests.support.piecewise import exact_values

DIGITS = 60


def operator(op: str, **attributes: object) -> Expression:
    return expressed(Node(op=op, name="f", inputs=("x",), outputs=("y",), attributes=attributes), [X])


SMOOTH = {
    "Sigmoid": operator("Sigmoid"),
    "Tanh": operator("Tanh"),
    "Gelu": operator("Gelu"),
    "Gelu, tanh": operator("Gelu", approximate="tanh"),
    "Swish": operator("Swish"),
    "Swish of 1.702 x": operator("Swish", alpha=1.702),
    "Softplus": operator("Softplus"),
    "Elu": operator("Elu"),
    "Elu, steep": operator("Elu", alpha=2.5),
    "Elu, falling": operator("Elu", alpha=-0.5),
    "Selu": operator("Selu"),
    "Celu": operator("Celu", alpha=0.3),
    "Erf": operator("Erf"),
    "HardSwish": operator("HardSwish"),
    "Mish": operator("Mish"),
    "Softsign": operator("Softsign"),
    "a kink off the grid": (X * 3.0 + 0.1).apply("Clip", 0.0, math.inf) * X,
    "a kink that is not found": X.apply("Pow", 3.0).apply("LeakyRelu", 0.5, 1.0),
}
STEEPER_AND_STEEPER = ("a kink off the grid", "a kink that is not found")
EACH = pytest.mark.parametrize("name", SMOOTH)
PRIMITIVES = {
    "Sigmoid": lambda u: 1 / (1 + mpmath.exp(-u)),
    "Softplus": lambda u: mpmath.log1p(mpmath.exp(u)),
    "Softsign": lambda u: u / (1 + abs(u)),
    "Reciprocal": lambda u: 1 / u,
    "Tanh": mpmath.tanh,
    "Erf": mpmath.erf,
    "Pow": lambda u, p: u**p,
    "LeakyRelu": lambda u, left, right: left * u if u < 0 else right * u,
    "Clip": lambda u, low, high: min(max(u, mpmath.mpf(low)), mpmath.mpf(high)),
    "Elu": lambda u, alpha: u if u > 0 else alpha * mpmath.expm1(u),
}


def evaluated(part: Expression, x: mpmath.mpf) -> mpmath.mpf:
    if part.op == "x":
        return x
    if part.constant:
        return mpmath.mpf(part.numbers[0])
    operands = [evaluated(operand, x) for operand in part.operands]
    if part.op in ("Add", "Mul"):
        return operands[0] + operands[1] if part.op == "Add" else operands[0] * operands[1]
    return PRIMITIVES[part.op](operands[0], *part.numbers)


def boxes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Wide, narrow, without width, without end, at kinks."""
    draw = np.random.default_rng(0)
    ends = draw.standard_normal((count, 2)) * 10.0 ** draw.integers(-3, 2, (count, 1))
    ends[::4, 1] = ends[::4, 0] + 10.0 ** -draw.integers(1, 12, len(ends[::4]))
    ends[1::8, 1] = ends[1::8, 0]
    ends[2::16] = (-3.0, 0.0)
    ends[3::16, 0], ends[3::16, 1] = -np.inf, np.abs(ends[3::16, 1])
    ends[5::16, 1] = np.inf
    ends[6::32] = (-np.inf, np.inf)
    ends[7::32] = (-1e7, 1e7)
    ends.sort(1)
    return tuple(torch.from_numpy(end[:, None]) for end in ends.T.copy())


def points(lower: float, upper: float, knots: list[float], draw: np.random.Generator) -> list[float]:
    """The ends of a box, those of pieces, and some in between."""
    low, high = max(lower, -60.0), min(upper, 60.0)
    low, high = min(low, high), max(low, high)
    inside = [knot for knot in knots if lower <= knot <= upper]
    far = [end for end in (lower, upper) if math.isfinite(end)]
    return [*far, *inside, *(low + (high - low) * draw.uniform(size=12)).clip(lower, upper)]


def check(name: str, count: int, pieces: int) -> None:
    lower, upper = boxes(count)
    if name in STEEPER_AND_STEEPER:
        lower, upper = lower.clamp(min=-1e5), upper.clamp(max=1e5)
    found = envelope(SMOOTH[name], lower, upper, pieces)
    draw = np.random.default_rng(1)
    with mpmath.workdps(DIGITS):
        for i in range(count):
            knots = [float(knot[i]) for knot in found.lower.knots]
            for t in points(float(lower[i]), float(upper[i]), knots, draw):
                value = evaluated(SMOOTH[name], mpmath.mpf(t))
                below, above = (exact_values(side, t, i) for side in (found.lower, found.upper))
                assert as_mpf(max(below)) <= value + mpmath.mpf(10) ** -50, (i, t)
                assert as_mpf(min(above)) >= value - mpmath.mpf(10) ** -50, (i, t)


def as_mpf(fraction: Fraction) -> mpmath.mpf:
    return mpmath.mpf(fraction.numerator) / fraction.denominator


@EACH
@pytest.mark.parametrize("pieces", [2, 5])
def test_the_function_is_in_between(name, pieces):
    check(name, 96, pieces)


def gap(name: str, lower: float, upper: float, pieces: int) -> float:
    """The largest on 1,000 points."""
    ends = (torch.tensor([x], dtype=torch.float64) for x in (lower, upper))
    found = envelope(SMOOTH[name], *ends, pieces)
    t = torch.linspace(lower, upper, 1001, dtype=torch.float64)
    return float((found.upper(t) - found.lower(t)).max())


@EACH
def test_gaps_close_with_the_square_of_the_pieces(name):
    if SMOOTH[name] is SMOOTH["a kink that is not found"]:
        assert gap(name, -4, 4, 32) < gap(name, -4, 4, 8) / 3  # by slopes alone
    else:
        assert gap(name, -4, 4, 32) < gap(name, -4, 4, 8) / 10


@EACH
def test_a_narrow_box_has_a_narrow_gap(name):
    assert gap(name, 0.4, 0.4001, 2) < 1e-4


@pytest.mark.parametrize("name", ["Softplus", "Elu", "Softsign", "HardSwish"])
def test_a_convex_piece_has_its_chord_and_a_tangent(name):
    """h^2 f'' / 8 is what the best two parallels leave."""
    ends = (torch.tensor([x], dtype=torch.float64) for x in (-1.0, -0.5))
    found = envelope(SMOOTH[name], *ends, pieces=2)
    with mpmath.workdps(DIGITS):
        for t in (-1.0, float(found.upper.knots[0]), -0.5):
            value = evaluated(SMOOTH[name], mpmath.mpf(t))
            assert as_mpf(min(exact_values(found.upper, t))) - value < 1e-12
    assert gap(name, -1.0, -0.5, 2) <= 0.25**2 / 8 * 1.2 * max_curvature(name)


def max_curvature(name: str) -> float:
    box = Intervals(np.linspace(-1, -0.51, 50), np.linspace(-0.99, -0.5, 50))
    return float(curvatures(SMOOTH[name], box).upper.max())


@EACH
def test_second_derivatives_are_enclosed(name):
    if kinks(SMOOTH[name]) is None:
        return
    draw = np.random.default_rng(2)
    lower = draw.standard_normal(60) * 10.0 ** draw.integers(-2, 2, 60)
    upper = lower + 10.0 ** -draw.integers(0, 5, 60)
    bent = [kink.at for kink in kinks(SMOOTH[name])] + [0.0]
    found = curvatures(SMOOTH[name], Intervals(lower, upper))
    with mpmath.workdps(DIGITS):
        for i, t in enumerate(lower + (upper - lower) * draw.uniform(0.1, 0.9, 60)):
            if min(abs(t - k) for k in bent) > 1e-6:
                second = mpmath.diff(lambda x: evaluated(SMOOTH[name], x), mpmath.mpf(t), 2, h=1e-15)
                assert found.lower[i] - 1e-9 <= second <= found.upper[i] + 1e-9


def test_kinks():
    assert kinks(SMOOTH["Sigmoid"]) == kinks(SMOOTH["Elu"]) == ()
    assert [kink.at for kink in kinks(SMOOTH["HardSwish"])] == [-3.0, 3.0]
    assert [kink.at for kink in kinks(SMOOTH["Selu"])] == [0.0]
    (kink,) = kinks(SMOOTH["a kink off the grid"])
    assert abs(Fraction(kink.at) * 3 + Fraction(0.1)) <= 3 * Fraction(kink.off)
    assert kink.off < 1e-12
    assert kinks(SMOOTH["a kink that is not found"]) is None


def test_what_is_not_known_has_no_envelope():
    box = torch.tensor([-1.0]), torch.tensor([1.0])
    with pytest.raises(UnboundedError, match="not known how large"):
        envelope(X.apply("Reciprocal"), *box)
    with pytest.raises(UnboundedError, match="not known how large"):
        envelope(X * X, box[0], torch.tensor([math.inf]))


def test_hulls_are_those_of_all_cells():
    table = tabulated(SMOOTH["Gelu"])
    draw = np.random.default_rng(3)
    ends = np.sort(draw.integers(0, len(table.points), (200, 2)), axis=1)
    found = table.slopes.between(*ends.T)
    for (first, last), lower, upper in zip(ends, found.lower, found.upper, strict=True):
        cells = slice(first, max(last, first + 1))
        if first < len(table.points) - 1:
            assert lower == table.slopes.lower[0, cells].min()
            assert upper == table.slopes.upper[0, cells].max()


@pytest.mark.parametrize("planted", ["curvatures", "slopes", "values"])
def test_planted_errors_are_noticed(planted, monkeypatch):
    """A derivative that is taken to be 0 over half of the cells, and values that are a little off."""

    def broken(expression: Expression):
        table = tabulated(expression)
        old = getattr(table, planted)
        lower, upper = old.lower.copy(), old.upper.copy()
        if planted == "values":
            lower, upper = lower + 1e-9, upper + 1e-9
        else:
            lower[:] = upper[:] = (lower + upper) / 2 if planted == "slopes" else 0.0
        return replace(table, **{planted: replace(old, lower=lower, upper=upper)})

    monkeypatch.setattr(envelopes, "tabulated", broken)
    with pytest.raises(AssertionError):
        check("Tanh", 96, 4)

"""Functions of one number in other words: the same functions, with bounds that they lack as written."""

from __future__ import annotations

import math
import random

import mpmath
import pytest

from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.rewriting import clipped, product, pushed, quotient
from convsv_cli.lipschitz.scalar.steepness import steepness
from tests.support.scalar_values import evaluated

POINTS = (-30.0, -3.7, -1.0, -0.2, 0.0, 0.3, 1.0, 2.9, 40.0)
UP, DOWN = X.apply("Exp"), (X * -1.0).apply("Exp")
POWERS = UP * (UP + 2.0)
TANH = quotient(UP + DOWN * -1.0, UP + DOWN)


def exponentials(generator: random.Random, exponents: list[float], *, positive: bool) -> Expression:
    """A sum of these."""
    whole = number(0.0)
    for a in exponents:
        c = float(generator.choice([0.5, 1.0, 2.0, 3.0] if positive else [-2.0, -0.5, 0.0, 1.0, 3.0]))
        whole = whole + (X * a).apply("Exp") * c
    return whole


def same(found: Expression, expected: Expression) -> None:
    with mpmath.workdps(40):
        for x in POINTS:
            a, b = (evaluated(each, mpmath.mpf(x)) for each in (found, expected))
            assert abs(a - b) <= 1e-13 * max(1, abs(b)), x


def drawn(seed: int, *counts: int) -> tuple[Expression, Expression]:
    """Two sums of exponentials with the same exponents, the second one of positive terms."""
    generator = random.Random(seed)
    exponents = generator.sample([-2.0, -1.0, 0.5, 1.0, 3.0], generator.choice(counts))
    return (
        exponentials(generator, exponents, positive=False),
        exponentials(generator, exponents, positive=True),
    )


@pytest.mark.parametrize("seed", range(40))
def test_quotients_of_exponentials_are_what_they_were(seed: int) -> None:
    above, below = drawn(seed, 2, 3, 4)
    same(quotient(above, below), above / below)
    same(product(below.apply("Reciprocal"), X * above), X * above / below)


@pytest.mark.parametrize("seed", range(6))
def test_quotients_of_exponentials_have_a_slope(seed: int) -> None:
    above, below = drawn(seed, 2)
    found = quotient(above, below)
    slopes = [float(mpmath.diff(lambda x: evaluated(found, x), x)) for x in POINTS[1:-1]]
    assert max(map(abs, slopes)) <= steepness(found) * (1 + 1e-6) < math.inf


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (TANH, 1.0),
        (quotient(number(1.0) + (X * -2.0).apply("Exp") * -1.0, number(1.0) + (X * -2.0).apply("Exp")), 1.0),
        (X * quotient(POWERS, POWERS + 2.0), 1.0884981612),
        (quotient(X * POWERS, POWERS + 2.0), 1.0884981612),
        (X.apply("LeakyRelu", 0.0, 1.0) + clipped((UP + -1.0) * 1.7, -math.inf, 0.0), 1.7),
        (X.apply("LeakyRelu", 0.0, 1.0) + clipped(UP * 0.3 + -0.3, -1.0, 0.0), 1.0),
        (X + clipped((X * 2.0).apply("Tanh") * -0.5, 0.0, math.inf), 1.0),
    ],
)
def test_their_steepness_is_that_of_the_function(function: Expression, expected: float) -> None:
    assert steepness(function) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("above", "below"),
    [
        (UP + DOWN, UP + DOWN * -1.0),  # has a pole
        (UP + DOWN, UP + (X * -2.0).apply("Exp")),  # grows as e^x where x is negative
        (UP + (X * X).apply("Exp"), UP + DOWN),  # likewise, of another function
        (number(2.0), UP + -1.0),
    ],
)
def test_others_have_none(above: Expression, below: Expression) -> None:
    assert quotient(above, below) == above / below
    assert steepness(above / below) == math.inf


@pytest.mark.parametrize(
    ("function", "lower", "upper"),
    [
        ((UP + -1.0) * -3.0, 0.0, math.inf),
        ((UP + -1.0) * 3.0, -math.inf, 0.0),
        (X.apply("Sigmoid") * 4.0 + -2.0, -math.inf, 0.0),
        ((X * 2.0 + -1.0).apply("Erf") + 0.25, 0.25, 1.25),
        (number(2.0) + X.apply("Tanh") * -1.0, 1.0, 2.0),
    ],
)
def test_limits_of_increasing_functions_are_those_of_what_they_are_of(
    function: Expression, lower: float, upper: float
) -> None:
    found = pushed(function, lower, upper)
    assert found is not None
    same(found, function.apply("Clip", lower, upper))


@pytest.mark.parametrize(
    ("function", "lower", "upper"),
    [
        (UP * 2.0 + -1.0, -math.inf, 0.0),  # its kink is at log(1/2)
        (UP + -0.3, -math.inf, 0.7),  # the nearest double to 0.7 and that to 0.3 do not add up to 1
        (X.apply("Cosh"), 1.0, math.inf),  # not increasing
        (UP * 0.0, 0.0, 1.0),
        (UP, 1.0, 0.5),
    ],
)
def test_others_are_not(function: Expression, lower: float, upper: float) -> None:
    assert pushed(function, lower, upper) is None
    assert clipped(function, lower, upper) == function.apply("Clip", lower, upper)


def test_kinks_that_do_not_cancel_count() -> None:
    assert steepness(X.apply("LeakyRelu", 0.0, 1.0) + clipped(UP * 0.5 + -1.0, -math.inf, 0.0)) >= 2 - 1e-6

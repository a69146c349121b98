"""Slopes of functions of one number, against mpmath and dense sampling."""

from __future__ import annotations

import math
import random

import mpmath
import numpy as np
import pytest

from convsv_cli.lipschitz.scalar.expressions import Expression, X, jet
from convsv_cli.lipschitz.scalar.operators import STEEPEST
from convsv_cli.lipschitz.scalar.primitives import PRIMITIVES, primitive
from convsv_cli.lipschitz.scalar.steepness import steepness, values
from convsv_cli.numerics.intervals import ANYTHING, Intervals, Range
from tests.support.sampling import one_in
from tests.support.scalar_values import evaluated, function

DIGITS = 400
NUMBERS = {
    "Pow": [(2.0,), (3.0,), (0.5,), (1.5,), (-0.5,)],
    "LeakyRelu": [(0.0, 1.0), (-1.0, 1.0), (-0.3, 1.0)],
    "Clip": [(-1.0, 2.0), (-math.inf, 1.0), (0.5, math.inf), (-math.inf, math.inf), (2.0, 1.0)],
    "Elu": [(1.0,), (1.7,), (-0.4,)],
    "Hypot": [(1.0,), (1e-5,), (40.0,)],
    "ClippedLength": [(1e-6, math.inf), (0.0, 3.0), (0.2, 7.0)],
}
CASES = [(op, numbers) for op in PRIMITIVES for numbers in NUMBERS.get(op, [()])]
DOMAINS = {
    "Log": (0, math.inf),
    "Acosh": (1, math.inf),
    **dict.fromkeys(("Asin", "Acos", "Atanh"), (-1, 1)),
    "Tan": (-1.5, 1.5),
}
RELU = X.apply("LeakyRelu", 0.0, 1.0)
SILU, ROOT_2_PI = X * X.apply("Sigmoid"), math.sqrt(2 / math.pi)
GELUS = {
    "Gelu none": X * 0.5 * ((X / math.sqrt(2)).apply("Erf") + 1),
    "Gelu tanh": X * 0.5 * (((X + X.apply("Pow", 3.0) * 0.044715) * ROOT_2_PI).apply("Tanh") + 1),
}
TABLE = {
    **GELUS,
    "Sigmoid": X.apply("Sigmoid"),
    "Erf": X.apply("Erf"),
    "Swish": SILU,
    "Mish": X * X.apply("Softplus").apply("Tanh"),
    "HardSwish": X * (X + 3).apply("Clip", 0.0, 6.0) / 6,
}
SUPREMA = {
    "silu of 1.702 x": (X * (X * 1.702).apply("Sigmoid"), 1.0998393194),
    "gelu, factored": (
        X * (((X * (X * X * 0.044715 + 1)) * ROOT_2_PI).apply("Tanh") + 1) * 0.5,
        1.1289930696,
    ),
    "mish, taken apart": (X * (X.apply("Exp") + 1).apply("Log").apply("Tanh"), 1.0884981612),
    "silu, taken apart": (X / ((X * -1.0).apply("Exp") + 1), 1.0998393194),
    "silu of an affine function": ((X * 2 + 1) * (X * 2 + 1).apply("Sigmoid"), 2.1996786388),
    "hardswish": (X * (X * (1 / 6) + 0.5).apply("Clip", 0.0, 1.0), 1.5),
    "relu times sigmoid": (X.apply("LeakyRelu", 0.0, 1.0) * X.apply("Sigmoid"), 1.0998393194),
    "charbonnier": ((X * X * 2 + 0.5).apply("Pow", 0.5), math.sqrt(2)),
    "absolute value": ((X * X).apply("Pow", 0.5), 1.0),
    "softplus without overflow": (
        RELU + ((X.apply("LeakyRelu", -1.0, 1.0) * -1.0).apply("Exp") + 1).apply("Log"),
        1.0,
    ),
    "elu by clip": (RELU + (X.apply("Clip", -math.inf, 0.0).apply("Exp") + -1.0), 1.0),
    "leaky relu by two": (RELU + (X * -1.0).apply("LeakyRelu", 0.0, 1.0) * -0.2, 1.0),
    "snake": (X + X.apply("Sin") * X.apply("Sin"), 2.0),
    "sigmoid as a ratio": (X.apply("Exp") / (X.apply("Exp") + 1), 0.25),
    "log of a sigmoid": (X.apply("Sigmoid").apply("Log"), 1.0),
    "gauss": ((X * X * -1.0).apply("Exp"), math.sqrt(2 / math.e)),
    "two branches that cancel": (X + X.apply("LeakyRelu", 0.0, 1.0) * -1.0, 1.0),
}


def slope(expression: Expression, x: float, digits: int = DIGITS) -> mpmath.mpf:
    """The central difference, to a quarter of the digits where the function is not tiny."""
    with mpmath.workdps(digits):
        step = mpmath.mpf(10) ** -(digits // 4) * max(1, abs(x))
        ends = [evaluated(expression, mpmath.mpf(x) + sign * step) for sign in (-1, 1)]
        return (ends[1] - ends[0]) / (2 * step)


def random_interval(generator: random.Random, low: float, high: float) -> tuple[float, float]:
    choices = [
        low,
        high,
        *(max(low, min(high, generator.gauss(0, 10.0 ** generator.randint(-2, 2)))) for _ in "abc"),
    ]
    first, second = sorted(generator.sample(choices, 2))
    return (first, second) if first < second else random_interval(generator, low, high)


def sample(generator: random.Random, low: float, high: float) -> float:
    """Inside, off the kinks of the tests."""
    low, high = max(low, -300.0), min(high, 300.0)
    if low >= high:
        return low if low > 0 else high
    return low + (high - low) * min(max(generator.betavariate(0.3, 0.3), 1e-9), 1 - 1e-9)


def holds(box: Intervals, i: int, value: mpmath.mpf) -> bool:
    """But for the oracle's own error."""
    with mpmath.workdps(DIGITS):
        slack = abs(value) * mpmath.mpf(10) ** -40
        return bool(box.lower[i] - slack <= value <= box.upper[i] + slack)


@pytest.mark.parametrize(("op", "numbers"), CASES)
def test_primitives_hold_their_values(op, numbers):
    generator = random.Random(op + str(numbers))
    low, high = DOMAINS.get(op, (0, math.inf) if op == "Pow" and numbers[0] % 1 else (-math.inf, math.inf))
    boxes = [random_interval(generator, low, high) for _ in range(40)]
    u = Intervals(*(np.array(ends) for ends in zip(*boxes, strict=True)))
    enclosures = primitive(op, *numbers)
    with np.errstate(all="ignore"):
        value, steep = enclosures.value(u), enclosures.slope(u)
        others = (enclosures.product, enclosures.elasticity, enclosures.ratio)
        parts = [None if enclosure is None else enclosure(u) for enclosure in others]
    for i, box in enumerate(boxes):
        for _ in range(4):
            point = sample(generator, *box)
            with mpmath.workdps(DIGITS):
                f = function(op, numbers, mpmath.mpf(point))
                d = slope(X.apply(op, *numbers), point)
                exact = [point * d, point * d / f if f else None, f / point if point else None]
            assert holds(value, i, f), (box, point)
            assert holds(steep, i, d), (box, point)
            for part, number in zip(parts, exact, strict=True):
                assert part is None or number is None or holds(part, i, number), (box, point)


def test_known_kinks_hold_both_slopes():
    for op, numbers, kink, slopes in (
        ("LeakyRelu", (-0.3, 1.0), 0.0, (-0.3, 1.0)),
        ("Clip", (-1.0, 2.0), 2.0, (0.0, 1.0)),
        ("Elu", (1.7,), 0.0, (1.0, 1.7)),
        ("ClippedLength", (0.2, 7.0), -math.sqrt(0.2), (-1.0, 0.0)),
        ("ClippedLength", (0.2, 7.0), math.sqrt(7.0), (0.0, 1.0)),
    ):
        for box in ((kink - 1e-9, kink + 1), (kink - 1, math.nextafter(kink, math.inf)), (kink, kink)):
            found = primitive(op, *numbers).slope(Intervals(*(np.array([end]) for end in box)))
            assert found.lower[0] <= slopes[0]
            assert found.upper[0] >= slopes[1]


def test_slopes_next_to_a_kink_are_those_of_one_side():
    """Almost everywhere in an interval is all that counts."""
    slope = primitive("LeakyRelu", -0.3, 1.0).slope
    found = slope(Intervals(np.array([0.0, -1.0]), np.array([1.0, 0.0])))
    assert found.lower.tolist() == found.upper.tolist() == [1.0, -0.3]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_right(name):
    points = np.linspace(-8, 8, 801)
    start = max(points, key=lambda x: abs(slope(TABLE[name], x, 80)))
    finer = [*(start + np.linspace(-0.02, 0.02, 801)), 3 - 1e-10]
    brute = max(abs(slope(TABLE[name], x, 80)) for x in finer)
    assert brute <= STEEPEST[name] <= brute * (1 + 1e-9) + 1e-9
    assert STEEPEST[name] <= steepness(TABLE[name]) * (1 + 1e-8)
    assert brute <= steepness(TABLE[name]) <= STEEPEST[name] * (1 + 2e-6)


@pytest.mark.parametrize("name", SUPREMA)
def test_suprema_on_the_whole_line(name):
    expression, expected = SUPREMA[name]
    assert steepness(expression) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("op", ["Exp", "Log", "Reciprocal", "Sinh", "Tan", "Asin", "Acosh"])
def test_slopes_without_a_bound(op):
    assert steepness(X.apply(op)) == math.inf


def random_expression(generator: random.Random, depth: int) -> Expression:
    if depth == 0:
        return X
    kind = generator.random()
    inner = random_expression(generator, depth - 1)
    if kind < 0.2:
        return inner * generator.uniform(-2, 2) + generator.uniform(-2, 2)
    if kind < 0.6:
        op, numbers = generator.choice(
            [case for case in CASES if case[0] not in DOMAINS and case[0] != "Pow"]
        )
        return inner.apply(op, *numbers)
    other = random_expression(generator, generator.randrange(depth))
    return inner * other if kind < 0.85 else inner + other


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions_hold_their_values_and_slopes(seed):
    generator = random.Random(seed)
    expression = random_expression(generator, 4)
    boxes = [random_interval(generator, -math.inf, math.inf) for _ in range(10)]
    found = jet(expression, Intervals(*(np.array(ends) for ends in zip(*boxes, strict=True))))
    for i, box in enumerate(boxes):
        for _ in range(2):
            point = sample(generator, *box)
            try:
                with mpmath.workdps(DIGITS):
                    value, steep = evaluated(expression, mpmath.mpf(point)), slope(expression, point)
            except (ZeroDivisionError, OverflowError):
                continue
            if abs(value) > 1e250 or abs(steep) > 1e250:
                continue
            assert holds(found.value, i, value), (expression, box, point)
            assert holds(found.slope, i, steep), (expression, box, point)
            assert holds(found.product, i, point * steep), (expression, box, point)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["Swish", "Mish", "Gelu none", "HardSwish"])
def test_ranges_make_slopes_smaller_and_stay_sound(name, seed):
    generator = random.Random(seed)
    low, high = sorted(generator.uniform(-6, 6) for _ in range(2))
    over = Range(lower=low, upper=high)
    points = np.linspace(low, high, 151)
    found, inside = steepness(TABLE[name], over), values(TABLE[name], over)
    slopes = [abs(slope(TABLE[name], x, 80)) for x in points[1:-1]]
    taken = [evaluated(TABLE[name], mpmath.mpf(x)) for x in points]
    assert max(slopes) <= found <= steepness(TABLE[name], ANYTHING)
    most_curved = 1.5
    assert found <= max(slopes) * (1 + 1e-5) + most_curved * (high - low) / 150
    assert inside.lower <= min(taken) <= max(taken) <= inside.upper
    assert (
        inside.upper - inside.lower <= (max(taken) - min(taken)) + 2e-3 * float(max(map(abs, taken))) + 1e-3
    )


@pytest.mark.parametrize("seed", one_in(2, range(120)))
def test_random_expressions_stay_in_their_range_and_below_their_steepness(seed):
    generator = random.Random(1000 + seed)
    expression = random_expression(generator, 3)
    over = Range(
        **dict(zip(("lower", "upper"), random_interval(generator, -math.inf, math.inf), strict=True))
    )
    inside, steepest = values(expression, over), steepness(expression, over)
    for _ in range(6):
        point = sample(generator, over.lower, over.upper)
        try:
            with mpmath.workdps(DIGITS):
                value, steep = evaluated(expression, mpmath.mpf(point)), slope(expression, point)
        except (ZeroDivisionError, OverflowError):
            continue
        assert inside.lower <= value <= inside.upper, (expression, over, point)
        assert abs(steep) <= steepest, (expression, over, point)


def test_the_range_of_a_rising_function_is_that_of_its_ends():
    tower = X
    for _ in range(8):
        tower = tower.apply("Tanh")
    for expression in (tower, tower + X * 0.5, X * X.apply("LeakyRelu", 0.0, 1.0)):
        found = values(expression, Range(lower=-3.0, upper=2.0))
        ends = [float(evaluated(expression, mpmath.mpf(x))) for x in (-3.0, 2.0)]
        assert [found.lower, found.upper] == pytest.approx(ends, rel=1e-9, abs=1e-9)

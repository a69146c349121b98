"""Two inputs of a model, near or far: a difference quotient that nothing bounds, or one above a bound."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, permutations

import numpy as np

from tests.support.backend_functions import Function, Values

MAGNITUDES = (1e-160, 1e-16, 1e-8, 1e-4, 0.1, 1.0, 1.0, 1.0, 4.0, 30.0, 1e2, 1e4, 1e8)
STEEP = 1e6
"""A difference quotient that shows that a function of small constants has no Lipschitz constant."""
HALVINGS, HYPOT = 60, 1000
SEEN = {True: 1e-7, False: 1e-3}
"""How far apart results are, over their size, that rounding in float64, or in less, does not explain."""
ROUNDING = 1e-13
"""What differences of numbers near 1, which results may be, are rounded by."""


@dataclass(frozen=True, kw_only=True)
class Steep:
    """Two inputs and how much farther apart what they give is; infinite where the sizes of outputs differ."""

    first: Values
    second: Values
    quotient: float


def steepest(function: Function, *, seed: int = 0, trials: int = 120, seconds: float = 1.0) -> Steep | None:
    """Two inputs with a quotient above `STEEP` that no rounding explains, as far as some are found.

    The half of a segment along which more happens is steeper than the whole: so jumps, poles and infinite
    slopes are found by bisection, and what grows without a bound at large inputs.
    """
    random, end = np.random.default_rng(seed), time.monotonic() + seconds
    for a, b in chain(_scaled(function, random), _drawn_pairs(function, random, trials)):
        if time.monotonic() > end:
            break
        found = _bisected(function, a, b)
        if found is not None:
            return found
    return None


def _drawn_pairs(
    function: Function, random: np.random.Generator, trials: int
) -> Iterator[tuple[Values, Values]]:
    for _ in range(trials):
        a = function.snapped(drawn(function, random))
        yield a, function.snapped(_moved(function, a, random))


def _scaled(function: Function, random: np.random.Generator) -> Iterator[tuple[Values, Values]]:
    """One of the inputs is made large, or all are, and one of them moves: products of two show."""
    ends = np.cumsum([0, *function.sizes])
    parts = [slice(*pair) for pair in pairwise(ends)]
    for large in () if function.sized else (*parts, slice(None)):
        for moving in parts:
            a = function.base.copy()
            a[large] *= 1e8
            b = a.copy()
            b[moving] += 0.3 * random.standard_normal(len(b[moving])) * (np.abs(b[moving]) + 0.1)
            yield function.snapped(a), function.snapped(b)
    for large, small in permutations(parts, 2) if not function.sized else ():
        a = function.base.copy()
        a[large] *= 1e8
        a[small] *= 1e-8
        b = a.copy()
        b[small] *= 1 + random.standard_normal(len(b[small]))
        yield function.snapped(a), function.snapped(b)
    ones = np.ones_like(function.base)
    for a, b in ((ones, 0.5 * ones), (ones, 2 * ones), (-ones, -0.5 * ones), (0 * ones, ones)):
        yield function.snapped(a), function.snapped(b)


def drawn(function: Function, random: np.random.Generator) -> Values:
    """An input; each of those of the model has a magnitude of its own."""
    each = random.choice(MAGNITUDES[:8] if function.sized else MAGNITUDES, len(function.sizes))
    if random.random() < 0.5 and len(each):
        each[np.arange(len(each)) != random.integers(len(each))] = 1.0
    scale = np.repeat(each, function.sizes)
    if random.random() < 0.3:
        scale = scale * random.choice(MAGNITUDES[2:8], function.base.size)
    kind = random.random()
    if kind < 0.4:
        return function.base * scale
    if kind < 0.5:
        return np.sign(random.standard_normal(function.base.size)) * (1 - np.minimum(scale, 1.0) / 3)
    return random.standard_normal(function.base.size) * scale


def _moved(function: Function, x: Values, random: np.random.Generator) -> Values:
    """Another input, near or far: of one entry, or one input, or all."""
    kind = random.integers(4)
    if kind == 0:
        return drawn(function, random)
    step = np.zeros_like(x)
    if kind == 1 and len(x):
        step[random.integers(len(x))] = 1.0
    elif kind == 2 and len(function.sizes):
        chosen = random.integers(len(function.sizes))
        at = sum(function.sizes[:chosen])
        step[at : at + function.sizes[chosen]] = 1.0
    else:
        step[:] = 1.0
    return x + step * random.standard_normal(len(x)) * random.choice([1.0, 0.1]) * (
        np.abs(x) + random.choice([0.0, 1.0])
    )


def _inside(function: Function, a: Values, b: Values) -> tuple[Values, Values]:
    """From a on towards b, up to where the domain ends."""
    inside = a
    for _ in range(HALVINGS):
        middle = function.snapped(inside / 2 + b / 2)
        if function(middle) is None:
            b = middle
        else:
            inside = middle
    return a, inside


def confirmed(function: Function, steep: Steep | None) -> bool:
    """Whether two inputs of another model of the same function show as much of this one."""
    if steep is None or len(steep.first) != len(function.base):
        return False
    first, second = function(steep.first), function(steep.second)
    if first is None or second is None or np.isinf(steep.quotient):
        return False
    if first.shape != second.shape:
        return True
    apart, size = _apart(first, second)
    return apart > max(SEEN[function.precise] * size, STEEP * distance(steep.first, steep.second))


def _bisected(function: Function, a: Values, b: Values) -> Steep | None:
    """The steepest part of a segment, if it is steep."""
    at_a, at_b = function(a), function(b)
    if at_a is None or at_b is None:
        a, b = _inside(function, a, b) if at_a is not None else _inside(function, b, a)
        at_a, at_b = function(a), function(b)
    for _ in range(HALVINGS):
        if at_a is None or at_b is None or np.array_equal(a, b):
            return None
        if at_a.shape != at_b.shape:
            return Steep(first=a, second=b, quotient=np.inf)
        moved, (apart, size) = distance(a, b), _apart(at_a, at_b)
        if not np.isfinite([apart, moved]).all() or apart <= SEEN[function.precise] * size:
            return None
        if apart > STEEP * moved:
            return Steep(first=a, second=b, quotient=apart / moved if moved else np.inf)
        middle = function.snapped(a / 2 + b / 2)
        at = function(middle)
        if at is None:
            return None
        if at.shape != at_a.shape or _apart(at, at_a)[0] >= _apart(at, at_b)[0]:
            b, at_b = middle, at
        else:
            a, at_a = middle, at
    return None


def distance(a: Values, b: Values) -> float:
    """Euclidean, without underflow or overflow of squares."""
    return math.hypot(*(a - b)) if len(a) < HYPOT else float(np.linalg.norm(a - b))


def _apart(a: Values, b: Values) -> tuple[float, float]:
    """How far apart two results are, and how large they are; equal infinities do not count."""
    with np.errstate(all="ignore"):
        finite = ~(np.isinf(a) & (a == b))
        a, b = a[finite], b[finite]
        return float(np.linalg.norm(a - b)), float(np.linalg.norm(a) + np.linalg.norm(b))


def exceeded(
    function: Function, bound: float, *, points: int, seconds: float, seed: int = 0
) -> tuple[int, float]:
    """How many pairs were looked at, and the largest quotient of one over the bound.

    Inputs of several magnitudes, and others near to each; every two of them are a pair. What rounding may do
    to results is taken off.

    Args:
        function: of which the bound is.
        bound: of its Lipschitz constant.
        points: how many inputs.
        seconds: after which no more are drawn.
        seed: of the inputs.
    """
    random, end = np.random.default_rng(seed), time.monotonic() + seconds
    found: list[tuple[Values, Values]] = []
    while len(found) < points and time.monotonic() < end:
        a = function.snapped(drawn(function, random))
        near = function.snapped(a + random.standard_normal(len(a)) * random.choice([1e-6, 1e-3, 0.1, 1.0]))
        found += [(x, y) for x in (a, near) if (y := function(x)) is not None and np.isfinite(y).all()]
    if not found:
        return 0, 0.0
    pairs, largest = 0, 0.0
    size = max(np.shape(y) for _, y in found)
    same = [(x, y) for x, y in found if y.shape == size]
    inputs, outputs = (np.stack(each) for each in zip(*same, strict=True))
    lengths = np.linalg.norm(outputs, axis=1)
    slack = 1e-9 if function.precise else 1e-4
    for i in range(1, len(inputs)):
        with np.errstate(all="ignore"):
            moved = np.linalg.norm(inputs[:i] - inputs[i], axis=1)
            rounded = slack * (lengths[:i] + lengths[i]) + ROUNDING
            apart = np.linalg.norm(outputs[:i] - outputs[i], axis=1) - rounded
            allowed = np.maximum(bound * moved, 1e-120)
            largest = max(largest, float(np.nanmax(np.where(moved > 0, apart / allowed, 0.0))))
        pairs += i
    return pairs, largest

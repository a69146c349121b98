"""The margins for rounding, against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.numerics.rounding import (
    gamma,
    margin,
    root,
    root_of_squares,
    round_down,
    round_up,
    times,
    total,
    up,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.floats(min_value=0.5, max_value=2.0), min_size=2, max_size=60))
def test_margins_cover_products(factors: list[float]) -> None:
    computed, roundings = math.prod(factors), len(factors) - 1
    truth = math.prod(map(Fraction, factors))
    assert Fraction(computed * up(roundings)) >= truth >= Fraction(computed * (1 - margin(roundings)))
    assert abs(Fraction(computed) - truth) <= Fraction(gamma(roundings)) * truth


@pytest.mark.parametrize("roundings", [1, 2, 3, 7, 15, 255, 4095])
def test_margins_cover_roundings_that_all_go_one_way(roundings: int) -> None:
    """A unit in the last place of a number just below 2 is about one unit roundoff of it."""
    truth = computed = math.nextafter(2.0, 0.0)
    for _ in range(roundings):
        computed = math.nextafter(computed, 0.0)
    assert computed * up(roundings) > truth
    assert computed * up(roundings) / truth < 1 + 2 * margin(roundings)


def test_a_margin_is_twice_its_roundings_and_one_more() -> None:
    assert margin(3) == 2.0**-50
    assert round_up(1.0) == 1 + 2.0**-49
    assert round_down(1.0) == 1 - 2.0**-49


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(min_value=1e-3, max_value=1e3), min_size=1, max_size=40))
def test_sums_products_and_lengths_are_from_above(terms: list[float]) -> None:
    exact = [Fraction(term) for term in terms]
    assert Fraction(times(*terms)) >= math.prod(exact)
    assert Fraction(total(terms)) >= sum(exact)
    assert Fraction(root_of_squares(terms)) ** 2 >= sum(square**2 for square in exact)
    assert Fraction(root(terms[0])) ** 2 >= exact[0]

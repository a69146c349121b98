"""Numbers for people: one style, whoever writes them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli.digits import FIXED, short
from convsv_cli.renderers import verdict_text
from convsv_cli.renderers.numbers import as_written, excess, figure
from convsv_cli.report import EXCEEDED, UPPER, Gate, Interval

STYLE = re.compile(r"-?(0|[1-9]\d{0,4}|0\.0{0,2}[1-9]\d*|[1-9]\d{0,4}\.\d+|[1-9](\.\d+)?e-?[1-9]\d*)")
"""Plain between 0.001 and 99999, else one digit before the point and an exponent without plus or zeros."""


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_all_ways_to_write_a_number_are_of_one_style(value: float) -> None:
    positive = abs(value)
    for text in (
        short(value),
        short(value, 15),
        as_written(value),
        figure(positive),
        figure(positive, UPPER),
    ):
        assert STYLE.fullmatch(text), text
    assert float(as_written(value)) == value, "no digit is lost"
    assert float(short(value)) == pytest.approx(value, rel=5.1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.19e9, "4.19e9"), (1e9, "1e9"), (99999, "99999"), (100000, "1e5"), (0.001, "0.001"), (1e-4, "1e-4"),
     (1 / 3, "0.333333"), (-2.5e-7, "-2.5e-7"), (0, "0"), (math.inf, "inf"),
     (1.7976931348623157e308, "1.79769e308")],
)  # fmt: skip
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_bound_and_its_limit_look_alike() -> None:
    """Not 4190000000 beside 1e+09, or the other way round."""
    gate = Gate(node="", limit=1e9, enclosure=Interval(upper=4.19e9), outcome=EXCEEDED)
    assert verdict_text.about(gate) == "certified ≤ 4.19e9, 4.19 times its limit 1e9"
    assert (excess(1.1e9, 1e9), excess(4.19e15, 1e9)) == ("10 % above", "4.19e6 times")
    assert figure(4.19e9) == "4.190e9"
    assert set(FIXED) == {-3, -2, -1, 0, 1, 2, 3, 4}

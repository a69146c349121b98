"""Piecewise linear functions in rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from convsv_cli.local.pieces import Coefficient, Piecewise


def entry(coefficient: Coefficient, index: int) -> float:
    """That of one element, of what is one number or a tensor with one entry an element."""
    return float(coefficient.flatten()[index]) if isinstance(coefficient, torch.Tensor) else coefficient


def exact_values(function: Piecewise, t: float, index: int = 0) -> list[Fraction]:
    """Those at t of all lines whose closed pieces hold it.

    Args:
        function: of any number of elements.
        t: a point.
        index: which element.
    """
    ends = (-math.inf, *(entry(knot, index) for knot in function.knots), math.inf)
    lines = zip(ends[:-1], ends[1:], function.slopes, function.intercepts, strict=True)
    return [
        Fraction(entry(slope, index)) * Fraction(t) + Fraction(entry(intercept, index))
        for first, last, slope, intercept in lines
        if first <= t <= last
    ]

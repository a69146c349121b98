"""Slopes and values over many intervals at once, against those over one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.scalar.operators import BUILDERS, expressed
from convsv_cli.lipschitz.scalar.steepness import slopes, values
from convsv_cli.lipschitz.scalar.tables import slopes_over, values_over
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Intervals, Range


def functions() -> dict[str, Expression]:
    """Each operator that needs no further operand, as it is and moved."""
    plain = {}
    for op in sorted(BUILDERS.keys() - {"Add", "Sub", "Mul", "Div", "Pow", "PRelu", "convsv.Elementwise"}):
        attributes = {"bias": 0.5} if op == "Shrink" else {"alpha": 0.0} if op == "ThresholdedRelu" else {}
        attributes |= {"to": 1} if op == "Cast" else {}
        each = Node(op=op, name=op, inputs=("x",), outputs=("y",), attributes=attributes)
        plain[op] = expressed(each, [X])
    return plain | {f"{op} moved": each.of(X * 3.0 + 0.5) for op, each in plain.items()}


FUNCTIONS = functions()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_over_many_intervals(name: str) -> None:
    """They hold those that the branch and bound shows to be reached, and are hardly wider."""
    generator = np.random.default_rng(1)
    middle, radius = 3 * generator.standard_normal(5), np.abs(generator.standard_normal(5))
    over = Intervals(middle - radius, middle + radius)
    slope, value = slopes_over(FUNCTIONS[name], over), values_over(FUNCTIONS[name], over)
    for i, (lower, upper) in enumerate(zip(over.lower, over.upper, strict=True)):
        box = Range(lower=float(lower), upper=float(upper))
        for wide, narrow in ((slope, slopes(FUNCTIONS[name], box)), (value, values(FUNCTIONS[name], box))):
            if not narrow.finite:
                continue
            room = 1e-3 * narrow.magnitude + 1e-9
            assert wide.lower[i] <= narrow.lower + room
            assert wide.upper[i] >= narrow.upper - room
            assert wide.lower[i] >= narrow.lower - 0.03 * (1 + narrow.magnitude)
            assert wide.upper[i] <= narrow.upper + 0.03 * (1 + narrow.magnitude)


@pytest.mark.parametrize("op", ["Relu", "LeakyRelu", "Clip"])
def test_pieces_have_their_slopes_exactly(op: str) -> None:
    over = Intervals(np.array([-2.0, 0.0, -1.0, -np.inf]), np.array([0.0, 3.0, 1.0, np.inf]))
    slope = slopes_over(FUNCTIONS[op], over)
    below = {"Relu": 0.0, "LeakyRelu": float(np.float32(0.01)), "Clip": 1.0}[op]
    assert slope.lower.tolist() == [below, 1.0, below, below]
    assert slope.upper.tolist() == [below, 1.0, 1.0, 1.0]

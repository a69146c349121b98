"""RotaryEmbedding: pairs of entries, each turned by an angle of its position."""

from __future__ import annotations

import numpy as np

from convsv_cli.lipschitz.operands import require_constant
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP, UP_MANY, times


def turned(operation: Operation) -> float:
    """A pair is multiplied by [[c, -s], [s, c]], of norm sqrt(c^2 + s^2): 1 for a cosine and a sine.

    Exact where every position of the table is looked up. Entries that are not turned stay as they are.
    """
    require_constant(operation, 1, 2, 3)
    cosines, sines = (operation.input(index).value().astype(np.float64) for index in (1, 2))
    if cosines.shape != sines.shape or not np.isfinite([cosines, sines]).all():
        raise UnboundedError("its cosines and sines do not fit together")
    longest = float(np.hypot(cosines, sines).max(initial=0.0)) * UP
    rest = 1.0 if operation.attribute("rotary_embedding_dim", 0) else 0.0
    return times(max(longest, rest), operation.input(0).lipschitz)


def _range(operation: Operation) -> Range:
    """A pair is at most sqrt(2) times as long as its larger entry."""
    longest = operation.input(1).range.magnitude + operation.input(2).range.magnitude
    largest = max(1.0, longest) * operation.input(0).range.magnitude * UP_MANY
    return outward_range(-largest, largest)


RULES = {"RotaryEmbedding": Rule(lipschitz=turned, range=_range)}

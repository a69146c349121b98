"""Small pieces of text that several sections need."""

from __future__ import annotations

import math

from convsv_cli.renderers.numbers import as_written, figure
from convsv_cli.report import UPPER, NetworkBound


def times(sizes: tuple[int | str, ...]) -> str:
    """`1×3×32×32`."""
    return "×".join(map(str, sizes))


def size(sizes: tuple[int, ...]) -> str:
    """One number where all axes are alike."""
    return str(sizes[0]) if len(set(sizes)) == 1 else times(sizes)


def sort_key(value: float | None) -> str | None:
    """A number as JavaScript reads it."""
    return None if value is None else "Infinity" if math.isinf(value) else repr(value)


def bound_figure(bound: NetworkBound) -> str:
    """The network's bound, rounded up; as a power of ten where it is beyond the largest float."""
    if math.isfinite(bound.lipschitz) or bound.log10 is None:
        return figure(bound.lipschitz, UPPER)
    return f"10^{math.ceil(bound.log10 * 100) / 100:.2f}"


def among(bound: NetworkBound) -> str:
    """What the bound of the network takes the inputs to be."""
    if bound.input_range is None:
        return ""
    lower, upper = map(as_written, bound.input_range)
    return f" for inputs from {lower} to {upper}"

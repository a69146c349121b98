"""What a calculator says about a layer, and what a reader may conclude from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

ESTIMATE, UPPER, EXACT, CERTIFIED, PADDED = "estimate", "upper", "exact", "certified", "padded"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A proven enclosure `lower <= x <= upper` of a norm; one end may say nothing.

    Attributes:
        lower: 0 where nothing is proven from below.
        upper: infinite where nothing is proven from above.

    Raises:
        ValueError: the ends are in the wrong order, negative or NaN.
    """

    lower: float = 0.0
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.upper:
            raise ValueError(f"not an interval of norms: [{self.lower}, {self.upper}]")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one calculator says about one layer.

    Attributes:
        value: the figure to print.
        enclosure: what is proven about the layer's norm; None where `value` is an estimate.
        parts: the figures that `value` was chosen from, by name.
        size: the circular input size that `value` is for; None where it is for every size.
        seconds: wall time.
    """

    value: float
    enclosure: Interval | None = None
    parts: tuple[tuple[str, float], ...] = ()
    size: tuple[int, ...] | None = None
    seconds: float = 0.0

    @property
    def relative_width(self) -> float:
        """Of the enclosure, beside its upper end; 0 for a norm that is proven to be zero."""
        if self.enclosure is None or not self.enclosure.upper:
            return 0.0
        return 1 - self.enclosure.lower / self.enclosure.upper


@dataclass(frozen=True, kw_only=True)
class Method:
    """A calculator, as a reader meets it.

    Attributes:
        name: of its JSON field and its product.
        column: heading in the table; empty where it has no column there, and no product.
        kind: `ESTIMATE` (proves nothing), `UPPER` (a certified upper bound for every input size), `CERTIFIED`
            (such a bound that is nearly attained), `EXACT` or `PADDED` (enclosed from both sides at one input
            size, with circular padding or the layer's own).
        proves: what a reader may conclude from the figure, one line.
        reference: where the method is from.
        cost: as a function of the layer's and the input's size.
    """

    name: str
    column: str
    kind: str
    proves: str
    reference: str
    cost: str

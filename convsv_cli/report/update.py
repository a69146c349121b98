"""What an audit says of a row that is of an adapter's update, beside the update's norms."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report.interval import Interval

SPIKE = 0.95
"""The share of an update's squared Frobenius norm from which on one singular value is nearly all of it."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is added to a layer's weight; the row's figures are those of what is added.

    Attributes:
        kind: "LoRA", "DoRA", "LoHa", "LoKr" or "full".
        rank: of the factors; None where these are whole.
        scale: what their product is multiplied by.
        frobenius: the Frobenius norm; None where the row has no figures.
        stable_rank: |D|_F^2 / |D|^2 of the update as a matrix, c_out x (c_in prod k); None for one that is 0.
        base: name of the weight in the base that it is added to; empty without one.
        base_norm: of that weight, as the row's certified one; None where it is not known.
        share: the update's norm over that of the base's weight.
        merged: of the sum, formed in float64.
        no_base: why the three are not known, where a base was given; empty else.
    """

    kind: str
    rank: int | None = None
    scale: float = 1.0
    frobenius: Interval | None = None
    stable_rank: Interval | None = None
    base: str = ""
    base_norm: Interval | None = None
    share: Interval | None = None
    merged: Interval | None = None
    no_base: str = ""

    @property
    def is_spike(self) -> bool:
        """Whether it is proven that one singular value is nearly all of it, though its rank may be more."""
        found = self.stable_rank
        return self.rank != 1 and found is not None and found.upper * SPIKE <= 1

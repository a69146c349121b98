"""How long is searched for local bounds: more never proves less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long is searched.

    Attributes:
        steps: of the search, in rounds; after each, what is decided leaves it.
        box_steps: of the search for smaller boxes of numbers on both sides of a kink; None for none.
        halvings: of the interval that a radius is known to be in.
    """

    steps: tuple[int, ...]
    box_steps: int | None
    halvings: int


QUICK = Effort(steps=(5, 15), box_steps=None, halvings=6)
NORMAL = Effort(steps=(5, 15, 40), box_steps=4, halvings=8)
THOROUGH = Effort(steps=(5, 15, 40, 120), box_steps=20, halvings=10)
EFFORTS = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}

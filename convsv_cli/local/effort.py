"""How long is searched for local bounds: more never proves less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BoxEffort:
    """How long is searched for smaller boxes of the inputs of functions of numbers.

    Attributes:
        steps: of the search for each end.
        count: of the numbers that matter most, at each sample.
    """

    steps: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long is searched.

    Attributes:
        steps: of the search, in rounds; after each, what is decided leaves it.
        boxes: the rounds of smaller boxes.
        halvings: of the interval that a radius is known to be in.
        splits: how often parts of a ball that is not decided are cut in two.
    """

    steps: tuple[int, ...]
    boxes: tuple[BoxEffort, ...]
    halvings: int
    splits: int = 0

    def passes(self, *, radii: bool) -> int:
        """How often the search goes through a network for each sample, about.

        Args:
            radii: whether these are looked for, by bisection.
        """
        return sum(self.steps) * (self.halvings if radii else 1) + sum(boxes.steps for boxes in self.boxes)


QUICK = Effort(steps=(5, 15), boxes=(), halvings=6)
NORMAL = Effort(steps=(5, 15, 40), boxes=(BoxEffort(steps=16, count=128),), halvings=8, splits=4)
THOROUGH = Effort(
    steps=(5, 15, 40, 120),
    boxes=(*NORMAL.boxes, BoxEffort(steps=10, count=2048)),
    halvings=10,
    splits=8,
)
EFFORTS = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}

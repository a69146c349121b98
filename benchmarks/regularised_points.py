"""What a beta does, over seeds, and whether that is what the paper says of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

Outcome = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Point:
    """All runs with one beta.

    Attributes:
        accuracies: shares, one a seed.
        bounds, exacts: means over seeds, one a layer.
    """

    beta: float
    accuracies: tuple[float, ...]
    bounds: tuple[float, ...]
    exacts: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def gap(self) -> float:
        """Between the sum of bounds and the sum of exact norms."""
        return sum(self.bounds) - sum(self.exacts)

    @property
    def ratio(self) -> float:
        """Of the sum of bounds to the sum of exact norms."""
        return sum(self.bounds) / sum(self.exacts)


TRENDS: tuple[tuple[str, Callable[[Point], float]], ...] = (
    ("lowers the sum of bounds", lambda point: sum(point.bounds)),
    ("lowers the sum of exact norms", lambda point: sum(point.exacts)),
    ("lowers the gap between them", lambda point: point.gap),
    ("lowers their ratio", lambda point: point.ratio),
)
"""What is said of raising beta, and what has to fall then."""


def points(outcomes: Sequence[Outcome]) -> list[Point]:
    """One for each beta, in rising order."""
    found = []
    for beta in sorted({outcome["beta"] for outcome in outcomes}):
        same = [outcome for outcome in outcomes if outcome["beta"] == beta]
        layers = list(zip(*(outcome["layers"] for outcome in same), strict=True))
        bounds, exacts = (
            tuple(statistics.fmean(row[key] for row in rows) for rows in layers) for key in ("bound", "exact")
        )
        accuracies = tuple(outcome["accuracy"] for outcome in same)
        found.append(Point(beta=beta, accuracies=accuracies, bounds=bounds, exacts=exacts))
    return found


def noise(one: Point, other: Point) -> float | None:
    """Two standard errors of the difference of mean accuracies; None where there is one seed only."""
    if min(len(one.accuracies), len(other.accuracies)) < 2:
        return None
    errors = (statistics.variance(each.accuracies) / len(each.accuracies) for each in (one, other))
    return 2 * sqrt(sum(errors))


def verdict(outcomes: Sequence[Outcome]) -> str:
    """One sentence on whether what the paper shows holds for these runs."""
    mean = points(outcomes)
    seeds = [
        points([outcome for outcome in outcomes if outcome["seed"] == seed])
        for seed in sorted({outcome["seed"] for outcome in outcomes})
    ]
    parts = []
    for claim, figure in TRENDS:
        alone = sum(falls(each, figure) for each in seeds)
        holds = "holds" if falls(mean, figure) else "does not hold"
        parts.append(
            f"that raising beta {claim} at every step {holds} for means ({alone} of {len(seeds)} seeds alone)"
        )
    return f"On these runs, {'; '.join(parts)}; and {_accuracy_kept(mean)}."


def falls(some: Sequence[Point], figure: Callable[[Point], float]) -> bool:
    """Whether the figure is smaller at each next beta."""
    return all(figure(a) > figure(b) for a, b in pairwise(some))


def _accuracy_kept(mean: Sequence[Point]) -> str:
    """On the best beta above 0."""
    plain, *others = mean
    best = max(others, key=lambda point: point.accuracy)
    margin = noise(plain, best)
    figures = f"beta = {best.beta:g}: {best.accuracy:.2%} against {plain.accuracy:.2%} with beta = 0"
    claim = "that some beta > 0 has at least the accuracy of none within noise"
    if margin is None:
        return f"{claim} cannot be told from one seed ({figures})"
    holds = "holds" if best.accuracy >= plain.accuracy - margin else "does not hold"
    return (
        f"{claim} {holds} ({figures}; noise {margin:.2%}, two standard errors of the difference over seeds)"
    )

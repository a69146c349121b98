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
    ("lowers the gap between the sums", lambda point: point.gap),
    ("lowers the ratio of the sums", lambda point: point.ratio),
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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether a claim holds for some runs, None where they cannot tell, and by which figures."""

    claim: str
    holds: bool | None
    evidence: str

    def __str__(self) -> str:
        says = {True: "holds", False: "does not hold", None: "cannot be told"}
        return f"that {self.claim} {says[self.holds]} ({self.evidence})"


def verdict(outcomes: Sequence[Outcome]) -> str:
    """One sentence on whether what is claimed of the regulariser holds for these runs."""
    mean = points(outcomes)
    seeds = [
        points([outcome for outcome in outcomes if outcome["seed"] == seed])
        for seed in sorted({outcome["seed"] for outcome in outcomes})
    ]
    findings = [trend(claim, figure, mean, seeds) for claim, figure in TRENDS]
    findings.append(accuracy_kept(mean))
    whole = "holds" if all(finding.holds for finding in findings) else "does not all hold"
    claims = "; ".join(map(str, findings))
    return f"What is claimed of the regulariser {whole} by means over {len(seeds)} seed(s): {claims}."


def trend(
    claim: str, figure: Callable[[Point], float], mean: Sequence[Point], seeds: Sequence[Sequence[Point]]
) -> Finding:
    """Whether raising beta lowers the figure: of means, and as evidence of each seed's."""
    alone = sum(falls(each, figure) for each in seeds)
    figures = ", ".join(f"{figure(point):.4g}" for point in mean)
    return Finding(
        claim=f"each rise of beta {claim}",
        holds=falls(mean, figure),
        evidence=f"{figures}; it does in {alone} of {len(seeds)} seeds alone",
    )


def falls(some: Sequence[Point], figure: Callable[[Point], float]) -> bool:
    """Whether the figure is smaller at each next beta."""
    return all(figure(a) > figure(b) for a, b in pairwise(some))


def accuracy_kept(mean: Sequence[Point]) -> Finding:
    """Whether the best beta above 0 costs accuracy."""
    plain, *others = mean
    best = max(others, key=lambda point: point.accuracy)
    margin = noise(plain, best)
    told = "one seed has no noise to compare with" if margin is None else f"noise {margin:.2%}"
    return Finding(
        claim="some beta > 0 has at least the accuracy of none within noise",
        holds=None if margin is None else best.accuracy >= plain.accuracy - margin,
        evidence=f"beta = {best.beta:g}: {best.accuracy:.2%}; beta = 0: {plain.accuracy:.2%}; {told}",
    )

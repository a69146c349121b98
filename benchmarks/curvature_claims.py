"""What the paper's Table 4 shows, and whether these runs show it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Outcome = dict[str, Any]
BOUNDS = {
    "by R": "the paper's bound R",
    "by four": "the least of four unfoldings",
    "by norm": "the certified norm",
    "by Hessian": "the matrix above the Hessian",
}
"""Of the curvature, rougher ones first; the last is there for small images only."""
NONE = 0.01  # what is certified without the curvature: about nothing
LEAST = {"MNIST": (0.85, 0.95, 2000), "CIFAR-10": (0.15, 0.0, 1000)}
"""What some gamma has to certify, with which standard accuracy, of how many test images."""


def claims(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence each."""
    sentences = [
        "No certified image is broken by the attack: the script compares them one by one, and stops at one."
    ]
    for name in dict.fromkeys(each["data"] for each in outcomes):
        runs = [each for each in outcomes if each["data"] == name]
        sentences += [_without(run) for run in runs if run["gamma"] == 0]
        sentences.append(_best(name, runs))
    return sentences


def tightest(run: Outcome) -> str:
    """The bound that certifies most."""
    return [bound for bound in BOUNDS if bound in run][-1]


def _without(run: Outcome) -> str:
    claim = f"that at most {NONE:.0%} is certified without the curvature (gamma = 0)"
    shares = [f"{run[bound]:.2%} by {text}" for bound, text in BOUNDS.items() if bound in run]
    return f"{run['data']}: {claim} {_holds(run['by R'] <= NONE)} for the paper's bound: {', '.join(shares)}."


def _best(name: str, runs: Sequence[Outcome]) -> str:
    least, standard, images = LEAST[name]
    allowed = [run for run in runs if run["standard"] >= standard] or runs
    best = max(allowed, key=lambda run: run[tightest(run)])
    share = best[tightest(best)]
    enough = best["standard"] >= standard and best["test images"] >= images
    claim = f"that some gamma certifies more than {least:.0%} of {images:,} test images"
    if standard:
        claim += f", with a standard accuracy of {standard:.0%} or more,"
    figures = (
        f"gamma = {best['gamma']:g} certifies {share:.2%} of {best['test images']:,} "
        f"by {BOUNDS[tightest(best)]}, with a standard accuracy of {best['standard']:.2%}"
    )
    return f"{name}: {claim} {_holds(enough and share > least)}: {figures}."


def _holds(it: bool) -> str:  # noqa: FBT001
    return "holds" if it else "does not hold"

"""Certificates at one input: linear bounds that run backwards, in a box and a ball at each activation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from convsv_cli.local.effort import EFFORTS, NORMAL, QUICK, THOROUGH, Effort
from convsv_cli.local.lowering import lowered
from convsv_cli.local.margins import Margins
from convsv_cli.local.problem import Problem
from convsv_cli.local.radii import radii_of
from convsv_cli.local.steps import NoLocalCertificateError, Program

__all__ = [
    "EFFORTS",
    "NORMAL",
    "QUICK",
    "THOROUGH",
    "Effort",
    "NoLocalCertificateError",
    "Problem",
    "Program",
    "lowered",
    "margins",
    "radii",
]
Progress = Callable[[Tensor, Tensor, float], None]
"""Called with what is known so far, float64 [n], minus infinity for nothing; with where the search has ended,
bool [n]; and with the share of the work that is done."""
MEMORY = 2**29
"""Bytes that the places of the tensors of all samples that are looked at together may take."""
COPIES = 10
"""Of each tensor, in float64."""


def silent(_found: Tensor, _ended: Tensor, _share: float) -> None:
    """Tell nobody."""


def margins(problem: Problem, radius: Tensor, effort: Effort = NORMAL, progress: Progress = silent) -> Tensor:
    """Proven lower bounds of how far the classes of samples stay above all others: float64 [n].

    Where one is positive, no input within the radius has another class; a search stops as soon as that is
    proven.

    Args:
        problem: a classifier at samples.
        radius: of the ball around each sample (L2, in the units of `problem.x`), float64 [n], at least 0.
        effort: of the search.
        progress: called with what is known so far, and the share of the work that is done.
    """

    def some(part: Problem, which: Tensor, told: Callable[[Tensor, float], None]) -> Tensor:
        found = Margins(problem=part, radius=radius[which].double(), effort=effort)
        found.search(lambda share: told(found.worst(), share))
        return found.worst()

    return _by_parts(problem.limited(), some, progress)


def radii(
    problem: Problem, effort: Effort = NORMAL, progress: Progress = silent, known: Tensor | None = None
) -> Tensor:
    """Radii of balls (L2) in which samples are proven to keep their classes: float64 [n], 0 for nothing.

    Args:
        problem: a classifier at samples; a class that is not predicted has radius 0.
        effort: of the search.
        progress: called with what is known so far, and the share of the work that is done.
        known: radii that are proven already, float64 [n]; None for none.
    """
    start = torch.zeros(len(problem.x), dtype=torch.float64) if known is None else known
    return _by_parts(
        problem.limited(), lambda part, which, told: radii_of(part, start[which], effort, told), progress
    )


def _by_parts(
    problem: Problem,
    some: Callable[[Problem, Tensor, Callable[[Tensor, float], None]], Tensor],
    progress: Progress,
) -> Tensor:
    """Of parts of the samples that have room in memory; what is not known yet is minus infinity."""
    found = torch.full((len(problem.x),), -torch.inf, dtype=torch.float64)
    ended = torch.zeros(len(found), dtype=torch.bool)
    count = max(1, MEMORY // (8 * COPIES * max(1, problem.program.entries)))
    done = 0
    for which in torch.split(torch.arange(len(found)), count):

        def told(known: Tensor, share: float, which: Tensor = which, start: int = done) -> None:
            found[which] = known
            progress(found, ended, (start + share * len(which)) / len(found))

        found[which] = some(problem.take(which).at_rest(), which, told)
        ended[which] = True
        done += len(which)
        progress(found, ended, done / len(found))
    return found

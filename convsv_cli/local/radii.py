"""The largest radii at which samples are proven to keep their classes, by bisection.

Whether a class is kept is decided at one radius after the other, of all samples together. What is proven at a
radius holds for all smaller ones; where nothing is proven, a smaller one may still be. Boxes of tensors that
are found at one radius hold for all smaller ones, so that they are searched for once for several radii.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsv_cli.local.arithmetic import REAL
from convsv_cli.local.effort import BoxEffort, Effort
from convsv_cli.local.margins import TOGETHER, Margins
from convsv_cli.local.places import length
from convsv_cli.local.problem import Problem
from convsv_cli.local.propagation import Boxes, places

GROWTH = 2.0
"""From one radius to the next, as long as all are proven."""
FAR, CLOSE, ROUNDS = 1.5, 1.15, 6
"""How much larger than what is proven the radii are at which boxes are searched for, and how often."""
START = 1.05
"""How much larger than what is known the first radius is."""
NEAR = 1.01
"""Ratio of two radii between which no more are tried."""
MOST = 60
"""Radii that are tried before there is one that is not proven."""
LEAST = 2.0**-10
"""Of the first radius: smaller ones are not tried."""


@dataclass(kw_only=True, eq=False)
class Radii:
    """What is known of the radii of samples.

    Attributes:
        problem: samples.
        effort: of the search.
        proven: float64 [n].
        tried: float64 [n]: the least radii at which nothing could be proven.
    """

    problem: Problem
    effort: Effort
    proven: Tensor
    tried: Tensor

    def bracket(self, told: Callable[[float], None]) -> None:
        """Find a radius that is proven and one that is not, about, and halve what lies between them."""
        first, near = self._first(), CLOSE if self.effort.boxes else NEAR
        at, open_ = torch.where(self.proven > 0, self.proven * START, first), first > 0
        for i in range(MOST):
            which = open_.nonzero()[:, 0]
            if not len(which):
                return
            self._try(which, at[which], None)
            grown = torch.where(self.tried.isinf(), self.proven * GROWTH, (self.proven * self.tried).sqrt())
            at = torch.where(self.proven == 0, self.tried / GROWTH, grown)
            open_ &= (self.tried > near * self.proven) & (at > first * LEAST)
            if i >= self.effort.halvings + 4:
                open_ &= self.tried.isinf()
            told(min(1.0, (i + 1) / (self.effort.halvings + 5)))

    def refine(self, effort: BoxEffort, told: Callable[[float], None]) -> None:
        """Try larger radii in smaller boxes."""
        all_ = (self.proven > 0).nonzero()[:, 0]
        for start in range(0, len(all_), TOGETHER):
            which = all_[start : start + TOGETHER]
            self._refine(which, effort)
            told((start + len(which)) / len(all_))

    def _refine(self, which: Tensor, effort: BoxEffort) -> None:
        """Of some samples: far at first, and near once far is too far."""
        beyond = torch.full((len(which),), FAR, dtype=torch.float64)
        for _ in range(ROUNDS):
            if not len(which):
                return
            top = self.proven[which] * beyond
            known = self._boxes(which, top, effort)
            self.tried[which] = torch.inf
            self._try(which, top, known)
            failed = self.tried[which].isfinite()
            self._halve(which[failed], {name: (a[failed], b[failed]) for name, (a, b) in known.items()})
            again = ~failed | (beyond > CLOSE)
            which, beyond = which[again], torch.where(failed, CLOSE, FAR)[again]

    def _halve(self, which: Tensor, known: Boxes) -> None:
        """What lies between what is proven of some samples and what is not, in boxes of theirs."""
        for _ in range(self.effort.halvings // 2 if len(which) else 0):
            self._try(which, (self.proven[which] * self.tried[which]).sqrt(), known)

    def _first(self) -> Tensor:
        """Radii to begin with: those of the margins, by how far the logits can move together; 0 for ties.

        They are no more than the lengths of the samples, where the logits hardly move.
        """
        problem = self.problem
        ones = torch.ones(len(problem.x), dtype=torch.float64)
        place = places(problem.program, replace(problem.ball(ones), arithmetic=REAL))[problem.program.output]
        logits = place.centre.flatten(1)
        own = logits.gather(1, problem.classes[:, None])
        others = logits.scatter(1, problem.classes[:, None], -torch.inf).amax(1)
        margins = (own[:, 0] - others).clamp_min(0.0)
        longest = length(problem.x).clamp_min(1.0)
        return torch.minimum(margins / (2**0.5 * place.radius.clamp_min(1e-300)), longest)

    def _boxes(self, which: Tensor, at: Tensor, effort: BoxEffort) -> Boxes:
        problem = self.problem.take(which)
        margins = Margins(problem=problem, radius=at, effort=self.effort)
        return margins.boxes(torch.arange(len(which)), effort)

    def _try(self, which: Tensor, at: Tensor, known: Boxes | None) -> None:
        """See whether classes are kept at a radius of each of some samples."""
        quick = replace(self.effort, steps=self.effort.steps[:2], boxes=())
        margins = Margins(problem=self.problem.take(which), radius=at, effort=quick, known=known)
        margins.search(lambda _share: None)
        kept = margins.worst() > 0
        self.proven[which] = torch.where(kept, torch.maximum(self.proven[which], at), self.proven[which])
        self.tried[which] = torch.where(kept, self.tried[which], torch.minimum(self.tried[which], at))


def radii_of(
    problem: Problem, known: Tensor, effort: Effort, told: Callable[[Tensor, float], None]
) -> Tensor:
    """Radii of balls in which samples are proven to keep their classes: float64 [n], 0 for nothing.

    Args:
        problem: samples that have room in memory together.
        known: radii that are proven already, float64 [n]; only larger ones are looked for.
        effort: of the search.
        told: called with what is proven so far, [n], and the share that is done.
    """
    count = len(problem.x)
    radii = Radii(
        problem=problem,
        effort=effort,
        proven=known.clone(),
        tried=torch.full((count,), torch.inf, dtype=torch.float64),
    )
    parts = 1 + len(effort.boxes)
    radii.bracket(lambda share: told(radii.proven, share / parts))
    for i, boxes in enumerate(effort.boxes, 1):
        radii.refine(boxes, lambda share, i=i: told(radii.proven, (i + share) / parts))  # type: ignore[misc]
    return radii.proven

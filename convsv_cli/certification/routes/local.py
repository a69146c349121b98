"""Radii from linear bounds that run backwards through the network at each sample (see `convsv_cli.local`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convsv_cli.certification.routes.certifier import Certifier, Problem, Proven, Told
from convsv_cli.numerics.rounding import round_down
from convsv_cli.report import LOCAL

if TYPE_CHECKING:
    from convsv_cli.certification.local import Local

LEFT_OUT = "left out, as asked"
BEYOND = 1 + 2.0**-40
"""A radius that is decided is a little more than what was asked for, so that it is certified there."""


def prove(problem: Problem, progress: Told) -> Proven:
    """Where nothing is asked for in particular, by bisection; else only what other routes leave open."""
    local, nothing = problem.local, torch.zeros(len(problem.x), dtype=torch.float64)
    if local is None:
        return Proven(radii=nothing, reason=problem.no_local)
    if local.effort is None:
        return Proven(radii=nothing, reason=LEFT_OUT)
    classes = problem.logits.argmax(1)

    def told(share: float, found: Tensor, ended: Tensor) -> None:
        progress(share, round_down(1.0) * (found - problem.input_error).clamp_min(0.0), ended)

    if problem.wanted is None:
        found = local.radii(classes, problem.known, told)
        radii = (found - problem.input_error).clamp_min(0.0)
    else:
        radii = _decided(local, classes, problem, problem.wanted, progress)
    return Proven(radii=round_down(1.0) * radii, arithmetic=local.arithmetic.name)


def _decided(
    local: Local, classes: torch.Tensor, problem: Problem, wanted: tuple[float, ...], progress: Told
) -> torch.Tensor:
    """The largest of the radii asked for that are certified; what fails at one fails at larger ones."""
    radii = torch.zeros(len(problem.x), dtype=torch.float64)
    left = problem.correct.clone()
    for i, eps in enumerate(wanted):
        open_ = left & (problem.known <= eps)
        asked = torch.where(open_, (eps * BEYOND + problem.input_error) * BEYOND, 0.0)
        later = left & ~open_ if i + 1 < len(wanted) else torch.zeros_like(left)

        def told(
            share: float, kept: Tensor, ended: Tensor, at: tuple[int, float, Tensor] = (i, eps, later)
        ) -> None:
            number, radius, others = at
            so_far = round_down(1.0) * torch.where(kept, radius * BEYOND, radii)
            more = others | (kept & (number + 1 < len(wanted)))
            progress((number + share) / len(wanted), so_far, ended & ~more)

        kept = local.decided(classes, asked, told)
        radii[kept] = eps * BEYOND
        left &= kept | ~open_
    return radii


ROUTE = Certifier(name=LOCAL, euclidean=False, prove=prove)

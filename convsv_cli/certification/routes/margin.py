"""Certified radii from a Lipschitz bound: how far the logits are apart, by how fast they can come together.

Tsuzuku, Sato & Sugiyama, Lipschitz-Margin Training (NeurIPS 2018): z_y - z_j is Lipschitz with sqrt(2) L.
Where the last layer is a matrix W behind something with the constant L', with |w_y - w_j| L', which is never
larger than sqrt(2) |W| L'. Where a covariance S of the logits is known, with sqrt(v' S v) for v = e_y - e_j.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from convsv_cli.certification.routes.certifier import (
    Certifier,
    Problem,
    Proven,
    executed,
    pair_errors,
    pair_margins,
)
from convsv_cli.errors import UsageError
from convsv_cli.numerics.rounding import gamma, round_down, round_up
from convsv_cli.report import MARGIN, NetworkBound


def prove(problem: Problem, progress: Callable[[float], None]) -> Proven:  # noqa: ARG001
    """By the Lipschitz constants of the network, and up to its last layer."""
    known = problem.constants
    named = {"lipschitz": known.lipschitz, "lipschitz_before_head": known.before_head}
    finite = tuple((name, value) for name, value in named.items() if math.isfinite(value))
    if not finite:
        nothing = torch.zeros(len(problem.logits), dtype=torch.float64)
        return Proven(radii=nothing, reason=_reason(known.bound))

    def radii(errors: torch.Tensor) -> torch.Tensor:
        found = margin_radii(
            problem.logits,
            lipschitz=known.lipschitz,
            before_head=known.before_head,
            head=known.head,
            covariance=known.covariance,
            input_scale=problem.input_scale,
            pair_error=errors,
        )
        return (found - problem.input_error).clamp_min(0.0)

    return Proven(radii=executed(problem, radii), constants=finite, arithmetic=problem.arithmetic)


def _reason(bound: NetworkBound) -> str:
    if bound.reason:
        return bound.reason
    if not bound.obstacles:
        return "the network's bound is beyond 1e308"
    first = bound.obstacles[0]
    more = len(bound.obstacles) - 1
    others = f", and {more} more" if more else ""
    return f"the network has no bound: {first.op} {first.node!r} {first.reason}{others}"


def margin_radii(
    logits: torch.Tensor,
    *,
    lipschitz: float = math.inf,
    before_head: float = math.inf,
    head: torch.Tensor | None = None,
    covariance: torch.Tensor | None = None,
    input_scale: float = 1.0,
    logit_error: float = 0.0,
    pair_error: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """Radii in the Euclidean norm within which no input has another class: float64 [n], 0 for a tie.

    The least over all other classes j of (z_y - z_j) / L_yj, with y the class that is predicted (Tsuzuku et
    al., NeurIPS 2018). Whether y is the true class is for the caller to ask. Where several constants are
    given, the smallest L_yj counts.

    Args:
        logits: [n, classes], before any softmax, finite. In exact arithmetic they are the network's; what
            the network's own rounding may have done to them goes into `logit_error`.
        lipschitz: of the network from its input to the logits.
        before_head: of the network up to the input of its last layer; with `head`.
        head: weight of the last layer, Linear: [classes, features].
        covariance: float64 S [classes, classes], symmetric, such that no v' z has a Lipschitz constant of
            more than sqrt(v' S v).
        input_scale: by how much inputs are amplified at most before the network sees them, so that radii are
            in units of what came before: the largest 1 / std, where inputs are divided by std.
        logit_error: bound of the absolute error of each logit.
        pair_error: bound of a further error of the differences of the largest logit and the others, of all or
            [n, classes]; infinite for no claim.

    Raises:
        UsageError: shapes do not fit, a number is negative or not finite, or no constant is given.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.isfinite().all():
        raise UsageError(f"logits must be finite numbers [n, classes >= 2], not {tuple(logits.shape)}")
    classes = logits.shape[1]
    if not 0 < input_scale < math.inf:
        raise UsageError("input_scale must be positive and finite")
    margins = pair_margins(logits.detach().double(), pair_errors(logits, logit_error, pair_error))
    predicted = logits.argmax(1)
    rows, row = torch.unique(predicted, return_inverse=True)  # of many classes, few may occur
    rates = pair_bounds(
        rows, classes, lipschitz=lipschitz, before_head=before_head, head=head, covariance=covariance
    )
    radii = margins / (round_up(input_scale) * rates.to(logits.device)[row])
    radii = torch.where(margins > 0, radii, 0.0)  # not 0 / 0, where nothing moves and two classes are equal
    radii.scatter_(1, predicted[:, None], math.inf)
    return round_down(1.0) * radii.amin(1)


def pair_bounds(
    predicted: torch.Tensor,
    classes: int,
    *,
    lipschitz: float = math.inf,
    before_head: float = math.inf,
    head: torch.Tensor | None = None,
    covariance: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bounds L_ij of the Lipschitz constant of z_i - z_j, rounded up: float64 [len(predicted), classes]."""
    if not (lipschitz >= 0 and before_head >= 0):
        raise UsageError("a Lipschitz constant must be 0 or more")
    if covariance is not None:
        own = _deviations(covariance, predicted, classes)
        if math.isinf(min(lipschitz, before_head)):
            return own
        others = pair_bounds(predicted, classes, lipschitz=lipschitz, before_head=before_head, head=head)
        return torch.minimum(own, others)
    if math.isinf(min(lipschitz, before_head)) or (head is None) != math.isinf(before_head):
        raise UsageError("give a finite `lipschitz`, or `before_head` with `head`, or all of them")
    bounds = torch.full((len(predicted), classes), round_up(math.sqrt(2) * lipschitz), dtype=torch.float64)
    if head is None:
        return bounds
    if head.ndim != 2 or head.shape[0] != classes or not head.isfinite().all():
        raise UsageError(f"the head must be finite numbers [{classes}, features], not {tuple(head.shape)}")
    rows = head.detach().double().cpu()
    distances = torch.stack([_lengths(rows - rows[i]) for i in predicted.tolist()])
    return torch.minimum(bounds, round_up(1.0) * before_head * distances)


def _deviations(covariance: torch.Tensor, predicted: torch.Tensor, classes: int) -> torch.Tensor:
    """sqrt(S_ii + S_jj - 2 S_ij), rounded up."""
    if covariance.shape != (classes, classes) or not covariance.isfinite().all():
        raise UsageError(f"the covariance must be finite numbers [{classes}, {classes}]")
    own = covariance.diagonal()
    each, together = own[predicted, None] + own, 2 * covariance[predicted]
    squares = each - together + gamma(8) * (each + together.abs())
    return squares.clamp_min(0.0).sqrt() * round_up(1.0)


def _lengths(differences: torch.Tensor) -> torch.Tensor:
    """Of rounded differences [n, features], rounded up; entries may be as large or small as any."""
    largest = differences.abs().amax(1, keepdim=True)
    scaled = torch.where(largest > 0, differences / largest, 0.0)
    lengths: torch.Tensor = largest[:, 0] * torch.linalg.vector_norm(scaled, dim=1)
    return lengths * (1 + gamma(differences.shape[1] + 16))


ROUTE = Certifier(name=MARGIN, prove=prove)

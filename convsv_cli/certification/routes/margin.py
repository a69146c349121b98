"""Radii from the lead of a class over each other one, and from how fast that can shrink."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from convsv_cli.certification.margins import margin_radii
from convsv_cli.certification.routes.certifier import Certifier, Problem, Proven
from convsv_cli.report import MARGIN, NetworkBound


def prove(problem: Problem, progress: Callable[[float], None]) -> Proven:  # noqa: ARG001
    """By the Lipschitz constants of the network, and up to its last layer."""
    known = problem.constants
    named = {"lipschitz": known.lipschitz, "lipschitz_before_head": known.before_head}
    finite = tuple((name, value) for name, value in named.items() if math.isfinite(value))
    if not finite:
        nothing = torch.zeros(len(problem.logits), dtype=torch.float64)
        return Proven(radii=nothing, reason=_reason(known.bound))
    radii = margin_radii(
        problem.logits,
        lipschitz=known.lipschitz,
        before_head=known.before_head,
        head=known.head,
        input_scale=problem.input_scale,
        logit_error=problem.logit_error,
    )
    return Proven(radii=(radii - problem.input_error).clamp_min(0.0), constants=finite)


def _reason(bound: NetworkBound) -> str:
    if bound.reason:
        return bound.reason
    if not bound.obstacles:
        return "the network's bound is beyond 1e308"
    first = bound.obstacles[0]
    more = len(bound.obstacles) - 1
    others = f", and {more} more" if more else ""
    return f"the network has no bound: {first.op} {first.node!r} {first.reason}{others}"


ROUTE = Certifier(name=MARGIN, prove=prove)

"""What an activation, or a map that is known by its gain only, makes of a covariance.

With C = X[all, z] and V = X[z, z], for a positive diagonal D that is constant in space and feasible: for
a = psi(z) with difference quotients in [0, 1], channel by channel and position by position,

    X <- X + C M^-1 C*,   cov(all, a) = C M^-1 D,   cov(a, a) = D M^-1 D,   M = 2 D - V > 0,

and for |difference of y_c|^2 <= kappa_c |difference of z_c|^2, summed over positions,

    X <- X + C M^-1 C*,   cov(all, y) = 0,   cov(y, y) = D,   M = D / kappa - V > 0.

Both are valid. What is known of a or y, 2 <a, D^-1 (z - a)> >= 0 or <z, kappa D^-1 z> >= <y, D^-1 y>, is a
sum over positions, and by Parseval one over frequencies, for D is constant in space. Taken off d* X^+ d, it
leaves a quadratic form in d and a, or y, that is at most as large; its inverse, by Schur complements, is the
covariance that stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.mapping import mapped
from convsv_cli.lipschitz.density.quadratic import Middle, Quadratic
from convsv_cli.lipschitz.density.sizes import size
from convsv_cli.lipschitz.density.steps import Activation, Gain
from convsv_cli.lipschitz.density.symbols import scaled_by
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF

Feasible = Callable[[torch.Tensor], tuple[torch.Tensor, Middle]]
"""From V, [frequencies or 1, c, c]: a feasible D, float64 [c], and M."""
DRIVEN = ""
"""A field that stands for what an activation does besides its least slope: no tensor has this name."""


def activated(
    covariance: Covariance, step: Activation, kept: Sequence[str], feasible: Feasible
) -> Covariance:
    """With a = alpha z + (beta - alpha) psi(z), where alpha and beta are the least and largest slopes.

    Channels with alpha = beta are linear; psi is of the others.

    Args:
        covariance: X.
        step: the activation.
        kept: the fields that are live after it.
        feasible: for psi.

    Raises:
        InfeasibleError: no D is feasible, or numbers are too large, or too small, for a proof.
    """
    z = step.source
    before = covariance.only(_with(kept, z)).normalised()
    active = (step.upper > step.lower).nonzero()[:, 0]
    slanted = bool(step.lower.any())
    multiplier, middle = feasible(before.blocks[z, z][:, active][:, :, active])
    sides = {
        name: block[:, :, active] * middle.inverse
        for name in (_with(kept, z) if slanted else kept)
        if (block := before.block(name, z)) is not None
    }
    driven = DRIVEN if slanted else step.output
    slopes = (step.upper - step.lower)[active] * multiplier * middle.inverse.to(multiplier.dtype)
    own = slopes.new_zeros(1, len(step.lower), len(active)).to(middle.inverse.dtype)
    own = own.index_put((torch.zeros_like(active), active, torch.arange(len(active))), slopes.to(own.dtype))
    errors = dict.fromkeys(sides, 0.0) | {driven: 4 * UNIT_ROUNDOFF * size(own)}
    product = Quadratic(rows={**sides, driven: own}, errors=errors, middle=middle)
    after = replace(before, fields=(*before.fields, driven), product=product)
    if not slanted:
        return after.only([*kept, driven])
    terms = ((z, scaled_by(step.lower)), (driven, scaled_by(torch.ones(1, dtype=torch.float64))))
    return mapped(after, {step.output: terms}, kept)


def gained(
    covariance: Covariance, step: Gain, kept: Sequence[str], feasible: Feasible
) -> tuple[Covariance, Covariance | None]:
    """The covariances of y and of the fields that are kept, which vary independently; None where none is.

    Args:
        covariance: X.
        step: what is known of y.
        kept: the fields that are live after it, besides y.
        feasible: for kappa.

    Raises:
        InfeasibleError: no D is feasible, or numbers are too large, or too small, for a proof.
    """
    z = step.source
    before = covariance.only(_with(kept, z)).normalised()
    multiplier, middle = feasible(before.blocks[z, z])
    own = torch.diag(multiplier.to(middle.inverse.dtype))[None]
    new = replace(before, fields=(step.output,), blocks={(step.output, step.output): own})
    if not kept:
        return new, None
    sides = {name: block * middle.inverse for name in kept if (block := before.block(name, z)) is not None}
    product = Quadratic(rows=sides, errors=dict.fromkeys(sides, 0.0), middle=middle) if sides else None
    return new, replace(before.only(kept), product=product)


def _with(kept: Sequence[str], source: str) -> list[str]:
    return [*dict.fromkeys((*kept, source))]

"""Certified radii from curvature bounds (CRC; Singla & Feizi, arXiv 2006.00731)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from convsv_cli.certification.dual import Effort, Pairs, proven_radii
from convsv_cli.certification.margins import pair_margins
from convsv_cli.errors import UsageError
from convsv_cli.numerics.rounding import round_down

ROUGH = Effort(rounds=6, steps=5)


def curvature_radii(
    model: nn.Module,
    x: torch.Tensor,
    bounds: torch.Tensor,
    *,
    logit_error: float = 0.0,
    rounds: int = 20,
    steps: int = 20,
) -> torch.Tensor:
    """Radii in the Euclidean norm within which no input has another class: float64 [n], 0 for a tie.

    The certificate of Singla & Feizi (CRC, arXiv 2006.00731), with Euclidean norms in the units of `x`. The
    least over all other classes: the runner-up alone claims too much. Whether the class that is predicted
    is the true one is for the caller to ask.

    Args:
        model: with logits as its output, [n, classes]; a copy is run in float64, in evaluation mode.
        x: [n, ..].
        bounds: K[y, t] of `curvature_bounds`: [classes, classes].
        logit_error: by how much each logit of the network that is to be protected may be off the exact one:
            for float32, and for torch's Softplus, which is linear above its threshold (2.1e-9 a unit).
        rounds, steps: multipliers that are tried for the nearest classes, and steps for each.

    What is proven holds of all steps alike (`certification/dual`). Values and gradients are computed in
    float64; no proof bounds their rounding, but 1e-9 of the logits is taken off for it.

    Raises:
        UsageError: the bounds do not fit the model, or are no bounds.
    """
    model = copy.deepcopy(model).double().eval().to(x.device)
    with torch.no_grad():
        logits = model(x.double())
    classes = logits.shape[1]
    if bounds.shape != (classes, classes) or not (bounds >= 0).all() or not 0 <= logit_error < math.inf:
        raise UsageError(f"the bounds must be numbers >= 0, [{classes}, {classes}], and logit_error >= 0")
    search = _Search(
        model=model, x=x.detach().double(), logits=logits, bounds=bounds.to(logits), error=2 * logit_error
    )
    radii = search.over_classes(Effort(rounds=rounds, steps=steps))
    return round_down(1.0) * radii


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """Over all other classes of each input."""

    model: nn.Module
    x: torch.Tensor
    logits: torch.Tensor
    bounds: torch.Tensor
    error: float

    def over_classes(self, effort: Effort) -> torch.Tensor:
        """The least: a rough radius for each class, a better one for the nearest and what is nearer yet."""
        apart = pair_margins(self.logits, self.error / 2) > 0
        radii = torch.zeros_like(self.logits)
        radii[apart] = self._radii(apart, ROUGH)
        radii.scatter_(1, self.logits.argmax(1, keepdim=True), math.inf)
        first = torch.zeros_like(apart).scatter(1, radii.argmin(1, keepdim=True), value=True) & apart
        radii[first] = torch.maximum(radii[first], self._radii(first, effort))
        reached = torch.where(first, radii, 0.0).amax(1, keepdim=True)
        nearer = (radii < reached) & apart
        radii[nearer] = torch.maximum(radii[nearer], self._radii(nearer, effort))
        return radii.amin(1)

    def _radii(self, chosen: torch.Tensor, effort: Effort) -> torch.Tensor:
        """For the pairs of an input and a class that are chosen: bool [n, classes] -> [pairs]."""
        rows, t = chosen.nonzero(as_tuple=True)
        y = self.logits.argmax(1)[rows]
        pairs = Pairs(
            start=self.x[rows],
            y=y,
            t=t,
            lower=self.bounds[t, y],
            upper=self.bounds[y, t],
            error=self.error,
        )
        return proven_radii(self.model, pairs, effort)

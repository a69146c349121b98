"""The free diagonal of each activation and gain: any that is feasible is sound, and some are better.

A multiplier D is given relative to what it has to exceed: a shape, exp(d) per channel, times the least factor
with D >= V, times 1/2 + exp(r) at an activation (2 D > V is what that needs), or 1 + exp(r) at a gain. So it
is feasible whatever came before it, and can be carried from one torus to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from convsv_cli.lipschitz.density.sizes import InfeasibleError, finite
from convsv_cli.spectral.eigenpairs import lanczos, largest_values, promising, start_vector, top_pair

DIRECT = 24  # channels up to which LAPACK's eigenvalues of a batch cost less than Lanczos steps
STEPS = 6
"""Of Lanczos, in single precision; then the frequencies with the largest values are looked at closely."""
CANDIDATES = {torch.float64: 3, torch.float32: 1}
FLOOR = 1e-14  # of the largest variance; a channel with less is taken to have that
SMALLEST = 2.0**-40  # of the slopes of a layer's channels; one with less is taken to have that

Choose = Callable[[int, torch.Tensor, float], torch.Tensor]
"""Gives D, float64 [channels], at a step: from its index, V, and the factor f that f D > V is needed for."""


GREEDY = ((0.3, 0.705), (0.35, 0.78), (0.35, 0.66), (0.5, 0.75), (0.5, 1.0), (0.0, 1.0))
"""Multipliers that need no search: a power of variances, and a multiple of the least factor.

The last one is that of ECLipsE-Fast (Xu & Sivaranjani 2024). The first one does best in most networks.
"""
SMALLER, LARGER = (2,), (3, 4, 5)
"""Which of these are worth a try where the first one is better than the second, or the second one than the
first: smaller multiples are good for the network then, or larger ones."""
NEAR = math.log(1e-4)
"""The ratio of a gain: its multiplier is best as small as it may be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiplier:
    """What D is relative to the least feasible factor.

    Attributes:
        shape: d, float64 [channels].
        ratio: r, a float64 number.
    """

    shape: torch.Tensor
    ratio: torch.Tensor

    def of(self, variance: torch.Tensor, needed: float) -> torch.Tensor:
        """D, float64 [channels], for V [n, channels, channels] and f, where f D > V is needed."""
        factor = least_factor(variance, self.shape).to(torch.float64)
        return self.shape.exp() * factor * (1 / needed + self.ratio.exp())


def spread(variance: torch.Tensor, power: float = 0.5) -> torch.Tensor:
    """The shape that needs no search, the log of a power of each channel's variance: V [n, c, c] -> [c]."""
    largest = variance.diagonal(dim1=-2, dim2=-1).real.amax(0).to(torch.float64)
    top = float(largest.max())
    if top <= 0:
        return torch.zeros_like(largest)
    logs = largest.clamp_min(top * FLOOR).log() * power
    return logs - logs.mean()


def least_factor(variance: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """The least f with f exp(shape) >= V at all frequencies: exact up to rounding, and differentiable.

    The derivative is that of the Rayleigh quotient at the maximiser.
    """
    if not finite(variance):
        raise InfeasibleError
    root = (-shape / 2).exp().to(variance.real.dtype)
    with torch.no_grad():
        scaled = variance.detach() * (root[:, None] * root).detach()
        at, vector = _top(scaled)
    weighted = vector * root
    return (weighted.conj() @ variance[at] @ weighted).real


def _top(matrices: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Where the largest eigenvalue is, and its unit vector: Hermitian [n, c, c].

    Raises:
        InfeasibleError: LAPACK does not find them.
    """
    try:
        return _found_top(matrices)
    except RuntimeError as error:
        raise InfeasibleError from error


def _found_top(matrices: torch.Tensor) -> tuple[int, torch.Tensor]:
    careful = CANDIDATES[matrices.real.dtype]
    places = promising(matrices)
    if len(places) > 1:
        places = places[_rough_tops(matrices[places]).argsort(descending=True)[:careful]]
    pairs = ((int(at), *top_pair(matrices[at])) for at in places)
    at, _, vector = max(pairs, key=lambda pair: pair[1])
    return at, vector


def _rough_tops(matrices: torch.Tensor) -> torch.Tensor:
    """About the largest eigenvalue of each, relative to the largest entry: [n, c, c] -> [n]."""
    largest = float(matrices.diagonal(dim1=-2, dim2=-1).real.max())
    rough = matrices.to(torch.complex64 if matrices.is_complex() else torch.float32)
    if matrices.real.dtype == torch.float64 and largest > 0:
        rough = (matrices / largest).to(rough.dtype)
    side = matrices.shape[-1]
    if side <= DIRECT:
        return largest_values(rough)
    start = start_vector(side, matrices.device).to(rough.dtype).expand(matrices.shape[:2])
    return lanczos(rough, start, STEPS)[0]


def adapted(choose: Choose, lower: torch.Tensor, upper: torch.Tensor) -> Choose:
    """Multipliers for slopes in [lower, upper], from what is good for [0, 1] in all channels.

    With m the largest |slope|, phi(z) = psi(m z) for a psi with slopes of at most 1, whose multiplier is
    m^2 D: a channel that hardly matters is not what D is small for. And D times m / (upper - lower) leads to
    what D does at [0, m] or to less; then the variance of a channel alone grows by m^2.
    """
    largest = torch.maximum(lower.abs(), upper.abs())
    share = (largest / largest.max()).clamp_min(SMALLEST)
    growth = (largest / (upper - lower)).clamp_min(1.0) / share**2
    alike = bool((share == 1).all())

    def changed(index: int, variance: torch.Tensor, needed: float) -> torch.Tensor:
        if not alike:
            variance = variance * (share[:, None] * share).to(variance.real.dtype)
        return choose(index, variance, needed) * growth

    return changed

"""Certified spectral norms: of matrices, and of a convolution on a grid of frequencies."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch

from convsv_cli.report import Interval
from convsv_cli.spectral.certify import round_up
from convsv_cli.spectral.running import RunningNorm
from convsv_cli.spectral.symbol import symbol_error, symbols

ZERO = Interval(lower=0.0, upper=0.0)
LARGEST_EXPONENT = 1000  # of a power of two whose inverse is a normal float64 too


def matrix_norm(matrices: torch.Tensor) -> Interval:
    """The largest spectral norm of a batch of matrices.

    Args:
        matrices: finite float64 [b, p, q].

    Returns:
        An interval whose ends are proven; its relative width is about max(p, q)^2 2^-53.

    Cost: one Gram matrix, one `eigvalsh` and a few Cholesky factorizations of the smaller side.
    """
    if not matrices.any():
        return ZERO
    scaled, scale = _scaled(matrices)
    running = RunningNorm()
    running.include(scaled)
    return _rescaled(running.enclosure(), scale, error=0.0)


def grid_norm(
    weight: torch.Tensor, grid: tuple[int, ...], advance: Callable[[int], None] | None = None
) -> Interval:
    """The largest singular value of a circular convolution (Sedghi, Gupta & Long, ICLR 2019).

    Args:
        weight: finite float64 [blocks, c_out, c_in, *k].
        grid: number of equispaced frequencies on each axis (`Kernel.grid`).
        advance: called with the number of symbols done since the last call.

    Returns:
        An interval whose ends are proven, of relative width about 1e-10.

    Cost: half of prod(grid) symbols, for each a Gram matrix and a Cholesky factorization of the smaller
    side c, O(blocks c_out c_in c) each; memory does not depend on the grid.
    """
    if not weight.any():
        return ZERO
    scaled, scale = _scaled(weight)
    running = RunningNorm()
    for block in symbols(scaled, grid):
        running.include(block)
        if advance is not None:
            advance(len(block))
    return _rescaled(running.enclosure(), scale, symbol_error(scaled))


def _scaled(weight: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The weight times a power of two, which is exact, so that no square over- or underflows."""
    _, exponent = math.frexp(float(weight.abs().max()))
    exponent = min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    return weight * math.ldexp(1.0, -exponent), math.ldexp(1.0, exponent)


def _rescaled(interval: Interval, scale: float, error: float) -> Interval:
    lower = min((interval.lower - error) * scale, sys.float_info.max)
    upper = round_up(interval.upper + error) * scale
    return Interval(lower=max(0.0, math.nextafter(lower, 0)), upper=math.nextafter(upper, math.inf))

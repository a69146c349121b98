"""Sums over a window: what is left of a covariance where a field of one position begins."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.sizes import size
from convsv_cli.lipschitz.density.steps import Functional
from convsv_cli.lipschitz.density.torus import Torus, transform
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, up


def functional(covariance: Covariance, step: Functional, on: Torus) -> Covariance:
    """The covariance of y = sum over the window of K_p x(p), valid as X is; it is real.

    Args:
        covariance: of x, among others.
        step: what y is.
        on: the torus of x.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    plain = covariance.only([step.source]).multiplied_out()
    block = plain.blocks[step.source, step.source]
    if len(block) == 1:
        found, error = _of_independent_positions(step, block[0])
    else:
        found, error = _of_frequencies(step, block, on)
    found = found.real  # complex on a torus of one position, without imaginary parts
    pair = (step.output, step.output)
    result = replace(plain, fields=(step.output,), blocks={pair: ((found + found.mT) / 2)[None]})
    return result.absorbing({pair: error})


def _of_independent_positions(step: Functional, block: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Where X is the same at all frequencies, sum over p of K_p X K_p^T, [out, out]; a bound of its error.

    Args:
        step: K.
        block: X, [in, in].
    """
    kernel = step.kernel.to(block.dtype).flatten(2)
    norm = size(step.kernel[None]) + step.error
    if step.diagonal:
        found = block * (kernel[:, 0] @ kernel[:, 0].mT)
    else:
        spread = torch.einsum("ocp,cd->odp", kernel, block).flatten(1)
        found = spread @ kernel.flatten(1).mT
    terms = 4 * (kernel.shape[1] + kernel.shape[1] * kernel.shape[2] + 8)
    lost = gamma(terms) * norm**2 + step.error * (2 * norm + step.error)
    return found, lost * size(block[None]) * up(16)


def _of_frequencies(step: Functional, block: torch.Tensor, on: Torus) -> tuple[torch.Tensor, float]:
    """The sum over all frequencies of F X F*, for F the transform of K: [out, out], and a bound of its error.

    Args:
        step: K.
        block: X, [frequencies, in, in].
        on: the torus.
    """
    offsets = tuple(tuple(range(n)) for n in step.kernel.shape[2:])
    matrix, error = transform(step.kernel, offsets, on)
    block = block.to(torch.complex64 if block.real.dtype == torch.float32 else torch.complex128)
    matrix = (matrix / math.sqrt(on.positions)).to(block.dtype)
    weights = on.weights.to(block.real.dtype)
    error = (error + step.error * math.sqrt(step.kernel[0, 0].numel())) / math.sqrt(on.positions) * up(8)
    norm = size(matrix)
    if step.diagonal:
        factors = matrix[..., 0]
        weighted = factors * weights[:, None]
        found = torch.einsum("fi,fij,fj->ij", weighted, block, factors.conj()).real
    else:
        spread = matrix @ block * weights[:, None, None]
        found = torch.einsum("foc,fpc->op", spread, matrix.conj()).real
    terms = 4 * (block.shape[-1] * (len(matrix) + 1) + 16)  # sums over frequencies and channels, in any order
    lost = (gamma(terms) + 4 * UNIT_ROUNDOFF) * norm**2 + error * (2 * norm + error)
    return found, lost * size(block) * on.positions * up(32)

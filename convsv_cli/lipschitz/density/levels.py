"""The largest eigenvalue of a covariance over all frequencies, and covariances above it that are constant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch

from convsv_cli.lipschitz.density.blocks import by_pairs, hermitian, rounded
from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.parts import in_parts
from convsv_cli.lipschitz.density.sizes import InfeasibleError, finite, size
from convsv_cli.lipschitz.density.torus import Frequencies
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, up
from convsv_cli.spectral.cores import parallel_map
from convsv_cli.spectral.eigenpairs import lanczos, promising, start_vector
from convsv_cli.spectral.matrix_norm import cholesky_margin, proven_level

RIDGE = 1e-7
"""What is added to a mean covariance, relative to its largest variance, so that it can be factorized."""
LANCZOS_STEPS, ROUGH_STEPS = 12, 4
"""Where something is to be proven, or a derivative is taken; and of what is only shown."""
SHOWN = 1024
"""Frequencies that are looked at for what is only shown."""
PIECE = 2**22
"""Numbers of a covariance that are looked at at a time, on each core."""
SLACK, DOUBLINGS = 1e-3, 60
"""What a multiple is raised by before it is tried, relatively, and how often that is doubled: each try costs
as much as an activation, so the first one is to succeed."""


def level(covariances: Iterable[Covariance], *, proof: bool) -> float:
    """A Lipschitz constant: the root of the largest eigenvalue at any frequency.

    Args:
        covariances: of the outputs, independently of each other.
        proof: whether it is to be proven; else it is an estimate.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    roots = [_root(each, proof=proof) for each in covariances]
    if not all(map(math.isfinite, roots)):
        return math.inf
    return max(roots) * (up(8) if proof else 1)


def _root(covariance: Covariance, *, proof: bool) -> float:
    """Of the largest eigenvalue."""
    whole = stacked(covariance if proof else _thinned(covariance.multiplied_out()))
    if not finite(whole):
        return math.inf
    if not size(whole):
        return 0.0
    scale = float(whole.diagonal(dim1=-2, dim2=-1).real.max())
    unit = 2.0 ** round(math.log2(scale))
    pieces = whole.split(max(1, PIECE // whole[0].numel()))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def estimate(piece: torch.Tensor) -> float:
        scaled = (piece if proof else piece[promising(piece)]) / unit
        if not proof:
            scaled = scaled.to(torch.complex64 if scaled.is_complex() else torch.float32)
        steps = LANCZOS_STEPS if proof else ROUGH_STEPS
        return float(lanczos(scaled, _starts(scaled), steps)[0].max())

    top = max(parallel_map(estimate, pieces))
    if proof:
        top = max(parallel_map(lambda piece: proven_level(piece / unit, top), pieces))
    return math.sqrt(top) * math.sqrt(unit) * math.sqrt(covariance.scale)


def _thinned(plain: Covariance) -> Covariance:
    """At every so manieth frequency, zero among them, where there are more than are worth it."""
    count = max(map(len, plain.blocks.values()))
    if count <= SHOWN:
        return plain
    index = torch.arange(0, count, -(-count // SHOWN))
    return plain.at(Frequencies(index=index, conjugate=torch.zeros_like(index, dtype=torch.bool)))


def stacked(covariance: Covariance) -> torch.Tensor:
    """All blocks as one matrix per frequency, without the scale: [frequencies or 1, c, c].

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    plain = covariance.multiplied_out()
    blocks = plain.blocks.values()
    count = max(map(len, blocks))
    kind = next((block.dtype for block in blocks if block.is_complex()), next(iter(blocks)).dtype)
    if len(plain.fields) == 1:
        return next(iter(blocks)).resolve_conj().contiguous()
    widths = {name: plain.blocks[name, name].shape[1] for name in plain.fields}
    rows = []
    for one, height in widths.items():
        row = []
        for other, width in widths.items():
            block = plain.block(one, other)
            if block is None:
                block = torch.zeros(1, height, width, dtype=kind)
            row.append(block.to(kind).expand(count, -1, -1))
        rows.append(torch.cat(row, 2))
    return torch.cat(rows, 1)


def levelled(covariance: Covariance) -> Covariance:
    """A covariance above this one that is the same at all frequencies: a multiple of the mean.

    Its scale is that of this one. Valid, for anything above what is valid is.

    Raises:
        InfeasibleError: no multiple can be proven, or numbers are too large, or too small, for a proof.
    """
    plain = covariance.multiplied_out()
    whole = stacked(plain)
    if len(whole) == 1 or not size(whole):
        return plain
    mean = whole.real.mean(0)
    mean = (mean + mean.mT) / 2
    ridge = RIDGE * float(mean.detach().diagonal().max())
    mean = mean + ridge * torch.eye(len(mean), dtype=mean.dtype)
    if plain.proof:
        multiple = torch.tensor(_proven_multiple(mean, whole), dtype=mean.dtype)
    else:
        multiple = _largest(_relative(_inverse_root(mean, whole.dtype), whole))
    widths = {name: plain.blocks[name, name].shape[1] for name in plain.fields}
    blocks = by_pairs((mean * multiple)[None], widths)
    return replace(plain, blocks=blocks).absorbing(rounded(blocks) if plain.proof else {})


def _inverse_root(mean: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """L^-1 for L L* = mean, [c, c]."""
    factor, info = torch.linalg.cholesky_ex(mean)
    if info.any():
        raise InfeasibleError
    identity = torch.eye(len(mean), dtype=mean.dtype)
    inverse: torch.Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse.to(kind)


def _relative(inverse: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """L^-1 X L^-*: real [c, c] and [frequencies, c, c] -> [frequencies, c, c]."""
    both: torch.Tensor = inverse @ whole @ inverse.mT
    return hermitian(both)


def _largest(matrices: torch.Tensor) -> torch.Tensor:
    """The largest eigenvalue, with the derivative of the Rayleigh quotient."""
    with torch.no_grad():
        values, vectors = lanczos(matrices.detach(), _starts(matrices), LANCZOS_STEPS)
        at = int(values.argmax())
    return (vectors[at].conj() @ matrices[at] @ vectors[at]).real


def _starts(matrices: torch.Tensor) -> torch.Tensor:
    """One vector for each matrix: [n, c, c] -> [n, c]."""
    start = start_vector(matrices.shape[-1], matrices.device).to(matrices.dtype)
    return start.expand(matrices.shape[:2])


def _proven_multiple(mean: torch.Tensor, whole: torch.Tensor) -> float:
    """A factor f with f mean >= whole at all frequencies, by Cholesky factorizations."""
    margin, inverse = cholesky_margin(len(mean), whole.dtype), _inverse_root(mean, whole.dtype)
    own, other = mean.diagonal(), whole.diagonal(dim1=-2, dim2=-1).real

    def top(part: slice) -> float:
        relative = _relative(inverse, whole[part])
        return float(lanczos(relative, _starts(relative), LANCZOS_STEPS)[0].max())

    def above(part: slice, multiple: float, lost: float) -> bool:
        rest = multiple * mean - whole[part]
        rest.diagonal(dim1=-2, dim2=-1).sub_(lost)
        return not torch.linalg.cholesky_ex(rest)[1].any()

    estimate = max(in_parts(top, len(whole), mean.numel()))
    for attempt in range(DOUBLINGS):
        multiple = estimate * (1 + SLACK * 2.0**attempt)
        largest, scale = float((multiple * own - other).max()), multiple * float(own.max())
        # rounding of the product and the difference, entry by entry, in the Frobenius norm
        rounding = 4 * UNIT_ROUNDOFF * (multiple * float(mean.norm()) + size(whole)) * up(8)
        lost = margin * largest + rounding + UNIT_ROUNDOFF * scale
        if all(in_parts(partial(above, multiple=multiple, lost=lost), len(whole), mean.numel())):
            return multiple
    raise InfeasibleError

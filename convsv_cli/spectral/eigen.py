"""Estimates of the largest eigenvalue and its vector; what is proven is proven elsewhere."""

from __future__ import annotations

import torch

SMALL = 48  # side up to which LAPACK's eigenvalues of a batch cost less than Lanczos steps
LANCZOS_STEPS, STARTED_STEPS = 12, 2  # without and with a start that is nearly it
SHIFT_INVERT_STEPS = 4


def start_vector(n: int, device: torch.device) -> torch.Tensor:
    """A vector without symmetry, the same each time: float64 [n], entries from 0.25 to 1.25."""
    return (torch.arange(1, n + 1, dtype=torch.float64, device=device) * 0.6180339887498949).frac() + 0.25


def lanczos(matrices: torch.Tensor, start: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest Ritz values and unit vectors: Hermitian [n, p, p], [n, p] -> [n], [n, p].

    A few Lanczos steps with reorthogonalisation, all matrices at once.
    """
    n, p = start.shape
    steps = min(steps, p)
    basis, images = matrices.new_zeros(n, p, steps), matrices.new_zeros(n, p, steps)
    rest = start[..., None]
    for step in range(steps):
        basis[..., step : step + 1] = _unit(rest)
        image = matrices @ basis[..., step : step + 1]
        images[..., step : step + 1] = image
        known, rest = basis[..., : step + 1], image
        for _ in range(2):  # once is not enough where the rest is nearly nothing
            rest = rest - known @ (known.mH @ rest)
    values, vectors = _eigh(basis.mH @ images)
    return values[..., -1].double(), _unit(basis @ vectors[..., -1:])[..., 0]


def top_pair(matrix: torch.Tensor, start: torch.Tensor | None = None) -> tuple[float, torch.Tensor]:
    """The largest eigenvalue of a Hermitian [p, p], to about working precision, and a unit vector.

    Lanczos steps find it roughly; steps with the inverse of (mu I - H), with mu just above, resolve it.
    """
    if matrix.shape[-1] <= SMALL:
        values, vectors = _eigh(matrix)
        return float(values[-1]), vectors[:, -1]
    steps = LANCZOS_STEPS if start is None else STARTED_STEPS
    start = start_vector(len(matrix), matrix.device) if start is None else start
    value, vector = lanczos(matrix[None], start.to(matrix.dtype)[None], steps)
    return _resolved(matrix, float(value), vector[0])


def _resolved(matrix: torch.Tensor, value: float, vector: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Shift and invert: the gap to the next eigenvalue is compared with that to mu."""
    residual = float(torch.linalg.vector_norm(matrix @ vector - value * vector))
    excess = max(residual, 1e-13 * value, 1e-300)
    for _ in range(64):
        shifted = matrix.neg()
        shifted.diagonal().add_(value + excess)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if info == 0:
            break
        excess *= 4
    else:
        return value, vector
    basis = vector[:, None]
    for _ in range(SHIFT_INVERT_STEPS):
        basis = torch.cat([basis, torch.cholesky_solve(basis[:, -1:], factor)], 1)
        basis, _ = torch.linalg.qr(basis)
    values, vectors = _eigh(basis.mH @ matrix @ basis)
    return float(values[-1]), basis @ vectors[:, -1]


def _eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As LAPACK, which gives up on entries that are hardly numbers beside others: without these, then."""
    try:
        values, vectors = torch.linalg.eigh(matrices)
    except RuntimeError:
        sizes = matrices.abs()
        least = torch.finfo(matrices.dtype).eps ** 2 * sizes.amax((-2, -1), keepdim=True)
        wide = torch.complex128 if matrices.is_complex() else torch.float64
        values, vectors = torch.linalg.eigh(matrices.where(sizes > least, 0).to(wide))
    return values.to(matrices.real.dtype), vectors.to(matrices.dtype)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    norms = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)
    least = max(1e-30, torch.finfo(vectors.dtype).tiny ** 0.5)  # of shorter ones, squares are zero
    unit: torch.Tensor = vectors / norms.clamp_min(least)
    return unit

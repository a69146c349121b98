"""The largest eigenvalues of Hermitian matrices, and their vectors: estimates, as good as they get."""

from __future__ import annotations

import math
from contextlib import suppress

import torch

from convsv_cli.spectral.cores import product

SMALL = 48  # side up to which LAPACK's eigenvalues of a batch cost less than Lanczos steps
LANCZOS_STEPS, STARTED_STEPS = 12, 2  # without and with a start that is nearly it
SHIFT_INVERT_STEPS = 4
SQUARINGS = 4
MOST_STEPS, STEPS_BETWEEN = 160, 8  # of Lanczos until it is found, and between looks at whether it is
SURE = 1 - 1e-3  # of a number, is below it however it was rounded in single precision
ENOUGH, NOTHING = 1e-13, 1e-14  # relative: of what is missing, of a vector that is rounding alone


def start_vector(n: int, device: torch.device) -> torch.Tensor:
    """A vector without a pattern, the same each time: float64 [n], entries from 0.25 to 1.25.

    What is a polynomial but for jumps, as multiples of an irrational number are, would be nearly orthogonal
    to eigenvectors that are differences of a high order.
    """
    seeded = torch.Generator().manual_seed(0)
    return torch.rand(n, dtype=torch.float64, generator=seeded).to(device) + 0.25


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
    values, vectors = eigh(basis.mH @ images)
    return values[..., -1].double(), _unit(basis @ vectors[..., -1:])[..., 0]


def powered(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rough values of the largest eigenvalues, and unit vectors, of small ones: as of `lanczos`.

    H^16, by four products, is nearly that of the top vector alone, of which each of its columns is a
    multiple: the longest one is taken. With |H|_F = 1 before, |H^16| is at least p^-8: it does not underflow.
    Of an H so small that squares of its entries do, vector and value are zero.
    """
    sizes = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    least = matrices.shape[-1] * math.sqrt(torch.finfo(matrices.dtype).tiny)
    power = matrices / sizes.masked_fill(sizes < least, math.inf)
    for _ in range(SQUARINGS):
        power = power @ power
    best = torch.linalg.vector_norm(power, dim=-2).argmax(-1)
    vectors = _unit(power.take_along_dim(best[:, None, None], -1))
    values = (vectors.mH @ (matrices @ vectors)).real
    return values[:, 0, 0].double(), vectors[..., 0]


def top_pair(matrix: torch.Tensor, start: torch.Tensor | None = None) -> tuple[float, torch.Tensor]:
    """The largest eigenvalue of a Hermitian [p, p], to about working precision, and a unit vector.

    Lanczos steps find it roughly; steps with the inverse of (mu I - H), with mu just above, resolve it.
    """
    if matrix.shape[-1] <= SMALL:
        values, vectors = eigh(matrix)
        return float(values[-1]), vectors[:, -1]
    steps = LANCZOS_STEPS if start is None else STARTED_STEPS
    start = start_vector(len(matrix), matrix.device) if start is None else start
    value, vector = lanczos(matrix[None], start.to(matrix.dtype)[None], steps)
    return _resolved(matrix, float(value), vector[0])


def largest_pair(matrix: torch.Tensor) -> tuple[float, torch.Tensor, float]:
    """The largest eigenvalue of a symmetric [p, p] by Lanczos steps until it is found, and a unit vector.

    The last number estimates what the eigenvalue may be larger: that of a Ritz value with residual r is
    r^2 / gap, with the distance to the next one (Parlett, The Symmetric Eigenvalue Problem, section 11.7). A
    spectrum that is dense at its end, where that takes too many steps, is left to those with the inverse.
    Where eigenvalues are equal, the vectors soon span an invariant space, and what is left is rounding alone.
    """
    if len(matrix) <= SMALL:
        values, vectors = eigh(matrix)
        return float(values[-1]), vectors[:, -1], 0.0
    steps = min(len(matrix), MOST_STEPS)
    basis, projected = matrix.new_empty(steps, len(matrix)), matrix.new_zeros(steps, steps)
    rest = start_vector(len(matrix), matrix.device).to(matrix.dtype)
    length = float(torch.linalg.vector_norm(rest))
    for step in range(steps):
        basis[step] = rest / length  # torch's `normalize` leaves vectors below 1e-12 short
        known, image = basis[: step + 1], product(matrix, basis[step])
        projected[step, : step + 1] = known @ image
        rest = image - known.mT @ projected[step, : step + 1]
        rest = rest - known.mT @ (known @ rest)
        length = float(torch.linalg.vector_norm(rest))
        ended = length <= NOTHING * float(torch.linalg.vector_norm(image))
        if step < steps - 1 and step % STEPS_BETWEEN and not ended:
            continue
        values, vectors = eigh(projected[: step + 1, : step + 1])
        top, residual = float(values[-1]), length * abs(float(vectors[-1, -1]))
        gap = top - float(values[-2]) if step else top
        missing = min(residual, residual**2 / gap) if gap > 0 else residual
        if ended or missing <= ENOUGH * top:
            return top, known.mT @ vectors[:, -1], missing
    top, vector = _resolved(matrix, top, known.mT @ vectors[:, -1])
    return top, vector, ENOUGH * top


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
    values, vectors = eigh(basis.mH @ matrix @ basis)
    return float(values[-1]), basis @ vectors[:, -1]


def promising(matrices: torch.Tensor) -> torch.Tensor:
    """Where the largest eigenvalue of all may be: Hermitian [n, p, p], finite -> int64 [m].

    No eigenvalue is above the Frobenius norm of its matrix. So whatever has a smaller norm than the largest
    eigenvalue of one matrix, that of the largest norm, has none as large.
    """
    numbers = torch.view_as_real(matrices) if matrices.is_complex() else matrices
    norms = torch.linalg.vector_norm(numbers, dim=tuple(range(1, numbers.ndim)))
    at = int(norms.argmax())
    found: torch.Tensor = (norms >= largest_values(matrices[at : at + 1]) * SURE).nonzero()[:, 0]
    return found if len(found) else (norms >= 0).nonzero()[:, 0]  # squares of tiny numbers are zero


def largest_values(matrices: torch.Tensor) -> torch.Tensor:
    """The largest eigenvalue of each of [n, p, p], by LAPACK without vectors; else as `eigh` finds it."""
    with suppress(RuntimeError):
        values: torch.Tensor = torch.linalg.eigvalsh(matrices)[..., -1]
        if values.isfinite().all():
            return values
    return eigh(matrices)[0][..., -1]


def eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As LAPACK, which gives up on entries that are negligible next to others: without these, then."""
    with suppress(RuntimeError):
        values, vectors = torch.linalg.eigh(matrices)
        if vectors.isfinite().all():  # or it goes on with what is no number
            return values, vectors
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

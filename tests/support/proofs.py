"""What proofs are held against: 50-digit arithmetic, and checks that fail where something false is proven."""

from __future__ import annotations

import math
from itertools import product

import mpmath
import numpy as np
import torch

from convsv_cli.spectral import matrix_norm
from convsv_cli.spectral.supremum import Spectrum
from tests.support import oracles

NEAR = (0.0, 1e-15, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 0.5, 1.0)
"""How far below the truth, relative, a level may be for its proof to be false."""


def to_mpmath(matrix: np.ndarray) -> mpmath.matrix:
    """The same entries, exactly."""
    return mpmath.matrix([[mpmath.mpmathify(x) for x in row] for row in matrix.tolist()])


def true_norm(matrix: np.ndarray) -> mpmath.mpf:
    """The largest singular value of a float64 or complex128 matrix, to 50 digits."""
    return mpmath.svd_c(to_mpmath(matrix), compute_uv=False)[0]


def true_top(hermitian: np.ndarray) -> mpmath.mpf:
    """The largest eigenvalue of a Hermitian matrix, to 50 digits."""
    values = mpmath.eighe(to_mpmath(hermitian), eigvals_only=True)
    return max(values)


def true_symbol(kernel: np.ndarray, j: tuple[int, ...], grid: tuple[int, ...]) -> mpmath.matrix:
    """The symbol at frequency 2 pi j / grid, to 50 digits; kernel [c_out, c_in, *k]."""
    return true_symbol_at(kernel, tuple(mpmath.mpf(a) / n for a, n in zip(j, grid, strict=True)))


def true_symbol_at(kernel: np.ndarray, turns: tuple[float, ...]) -> mpmath.matrix:
    """The symbol at frequency 2 pi turns, to 50 digits."""
    total = mpmath.zeros(*kernel.shape[:2])
    for t in product(*map(range, kernel.shape[2:])):
        angle = sum((a * mpmath.mpf(b) for a, b in zip(t, turns, strict=True)), mpmath.mpf(0))
        phase = mpmath.expjpi(-2 * angle)
        for c, d in product(*map(range, kernel.shape[:2])):
            total[c, d] += mpmath.mpf(float(kernel[(c, d, *t)])) * phase
    return total


def true_grid_norm(weight: np.ndarray, grid: tuple[int, ...]) -> mpmath.mpf:
    """The largest singular value of all symbols of all blocks, to 50 digits."""
    return max(
        mpmath.svd_c(true_symbol(block, j, grid), compute_uv=False)[0]
        for block in weight
        for j in product(*map(range, grid))
    )


def hermitian(matrix: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """A A*, rounded to that type and exactly Hermitian."""
    gram = torch.from_numpy(matrix @ matrix.conj().T)
    gram = gram.to(dtype) if dtype.is_complex else gram.real.to(dtype)
    return gram.tril(-1) + gram.tril(-1).mH + torch.diag(gram.diagonal().real.to(dtype))


def assert_only_truth_is_proven(gram: torch.Tensor, truth: float, *, copies: int = 1) -> None:
    """No level at or below the largest eigenvalue; but twice the margins above it, the level is proven.

    Args:
        gram: one matrix [p, p], in any type.
        truth: its largest eigenvalue as a float, rounded down.
        copies: how many of them make the batch.
    """
    assert_nothing_false_is_proven(gram, truth, copies=copies)
    batch = gram.expand(copies, *gram.shape)
    margin = matrix_norm.cholesky_margin(gram.shape[-1], gram.dtype)
    if margin < 0.1 and truth:
        level = truth * (1 + 3 * margin + 1e-12)
        assert matrix_norm.proven_below(batch.clone(), level).all(), f"{level} > {truth} is not proven"


def assert_nothing_false_is_proven(gram: torch.Tensor, truth: float, *, copies: int = 1) -> None:
    """No level at or below the largest eigenvalue."""
    batch = gram.expand(copies, *gram.shape)
    for relative in NEAR:
        level = truth * (1 - relative)
        assert not matrix_norm.proven_below(batch.clone(), level).any(), f"{level} < {truth} is called proven"


def near_singular(p: int, dtype: torch.dtype, seed: int, spectrum: str) -> torch.Tensor:
    """A Gram matrix of side p in that type: Cholesky of its largest eigenvalue less itself is at the edge."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((p, p))
    if dtype.is_complex:
        matrix = matrix + 1j * generator.standard_normal((p, p))
    left, _ = np.linalg.qr(matrix)
    values = {
        "one top": np.linspace(0.1, 1, p),
        "equal": np.ones(p),
        "close": 1 - 1e-6 * np.arange(p) / p,
        "rank one": np.eye(p)[0],
    }[spectrum]
    return hermitian(left * values, dtype)


def lapack_top(gram: torch.Tensor) -> float:
    """The largest eigenvalue by LAPACK in double precision, less what that may be off."""
    wide = gram.to(torch.complex128 if gram.is_complex() else torch.float64)
    return float(torch.linalg.eigvalsh(wide)[-1]) * (1 - 1e-13)


def assert_lemma(kernel: np.ndarray, seed: int, points: int = 200) -> None:
    """Where some frequency exceeds a level, no tile around it may be cleared: `Spectrum.threshold`.

    Any frequency x and any tile centre c, a = sum d |x - c| apart, in one dimension after the other: the
    eigenvalue at c must not be below the threshold for the level that x attains.
    """
    generator = np.random.default_rng(seed)
    axes = kernel.ndim - 2
    degrees = np.array([(k - 1) / 2 for k in kernel.shape[2:]])
    upper = oracles.supremum(kernel) ** 2 * (1 + 1e-9)
    lower = oracles.infimum(kernel) ** 2 - 1e-9 * upper
    centres = generator.uniform(0, 2 * math.pi, (points, axes))
    reaches = generator.uniform(0, 1.2, points)
    steps = generator.standard_exponential((points, axes)) * generator.choice([-1, 1], (points, axes))
    steps *= (reaches / (abs(steps) @ degrees))[:, None]
    at_centre = oracles.largest_values(kernel, centres) ** 2
    inside = oracles.largest_values(kernel, centres + steps) ** 2
    for ell in (0.0, max(0.0, lower)):
        spectrum = Spectrum(lower=ell, upper=upper)
        for centre, level, reach in zip(at_centre, inside, reaches, strict=True):
            threshold = spectrum.threshold(float(level), float(reach))
            assert centre >= threshold - 1e-9 * upper, "a tile is cleared that holds something higher"

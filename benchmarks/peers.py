"""Other ways to the norm of a convolution with circular padding, a few lines each, written from the papers.

Kernels are float64 [c_out, c_in, h, w]; n is the size of the (square) input. Where a choice was open it was
made in the peer's favour: its fastest layout, and half of the frequencies in Gram iteration.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray
SLICE_BYTES = 2**28


def sedghi(kernel: Array, n: int, rows: Sequence[int] | None = None) -> float:
    """The largest singular value over all n^2 symbols (Sedghi, Gupta & Long, ICLR 2019), exact.

    As in the paper's listing, NumPy's FFT over the leading axes and its stacked SVD, here in slices of rows
    of frequencies, so that a large n does not swamp the machine. `rows`: only these, to sample the time.
    """
    taps = kernel.transpose(2, 3, 0, 1)
    halfway = np.fft.fft(taps, n, axis=0) if rows is None else _rows(taps, n, rows)
    step = max(1, SLICE_BYTES // (16 * n * kernel.shape[0] * kernel.shape[1]))
    slices = (halfway[start : start + step] for start in range(0, len(halfway), step))
    return max(float(np.linalg.svd(np.fft.fft(part, n, axis=1), compute_uv=False).max()) for part in slices)


def half_plane(kernel: Array, n: int) -> float:
    """The same by torch, over the half of the frequencies that a real kernel needs; exact."""
    return float(torch.linalg.svdvals(_symbols(torch.from_numpy(kernel), n)).max())


def gram_iteration(kernel: Array, n: int, squarings: int, dtype: torch.dtype = torch.float64) -> float:
    """An upper bound, but for rounding, by squaring Gram matrices (Delattre et al., ICML 2023, algorithm 3).

    With G_0 a symbol and G_{i + 1} = G_i* G_i, the norm is at most ||G_i||_F^(2^-i). Each matrix is rescaled
    before each product, and the logarithm of its scale carried along.
    """
    powers = _symbols(torch.from_numpy(kernel).to(dtype), n)
    logarithms = torch.zeros(powers.shape[:-2], dtype=dtype)
    for _ in range(squarings):
        norms = torch.linalg.matrix_norm(powers).clamp_min(torch.finfo(dtype).tiny)
        powers = powers / norms[..., None, None]
        powers = powers.mH @ powers
        logarithms = 2 * (logarithms + norms.log())
    last = torch.linalg.matrix_norm(powers).log() + logarithms
    return math.exp(float(last.max()) / 2**squarings)


def four_unfoldings(kernel: Array) -> float:
    """The bound sqrt(h w) times the least norm of four unfoldings, by SVDs (Fantastic Four, ICLR 2021)."""
    return math.sqrt(math.prod(kernel.shape[2:])) * min(
        float(np.linalg.svd(unfolding(kernel, rows), compute_uv=False)[0])
        for rows in ((), (0,), (1,), (0, 1))
    )


def power_iteration(kernel: Array, iterations: int = 10) -> float:
    """sqrt(h w) times the lesser norm of R and S (Singla & Feizi, 2019), by power iteration: from *below*.

    The authors' code has sold this as the bound.
    """
    norms = (_power(unfolding(kernel, rows), iterations) for rows in ((0,), (1,)))
    return math.sqrt(math.prod(kernel.shape[2:])) * min(norms)


def unfolding(kernel: Array, rows: tuple[int, ...]) -> Array:
    """The kernel as a matrix, with these of its two spatial axes in the rows: (0,) is R and (1,) is S."""
    columns = [axis for axis in (0, 1) if axis not in rows]
    order = (0, *(2 + axis for axis in rows), 1, *(2 + axis for axis in columns))
    height = kernel.shape[0] * math.prod(kernel.shape[2 + axis] for axis in rows)
    return kernel.transpose(order).reshape(height, -1)


def _rows(taps: Array, n: int, rows: Sequence[int]) -> Array:
    """These rows of the transform along the first axis."""
    phases = np.exp(-2j * np.pi * np.outer(rows, np.arange(taps.shape[0])) / n)
    return np.tensordot(phases, taps, 1)


def _power(matrix: Array, iterations: int) -> float:
    right = np.random.default_rng(0).standard_normal(matrix.shape[1])
    for _ in itertools.repeat(None, iterations):
        left = matrix @ right
        left /= np.linalg.norm(left)
        right = matrix.T @ left
        right /= np.linalg.norm(right)
    return float(np.linalg.norm(matrix @ right))


def _symbols(kernel: torch.Tensor, n: int) -> torch.Tensor:
    """[n, n // 2 + 1, c_out, c_in]."""
    return torch.fft.rfft2(kernel.permute(2, 3, 0, 1), (n, n), dim=(0, 1))

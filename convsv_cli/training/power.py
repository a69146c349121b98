r"""One step towards the largest singular value of many matrices at once, from where the last step ended.

A plain power step multiplies the error of sigma by (sigma_2 / sigma_1)^4. On trained kernels that is nearly
1: fifty steps leave 1e-2 of it. So each step looks for the best vector among three, the last u, the residual
r = M M^T u - sigma^2 u, and the direction d in which u came: LOPCG (Knyazev, SIAM J. Sci. Comput. 2001), at
whose rate the square root of the gap counts. The matrices may change from step to step, as weights do in
training: nothing but directions is kept.

The gradient of sigma = u^T M v is u v^T (Singla & Feizi, arXiv 1911.10258, section 3.1).

The matrices are real, or complex, of which M^T is the adjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from convsv_cli.spectral.cores import one_thread_each

DIRECTIONS = 3
PARALLEL = {torch.float32: 1e-4, torch.float64: 1e-10}  # squared sines: directions that add nothing but noise


def start(matrix: torch.Tensor) -> torch.Tensor:
    """Three directions [blocks, rows, 3] for matrices [blocks, rows, columns], the same each time."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(*matrix.shape[:2], DIRECTIONS, generator=generator, dtype=torch.float64)
    return unit(random).to(matrix)


def triple(matrix: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm of M^T u, and v along it: [blocks, p, q], unit [blocks, p, 1] -> [blocks], [blocks, q, 1].

    sigma is not above the largest singular value, and is it where u is the singular vector.
    """
    image = matrix.mH @ u
    return torch.linalg.vector_norm(image, dim=(1, 2)), unit(image)


def few_threads(device: str) -> AbstractContextManager[None]:
    """On a CPU, one thread: hundreds of small products mostly wait for each other's threads with more."""
    return one_thread_each() if device == "cpu" and not torch.compiler.is_compiling() else nullcontext()


@torch.no_grad()
def step(matrices: Sequence[torch.Tensor], directions: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The next directions of each of the matrices, of which the first column is u.

    What is not finite is left as it was, so that a weight that overflowed once does no lasting harm.
    """
    grams = [x.mH @ x for x in directions]
    images = [m.mH @ x for m, x in zip(matrices, directions, strict=True)]
    forms = [y.mH @ y for y in images]
    best = _best(torch.cat(grams), torch.cat([f.to(grams[0].device) for f in forms]))
    parts = torch.split(best, [len(gram) for gram in grams])
    return [_next(m, x, c.to(x)) for m, x, c in zip(matrices, directions, parts, strict=True)]


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Columns [.., n, columns], of length 1 where they were not zero."""
    norms = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)
    columns: torch.Tensor = torch.where(norms > 0, vectors / norms, 0.0)
    return columns


def _next(matrix: torch.Tensor, directions: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    last, u = directions[..., :1], unit(directions @ best)
    image = matrix.mH @ u
    residual = matrix @ image - image.abs().square().sum((1, 2), keepdim=True) * u
    came = last - u * (u.conj() * last).sum(1, keepdim=True)
    found = torch.cat([u, unit(residual), unit(came)], 2)
    return torch.where(found.isfinite(), found, directions)


def _best(grams: torch.Tensor, forms: torch.Tensor) -> torch.Tensor:
    """Of all combinations X c of directions the one with the largest |M^T X c| / |X c|: [n, 3, 1].

    Args:
        grams: X^T X, [n, 3, 3].
        forms: X^T M M^T X.
    """
    scale = forms.diagonal(dim1=1, dim2=2).sum(1).abs()[:, None, None]
    forms = torch.nan_to_num(torch.where(scale > 0, forms / scale, 0.0))
    squares, axes = torch.linalg.eigh(torch.nan_to_num(grams))
    kept = squares > PARALLEL[squares.dtype] * squares[:, -1:]
    whitened = axes * torch.where(kept, squares.clamp_min(1e-30).rsqrt(), 0.0)[:, None, :]
    _, vectors = torch.linalg.eigh(whitened.mH @ forms @ whitened)
    best: torch.Tensor = whitened @ vectors[..., -1:]
    return best

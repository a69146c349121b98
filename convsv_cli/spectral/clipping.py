"""Kernels brought under a limit: singular values clipped at the frequencies of a torus, or scaled.

Kernels whose symbol has no singular value above the limit at the frequencies of a torus are a convex set, and
those with a given support are a subspace. The projection onto the first clips the singular values at each
frequency (Sedghi, Gupta & Long, ICLR 2019, section 4); that onto the second drops what is outside.

They are alternated with steps that are longer than the projections: with P x the nearest point of the convex
set, d = x - P x, and e the part of d in the subspace, x becomes x - (|d|^2 / |e|^2) e. (Extrapolated
projections: Gurin, Polyak & Raik 1967; Bauschke, Combettes & Kruk 2006.) No point of both sets is farther
from the new x than from the old one: each z of the convex set has <z - P x, d> <= 0, and so is in the half
space <z - x, d> <= -|d|^2; and the new x is the projection of the old one onto the subspace and that half
space. Plain alternation takes ten times as many steps.

None of that is a proof: what proves is the certified norm of the result, rounded as it will be stored, and
the last step is always a factor of at most 1 with which that norm keeps the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from convsv_cli import deadline, limits
from convsv_cli.model.kernel import reduce_kernel, reduced_weight
from convsv_cli.model.layer import Geometry
from convsv_cli.report import CLIP, TOLERANCE, WORK_LIMIT, Interval
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import norms_of, search_work

FINE, COARSE = 5, 3
"""Frequencies on an axis, by tap of the kernel: where there is room, and where there is not."""
ENTRIES, PRODUCTS = 2**24, 2e10
"""Of all symbols of a torus, and multiplications to clip them once: a coarser torus where these are more."""
ROUNDS = 20
"""Of projections, at most."""
REACHED = 1e-9
"""By how much the limit may be exceeded, relatively, on the torus: a factor takes the rest."""
SLOPES = (0.02, 0.06, 0.2)
"""What the level falls off by, relatively, away from frequency zero: the next where the one before makes a
symbol so flat that its norm takes long to prove."""
LEVELS = 2
"""That are tried for each: the second one is corrected by what the norm is with the first."""
EASY = 20
"""Times the work of a usual proof, that is little."""
COPIES = 6
"""Of all symbols, while they are clipped."""
SPARE = 2.0**-40
"""What the factor is smaller by than it need be, at first."""
Rounded = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Brought:
    """A weight that keeps its limit.

    Attributes:
        weight: float64, before it is rounded as it will be stored.
        norm: of it as it will be stored, proven.
    """

    weight: torch.Tensor
    norm: Interval


def brought_under(
    weight: torch.Tensor,
    geometry: Geometry,
    limit: float,
    *,
    method: str = CLIP,
    rounded: Rounded = lambda weight: weight,
    tolerance: float = TOLERANCE,
    work_limit: float = WORK_LIMIT,
) -> Brought:
    """A weight near to this one whose certified norm is at most `limit` once it is stored.

    With `CLIP`, singular values above the limit become the limit, as far as that goes with the kernel's
    support; of a matrix, exactly: the nearest one in the Frobenius norm. With `SCALE`, all are multiplied.

    Args:
        weight: finite [c_out, c_in / groups, *k], or [c_in, c_out / groups, *k] where transposed.
        geometry: how it is applied.
        limit: of the supremum over all input sizes; positive.
        method: `CLIP` or `SCALE`.
        rounded: what is read back, float64, when a weight like this one is stored.
        tolerance, work_limit: of the certificate, as in `norms.Norms.supremum`.

    Raises:
        LimitError: it takes more than the model may.
    """
    with one_thread_each():
        proof = _Proof(geometry, rounded, tolerance, work_limit)
        found = weight.to(torch.float64)
        norm = proof(found)
        if norm.upper <= limit:
            return Brought(weight=found, norm=norm)
        if method == CLIP:
            found = _clipped(found, limit, proof)
        return _fitted(found, limit, proof)


@dataclass(frozen=True)
class _Proof:
    """The certified norm of a weight as it will be stored."""

    geometry: Geometry
    rounded: Rounded
    tolerance: float
    work_limit: float

    def __call__(self, weight: torch.Tensor, work_limit: float | None = None) -> Interval:
        kernel = reduce_kernel(self.rounded(weight), self.geometry)
        limit = self.work_limit if work_limit is None else work_limit
        return norms_of(kernel).supremum(tolerance=self.tolerance, limit=limit)


def _fitted(weight: torch.Tensor, limit: float, proof: _Proof) -> Brought:
    """The weight times the factor with which its proof keeps the limit.

    It ends: each round spares twice as much, so that the factor is 0 after some 40 rounds at the latest.
    """
    factor, spare = 1.0, SPARE
    norm = proof(weight)
    while not norm.upper <= limit:
        factor *= limit / norm.upper * (1 - spare) if math.isfinite(norm.upper) else 0.5
        spare = min(1.0, 2 * spare)
        norm = proof(weight * factor)
    return Brought(weight=weight * factor, norm=norm)


def _clipped(weight: torch.Tensor, limit: float, proof: _Proof) -> torch.Tensor:
    """The weight with its singular values clipped, close to the limit but not surely below it.

    With the flattest level at which the norm is proven in little work, so that audits of it are quick, too.
    """
    support = Support.of(weight, proof.geometry)
    kernel = support.kernel(weight / limit)  # so that squares are numbers
    easy = EASY * search_work(reduce_kernel(weight, proof.geometry))
    found = weight
    for slope in SLOPES:
        level = 1.0
        for _ in range(LEVELS):
            found = limit * support.weight(projected(kernel, support.mask, level, slope))
            norm = proof(found, easy)
            if deadline.ended() or not norm.upper <= norm.lower * (1 + proof.tolerance):
                break
            level *= limit / norm.upper if norm.upper else 1.0
        else:
            break
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Support:
    """Where the entries of a weight are in its reduced kernel: nothing else of that may be other than 0.

    Attributes:
        shape: of the weight.
        places: int64, as the reduced kernel is: 1 + the index of the weight's entry, or 0 for none.
    """

    shape: torch.Size
    places: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor, geometry: Geometry) -> Support:
        """Of a weight: reducing the numbers of its entries tells where these go, for it copies each once."""
        numbers = torch.arange(1, weight.numel() + 1, dtype=torch.float64).reshape(weight.shape)
        return cls(shape=weight.shape, places=reduced_weight(numbers, geometry).long())

    @property
    def mask(self) -> torch.Tensor:
        """Which entries of the reduced kernel are some of the weight."""
        return self.places > 0

    def kernel(self, weight: torch.Tensor) -> torch.Tensor:
        """The reduced kernel of a weight."""
        padded = torch.cat([weight.new_zeros(1), weight.flatten()])
        return padded[self.places]

    def weight(self, kernel: torch.Tensor) -> torch.Tensor:
        """The weight of a reduced kernel."""
        found = kernel.new_zeros(1 + math.prod(self.shape))
        found[self.places.flatten()] = kernel.flatten()
        return found[1:].reshape(self.shape)


def projected(
    kernel: torch.Tensor, mask: torch.Tensor, level: float, slope: float, rounds: int = ROUNDS
) -> torch.Tensor:
    """A kernel near to this one with the same support and, nearly, at most this norm on a torus.

    Args:
        kernel: float64 [blocks, c_out, c_in, *k].
        mask: where it may be other than 0.
        level: the norm.
        slope: by how much less it is to be, relatively, at the frequencies farthest from zero.
        rounds: of projections, at most.

    Raises:
        LimitError: as `brought_under`.
    """
    grid = torus(kernel)
    levels = level * _tent(grid, slope)
    for _ in range(rounds):
        above = excess(_symbol(kernel, grid), levels)
        if above is None or deadline.ended():
            break
        whole = _kernel(above, grid)
        part = whole
        for axis, taps in enumerate(kernel.shape[3:], 3):
            part = part.narrow(axis, 0, taps)
        step = torch.where(mask, part, 0.0)
        kernel = kernel - whole.square().sum() / step.square().sum() * step
    return kernel


def torus(kernel: torch.Tensor) -> tuple[int, ...]:
    """How many frequencies on each axis: many for each tap, unless the kernel has too many channels for that.

    Raises:
        LimitError: what it takes at least is more than the model may take.
    """
    blocks, c_out, c_in, *taps = kernel.shape
    side = min(c_out, c_in)
    for fine in range(FINE, COARSE - 1, -1):
        grid = tuple(1 if k == 1 else fine * k + (fine * k) % 2 for k in taps)
        entries = blocks * c_out * c_in * math.prod(grid) / 2
        products = entries * side * 8
        if (entries <= ENTRIES and products <= PRODUCTS) or fine == COARSE:
            break
    limits.hold(16 * COPIES * entries, "clipping its singular values")
    return grid


def _tent(grid: tuple[int, ...], slope: float) -> torch.Tensor:
    """1 at frequency zero, less elsewhere, by `slope` at the farthest: for each of those of `_symbol`."""
    if not grid:
        return torch.ones((), dtype=torch.float64)
    counts = [*grid[:-1], grid[-1] // 2 + 1]
    turns = [torch.arange(count, dtype=torch.float64) / n for count, n in zip(counts, grid, strict=True)]
    waves = [torch.sin(math.pi * each).square() for each in turns]
    heights = torch.stack(torch.meshgrid(*waves, indexing="ij")).sum(0)
    wide = sum(n > 1 for n in grid)
    return 1 - slope * heights / max(1, wide)


def _symbol(kernel: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """At half of the frequencies; the others are conjugates: [*frequencies, blocks, c_out, c_in]."""
    axes = tuple(range(3, kernel.ndim))
    if not axes:
        return kernel.to(torch.complex128)
    symbol: torch.Tensor = torch.fft.rfftn(kernel, s=grid, dim=axes)
    return symbol.movedim((0, 1, 2), (-3, -2, -1))


def _kernel(symbol: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The real kernel on the torus with this symbol: [blocks, c_out, c_in, *grid]."""
    if not grid:
        return symbol.real
    axes = tuple(range(3, 3 + len(grid)))
    found: torch.Tensor = torch.fft.irfftn(symbol.movedim((-3, -2, -1), (0, 1, 2)), s=grid, dim=axes)
    return found


def excess(symbol: torch.Tensor, levels: torch.Tensor) -> torch.Tensor | None:
    """What is to be taken off matrices for the nearest ones of at most these norms; None for nothing.

    G = S S* = U s^2 U*, so that U max(0, 1 - level / s) U* S is it. Where level^2 I - G has a Cholesky
    factorization, no s is above the level.

    Args:
        symbol: [*frequencies, blocks, rows, columns].
        levels: [*frequencies].
    """
    shape = symbol.shape
    turned = shape[-2] > shape[-1]
    flat = symbol.reshape(-1, *shape[-2:])
    wide = flat.mH if turned else flat
    level = levels[..., None].expand(shape[:-2]).reshape(-1, 1)
    gram, top = wide @ wide.mH, (level * (1 + REACHED)).square()
    identity = torch.eye(wide.shape[-2], dtype=wide.dtype)
    large = torch.linalg.cholesky_ex(top[..., None] * identity - gram).info != 0
    if not large.any():
        return None
    squares, vectors = torch.linalg.eigh(gram[large])
    shares = 1 - level[large] / torch.maximum(squares, level[large].square()).sqrt()
    above = (vectors * shares[:, None, :]) @ (vectors.mH @ wide[large])
    result = torch.zeros_like(flat)
    result[large] = above.mH if turned else above
    return result.reshape(shape)

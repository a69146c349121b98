r"""Upper ends of the norms of zero-padded convolutions that treat a few directions of the channels exactly.

Let A = [A1 A2] in an orthogonal basis of the input channels, A1 of the r directions in which the norm is
nearly attained. A2 is a submatrix of a circular layer C2, of which P takes the outputs there are: A2 A2^T is
at most P C2 C2^T P^T. So |A|^2 = |A1 A1^T + A2 A2^T| <= M^2 where

    A1 A1^T <= P D P^T,    D = M^2 - C2 C2^T > 0,

that is, where A1^T (P D P^T)^-1 A1 <= 1. The inverse of a compression is at most the compression of the
inverse, so that this holds if, for any circular X >= D^-1,

    A1^T P X P^T A1 <= 1:

a matrix with r rows for each place, instead of all channels. D and X are compared at each frequency. A1 has
its zero padding at both ends; the result is too large only by what A2 gains from an input on a whole circle.

Rounding is taken off as everywhere: of the symbols of C2, of their products and of D. X is whatever was
computed as the inverse of D: with |D X - 1| = rho, |X - D^-1| <= |X| rho / (1 - rho). By what its entries in
space have another symbol than X is seen by computing that once more. And the basis W is not quite orthogonal:
|A| <= (|fl(A W)| + e) / sigma_min(W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, round_down, round_up, up
from convsv_cli.spectral.matrix_norm import proven_below
from convsv_cli.spectral.padded_convolution import PaddedConvolution
from convsv_cli.spectral.padded_gram import PaddedGram
from convsv_cli.spectral.spectrum import half_grid, kernel_of, symbol_error, symbols

INVERSE, GATHERED = 6, 60
"""Multiplications in the time of one for an inverse and its proof, and of an entry that is moved."""
FADING = 0.5
"""How much less each vector counts than the next better one, where directions are chosen."""
MOST_LOST = 0.5  # of the distance of a product with an inverse to 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
    """A zero-padded layer of stride 1 and one group, in a basis of its input channels.

    Attributes:
        first: how many directions are treated exactly, r.
        rotated: the weight in that basis, float64 [c_out, c_in, *k], scaled to a norm of about 1.
        basis: W, nearly orthogonal, [c_in, c_in].
        absolute: a bound of the sum over taps of their Frobenius norms.
        valid: for each axis [size, k], 1 where an input is seen by that tap.
        dilation: distances of taps.
        circle: size of the circular layer.
    """

    first: int
    rotated: torch.Tensor
    basis: torch.Tensor
    absolute: float
    valid: tuple[torch.Tensor, ...]
    dilation: tuple[int, ...]
    circle: tuple[int, ...]

    @classmethod
    def of(cls, layer: PaddedConvolution, vectors: torch.Tensor, first: int) -> Directions:
        """Of a layer that fits, and vectors [n, c_in, *size] that it amplifies most, the best one last."""
        weights = FADING ** torch.arange(len(vectors) - 1, -1, -1, device=vectors.device)
        channels = (vectors.transpose(0, 1) * weights.view(-1, *[1] * len(layer.size))).flatten(1)
        basis = torch.linalg.eigh(channels @ channels.mT)[1].flip(1)
        axes = len(layer.size)
        padding = layer.geometry.padding
        return cls(
            first=first,
            rotated=torch.einsum("oi...,ij->oj...", layer.weight, basis),
            basis=basis,
            absolute=_absolute(layer.weight),
            valid=PaddedGram.unordered(layer, outputs=False).valid,
            dilation=layer.dilation,
            circle=tuple(n + max(padding[i], padding[axes + i]) for i, n in enumerate(layer.size)),
        )

    @staticmethod
    def fit(layer: PaddedConvolution) -> bool:
        """Whether there is such a proof of a layer."""
        return layer.geometry.groups == 1 and all(s == 1 for s in layer.stride)

    @property
    def work(self) -> float:
        """Multiplications of `upper`."""
        c_out, c_in = self.rotated.shape[:2]
        frequencies, rows = math.prod(self.circle), self.first * math.prod(map(len, self.valid))
        taps = self.first * math.prod(self.rotated.shape[2:])
        inverses = INVERSE * frequencies * c_out**2 * (c_in + c_out)
        kernels = 2.0 * frequencies * c_out * (frequencies * c_out + taps * (c_out + taps))
        return inverses + kernels + GATHERED * frequencies * taps**2 + rows**2 * (rows / 6 + GATHERED)

    @property
    def bytes(self) -> float:
        """What it holds at most."""
        c_out, c_in = self.rotated.shape[:2]
        frequencies, rows = math.prod(self.circle), self.first * math.prod(map(len, self.valid))
        taps = self.first * math.prod(self.rotated.shape[2:])
        symbols = frequencies * (frequencies + 5 * c_out * max(c_in, c_out))
        return 8.0 * (symbols + 4 * frequencies * taps**2 + 4 * rows**2)

    def upper(self, level: float) -> float:
        """A bound of the layer's norm just above a level; infinite where none is proven."""
        square = level * level
        if not self._below(square):
            return math.inf
        c = len(self.basis)
        size = round_up(float(torch.linalg.vector_norm(self.basis)) * up(c * c))
        rotation = gamma(c + 2) * self.absolute * size
        apart = self.basis.mT @ self.basis
        apart.diagonal().sub_(1)
        skew = round_up(float(torch.linalg.vector_norm(apart)) * up(c * c) + gamma(c + 2) * size**2)
        if skew >= MOST_LOST:
            return math.inf
        return round_up(round_up(math.sqrt(square) + rotation) / math.sqrt(1 - skew))

    def _below(self, square: float) -> bool:
        """Whether the square of the norm of the rotated layer is proven to be at most that."""
        inverse = self._inverse(square)
        if inverse is None:
            return False
        kernel, short = inverse
        absolute = _absolute(self._leading) ** 2 * up(4)
        sizes = float(torch.linalg.vector_norm(kernel.flatten(2), dim=(0, 1)).sum()) * up(kernel.numel())
        taps = math.prod(self.rotated.shape[2:])
        error = gamma(2 * len(kernel) + taps**2 + 8) * round_up(absolute * sizes)
        level = round_down(1 - round_up(short * absolute))
        return bool(proven_below(self._compressed(kernel)[None], level, round_up(error)).all())

    @property
    def _leading(self) -> torch.Tensor:
        """The taps of A1, [c_out, r, *k]."""
        return self.rotated[:, : self.first]

    @cached_property
    def _products(self) -> tuple[torch.Tensor, float]:
        """G2 G2* at one of each pair of opposite frequencies, and a bound of the errors."""
        rest = self._dilated(self.rotated[:, self.first :])[None]
        found = torch.cat(list(symbols(rest, self.circle)))
        error = symbol_error(rest)
        size = round_up(_longest(found) * up(found[0].numel()))
        products = found @ found.mH
        products = (products + products.mH) / 2
        return products, round_up((2 * size + error) * error + gamma(4 * (found.shape[2] + 3)) * size**2)

    def _dilated(self, taps: torch.Tensor) -> torch.Tensor:
        """With the zeros between them."""
        for axis, d in enumerate(self.dilation, start=2):
            wide = taps.new_zeros(*taps.shape[:axis], d * (taps.shape[axis] - 1) + 1, *taps.shape[axis + 1 :])
            wide.movedim(axis, 0)[::d] = taps.movedim(axis, 0)
            taps = wide
        return taps

    def _inverse(self, square: float) -> tuple[torch.Tensor, float] | None:
        """The kernel of X [c_out, c_out, *circle], and how much may be missing of it at each frequency.

        None where it is not proven that D is positive definite.
        """
        products, error = self._products
        error = round_up(error + 8 * UNIT_ROUNDOFF * square)
        if not proven_below(products.clone(), square, error).all():
            return None
        c = products.shape[-1]
        remaining = -products
        remaining.diagonal(dim1=-2, dim2=-1).add_(square - error)
        inverse = torch.linalg.inv(remaining)
        inverse = (inverse + inverse.mH) / 2
        apart = remaining @ inverse
        apart.diagonal(dim1=-2, dim2=-1).sub_(1)
        left, right, distance = (
            round_up(_longest(each) * up(4 * c * c)) for each in (remaining, inverse, apart)
        )
        distance = round_up(distance + gamma(4 * (c + 3)) * left * right)
        if distance >= MOST_LOST:
            return None
        kernel = kernel_of(inverse, self.circle)
        axes = tuple(range(2, kernel.ndim))
        back = kernel.flip(axes).roll((1,) * len(axes), axes).transpose(0, 1)
        kernel = (kernel + back) / 2
        again, lost = _symbols_by_axes(kernel)
        off = round_up(_longest(again.sub_(inverse)) * up(4 * c * c) + lost)
        # Outputs p and p' see one input by taps t and t' where d t - d t' = p' - p: opposite to the symbols.
        return kernel.transpose(0, 1), round_up(right * distance / (1 - distance) + off)

    def _compressed(self, kernel: torch.Tensor) -> torch.Tensor:
        """A1^T P X P^T A1, [r places, r places].

        Of taps t and u, which see inputs q and q' from outputs p and p', it has a_t^T X(p - p') a_u at
        p - p' = q - q' - d (t - u), if both outputs exist: which of them do is the same for most places.
        """
        r, axes = self.first, len(self.circle)
        taps = self._leading.flatten(2).permute(2, 1, 0).flatten(0, 1)  # [K r, c_out]
        both = torch.einsum("ao,op...,bp->ab...", taps, kernel, taps)
        sizes = self.rotated.shape[2:]
        both = both.view(*sizes, r, *sizes, r, *self.circle)
        for axis, (valid, d) in enumerate(zip(self.valid, self.dilation, strict=True)):
            kinds = torch.unique(valid, dim=0)
            pairs = both.movedim((axis, axes + 1 + axis), (0, 1))
            moved = [
                pair.roll(d * (t - u), axis - axes)
                for t, row in enumerate(pairs)
                for u, pair in enumerate(row)
            ]
            summed = torch.kron(kinds, kinds) @ torch.stack(moved).flatten(1)
            both = summed.view(len(kinds), len(kinds), *pairs.shape[2:])
            both = both.movedim((0, 1), (axis, axes + 1 + axis))
        index = self._places
        table = both.movedim((axes, 2 * axes + 1), (0, 1)).flatten(2)
        matrix = table[:, :, index.flatten()].view(r, r, *index.shape)
        return matrix.transpose(1, 2).flatten(2).flatten(0, 1)

    @cached_property
    def _places(self) -> torch.Tensor:
        """Where each entry of `_compressed` stands among kinds of both places and their distances."""
        left = right = apart = torch.zeros(1, dtype=torch.int64, device=self.rotated.device)
        left, apart = left[:, None], apart[:, None]
        count = 1
        for valid, n in zip(self.valid, self.circle, strict=True):
            kinds, kind = torch.unique(valid, dim=0, return_inverse=True)
            place = torch.arange(len(valid), device=valid.device)
            shift = (place[:, None] - place) % n
            left = (left[:, None] * len(kinds) + kind[:, None]).flatten(0, 1)
            right = (right[:, None] * len(kinds) + kind).flatten()
            apart = (apart[:, None, :, None] * n + shift[:, None]).flatten(2).flatten(0, 1)
            count *= len(kinds)
        return (left * count + right) * math.prod(self.circle) + apart


def _symbols_by_axes(kernel: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The `symbols` of float64 [c_out, c_in, *grid] on that grid, and a bound of the errors of each.

    Summed over one axis after the other, which takes fewer products than over all taps at once. With d the
    error of a sum of n complex terms, whose phases are off as in `symbol_error`, what comes of sums of sums
    is off by (1 + d) (1 + d') ... - 1 times sum_t |K_t|, entry by entry, for all phases have modulus 1.
    """
    grid = tuple(kernel.shape[2:])
    found = kernel.movedim((0, 1), (-2, -1)).to(torch.complex128)
    relative = 0.0
    for axis in reversed(range(len(grid))):
        n = grid[axis]
        place = torch.arange(n, device=kernel.device)
        angle = 2 * math.pi * ((place[: half_grid(grid)[axis], None] * place % n).double() / n)
        phases = torch.complex(angle.cos(), -angle.sin())
        found = torch.tensordot(phases, found, dims=([1], [axis])).movedim(0, axis)
        relative += gamma(4 * (n + 3)) + math.sqrt(2) * (10 * math.pi + 4) * UNIT_ROUNDOFF
    return found.flatten(0, -3), round_up(1.01 * relative * _absolute(kernel))


def _longest(matrices: torch.Tensor) -> float:
    """The largest Frobenius norm of [n, p, q], as computed: of parts, many times faster than of moduli."""
    parts = torch.view_as_real(matrices) if matrices.is_complex() else matrices
    return float(torch.linalg.vector_norm(parts.flatten(1), dim=1).max())


def _absolute(weight: torch.Tensor) -> float:
    """A bound of the sum over taps of the Frobenius norms of [c_out, c_in, *k]."""
    lengths = torch.linalg.vector_norm(weight.flatten(2), dim=(0, 1))
    return round_up(float(lengths.sum()) * up(weight.numel()))

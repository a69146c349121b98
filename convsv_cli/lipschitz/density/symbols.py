"""Symbols of linear maps: what multiplies a block of a covariance from the left, at each frequency."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from convsv_cli.lipschitz.density.sizes import checked, size
from convsv_cli.lipschitz.density.steps import Convolution, LinearPart, Placement, Scaling, Windowed
from convsv_cli.lipschitz.density.torus import Frequencies, Torus, transform
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, up

UNFOLDED = 2**26
"""Bytes of the windows of images that torch unfolds at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Symbol(ABC):
    """A linear map at each frequency.

    Attributes:
        norm: at least |G|: the Frobenius norm at any frequency, or any other with |G B|_F <= |G| |B|_F.
        rounding: a bound of what `times` loses, relative to |G| |B|_F, but for the error of the symbol.
        error: bounds the norm of the error of the symbol.
    """

    norm: float
    rounding: float
    error: float = 0.0

    @abstractmethod
    def times(self, block: torch.Tensor) -> torch.Tensor:
        """The product with a block: [frequencies or 1, c_in, m] -> [frequencies or 1, c_out, m]."""

    def at(self, _: Frequencies) -> Symbol:
        """At some of the frequencies; most symbols are the same at all."""
        return self

    def loss(self, block: torch.Tensor) -> float:
        """Bounds the Frobenius norm of the error of the product with a block, [frequencies or 1, c_in, m]."""
        return (self.error + self.rounding * self.norm) * size(block) * up(8)

    def inherited(self, error: float) -> float:
        """Bounds the Frobenius norm of what an error of a block, of that norm, becomes."""
        return (self.norm + self.error) * error * up(8)


Terms = Sequence[tuple[str, Symbol]]
"""A sum of linear maps: names of fields, and what maps them."""
Maps = Mapping[str, Terms]
"""Linear maps by the names of their outputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Symbol):
    """A matrix per frequency.

    Attributes:
        matrix: block-diagonal, [frequencies or 1, groups, c_out / groups, c_in / groups].
        norm, rounding, error: as of `Symbol`.
    """

    matrix: torch.Tensor

    def at(self, frequencies: Frequencies) -> Symbol:
        """At some of the frequencies."""
        return replace(self, matrix=frequencies.of(self.matrix))

    def times(self, block: torch.Tensor) -> torch.Tensor:
        """As of `Symbol`, [frequencies or 1, c_out, m]: group by group."""
        groups, rows, columns = self.matrix.shape[1:]
        if self.matrix.is_complex() and not block.is_complex():
            block = block.to(self.matrix.dtype)
        matrix = self.matrix.to(block.dtype)
        if groups == 1:
            return matrix[:, 0].clone() if _is_identity(block) else matrix[:, 0] @ block
        if columns == 1:  # depthwise: a column times a row is no work for a product of matrices
            spread = block[:, :, None] * matrix[..., 0].reshape(len(matrix), groups, rows)[..., None]
            return spread.flatten(1, 2)
        parts = block.reshape(len(block), groups, columns, block.shape[2])
        return (matrix @ parts).flatten(1, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagonal(Symbol):
    """A factor per channel.

    Attributes:
        factors: float64 [1] or [channels].
        norm, rounding, error: as of `Symbol`.
    """

    factors: torch.Tensor

    def times(self, block: torch.Tensor) -> torch.Tensor:
        """As of `Symbol`, [frequencies or 1, channels, m]."""
        return block * self.factors[:, None].to(block.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moves(Symbol):
    """Channels that become others; exact.

    Attributes:
        placement: which become which.
        norm, rounding, error: as of `Symbol`.
    """

    placement: Placement

    def times(self, block: torch.Tensor) -> torch.Tensor:
        """As of `Symbol`, [frequencies or 1, c_out, m]."""
        place = self.placement
        found = block.new_zeros(len(block), place.channels, block.shape[2])
        return found.index_copy(1, place.targets, block.index_select(1, place.sources))


@dataclass(frozen=True, kw_only=True, eq=False)
class Local(Symbol):
    """A convolution of windows, which acts on each column of a block as on an image.

    Attributes:
        part: what it does.
        kernel: [c_out, c_in / groups, *taps].
        norm, rounding, error: as of `Symbol`.
    """

    part: Windowed
    kernel: torch.Tensor

    def times(self, block: torch.Tensor) -> torch.Tensor:
        """As of `Symbol`, with channels and positions as rows: [1, c_out * positions, m]."""
        convolution, (count, _, columns) = self.part.convolution, block.shape
        groups, rows, inner = convolution.kernel.shape[:3]
        images = block.mT.reshape(count * columns, groups * inner, *self.part.source)
        images = _padded(images, self.part)
        steps = tuple(along[1] - along[0] if len(along) > 1 else 1 for along in convolution.offsets)
        apply = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
        kernel = self.kernel.to(block.dtype)
        unfolded = max(1, math.prod(images.shape[1:]) * kernel[0, 0].numel() * block.element_size())
        parts = [
            apply[len(steps) - 1](some, kernel, stride=convolution.stride, dilation=steps, groups=groups)
            for some in torch.split(images, max(1, UNFOLDED // unfolded))
        ]
        found = torch.cat(parts) if len(parts) > 1 else parts[0]
        for axis, n in enumerate(self.part.target, 2):
            found = found.narrow(axis, 0, n)
        return found.reshape(count, columns, groups * rows * math.prod(self.part.target)).mT


def _padded(images: torch.Tensor, part: Windowed) -> torch.Tensor:
    """With zeros, or without entries, so that the first window of taps is that of the first output."""
    pads: list[int] = []
    axes = zip(part.convolution.offsets, part.convolution.stride, part.source, part.target, strict=True)
    for along, stride, before, after in axes:
        pads[:0] = [-along[0], max(0, (after - 1) * stride + along[-1] - (before - 1))]
    return torch.nn.functional.pad(images, pads)


def scaled_by(factors: torch.Tensor) -> Diagonal:
    """The symbol of a factor per channel, float64 [1] or [channels]; signs are exact.

    Raises:
        InfeasibleError: the largest factor is neither 0 nor from `LEAST` to `MOST`.
    """
    magnitudes = factors.detach().abs()
    largest, exact = checked(float(magnitudes.max())), bool((magnitudes == 1).all())
    return Diagonal(factors=factors, norm=largest, rounding=0.0 if exact else 4 * UNIT_ROUNDOFF)


def symbol(part: LinearPart, on: Torus, dtype: torch.dtype) -> Symbol:
    """The symbol of a linear map.

    Args:
        part: the map.
        on: the torus of its input, or of its output where it is transposed: the finer one.
        dtype: complex128, or complex64 where nothing is proven.

    Raises:
        InfeasibleError: its norm is neither 0 nor from `LEAST` to `MOST`.
    """
    if isinstance(part, Placement):
        return Moves(placement=part, norm=1.0, rounding=0.0)
    if isinstance(part, Scaling):
        return scaled_by(part.factors)
    if isinstance(part, Windowed):
        return _local(part)
    return _convolution(part, on, dtype)


def _local(part: Windowed) -> Symbol:
    """Of norm at most sum_t |K_t|: each tap maps positions to positions, and none twice.

    In double precision torch sums products by the definition, in any order.
    """
    kernel = part.convolution.kernel
    taps = kernel.flatten(3).movedim(-1, 0).flatten(1)
    norm = checked(float(taps.norm(dim=1).sum()) * up(kernel.numel() + 8))
    error = math.sqrt(len(taps)) * part.convolution.error * up(8)
    inner = kernel.shape[2] * len(taps)
    flat = kernel.flatten(0, 1)
    return Local(part=part, kernel=flat, norm=norm + error, rounding=gamma(inner + 4), error=error)


def _convolution(part: Convolution, on: Torus, dtype: torch.dtype) -> Symbol:
    """The transform of the kernel; complex products count as real sums of four times the length."""
    kernel, offsets = part.kernel, part.offsets
    if part.transposed:
        offsets = tuple(tuple(-offset for offset in along) for along in offsets)
    matrix, error = transform(kernel, offsets, on)
    taps, inner = math.prod(kernel.shape[3:]), kernel.shape[2]
    norm = size(matrix) + error
    error += math.sqrt(taps) * part.error * up(8)
    if part.transposed:  # the unitary transform of a tensor with zeros between its entries
        factor = 1 / math.sqrt(math.prod(part.stride))
        matrix, norm, error = matrix * factor, norm * factor * up(2), error * factor * up(2)
        error += 4 * UNIT_ROUNDOFF * norm
    if dtype == torch.complex64:
        matrix = matrix.to(torch.complex64 if matrix.is_complex() else torch.float32)
    return Dense(matrix=matrix, norm=norm + error, rounding=gamma(4 * inner + 4) * math.sqrt(2), error=error)


def _is_identity(block: torch.Tensor) -> bool:
    """Whether [1, c, c] is the identity at all frequencies, as that of what a network is given is.

    Not where a gradient is asked for: it would be lost.
    """
    count, rows, columns = block.shape
    if count != 1 or rows != columns or block.requires_grad or not bool((block[0].diagonal() == 1).all()):
        return False
    return int(torch.count_nonzero(block)) == rows


def summed(parts: Sequence[tuple[Symbol, torch.Tensor, float]], *, proof: bool) -> tuple[torch.Tensor, float]:
    """The sum of products of symbols with blocks, and a bound of the Frobenius norm of its error.

    Args:
        parts: at least one: the symbol, the block [frequencies or 1, c_in, m], and a bound of its error.
        proof: whether errors matter; else they are 0.
    """
    terms = [symbol.times(block) for symbol, block, _ in parts]
    whole = terms[0]
    for term in terms[1:]:
        whole = whole + term
    if not proof:
        return whole, 0.0
    lost = sum(symbol.loss(block) + symbol.inherited(error) for symbol, block, error in parts)
    if len(terms) > 1:
        lost += (len(terms) - 1) * UNIT_ROUNDOFF * sum(map(size, terms)) * up(8 + len(terms))
    return whole, lost * up(len(terms))

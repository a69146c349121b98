"""The frequencies of a torus of positions, what subsampling does to them, and transforms of kernels.

Real signals have conjugate values at opposite frequencies, so that half of them is kept: all along each
axis but the last, and 0 to N // 2 along that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, up

PHASE = 32 * UNIT_ROUNDOFF
"""More than the absolute error of exp(i angle): an angle below 2 pi is off by three roundings, less than 6 pi
units, and its sine and cosine by a few units of their own."""


@dataclass(frozen=True)
class Torus:
    """Positions 0 to N - 1 along each axis, cyclic.

    Attributes:
        sizes: N of each axis; () for a single position.
    """

    sizes: tuple[int, ...]

    @cached_property
    def index(self) -> torch.Tensor:
        """The kept frequencies omega = 2 pi index / N: int64 [frequencies, axes]."""
        last = len(self.sizes) - 1
        axes = [torch.arange(n // 2 + 1 if axis == last else n) for axis, n in enumerate(self.sizes)]
        return torch.cartesian_prod(*axes).reshape(-1, len(self.sizes)) if axes else torch.zeros(1, 0).long()

    @property
    def count(self) -> int:
        """How many frequencies are kept."""
        *others, last = self.sizes or (1,)
        return math.prod(others) * (last // 2 + 1)

    @cached_property
    def weights(self) -> torch.Tensor:
        """How many of all frequencies each of the kept ones stands for: float64 [frequencies]."""
        if not self.sizes:
            return torch.ones(1, dtype=torch.float64)
        last, size = self.index[:, -1], self.sizes[-1]
        alone = (last == 0) | (2 * last == size)
        return torch.where(alone, 1.0, 2.0).to(torch.float64)

    @property
    def positions(self) -> int:
        """Of the whole torus."""
        return math.prod(self.sizes)

    def coarse(self, stride: tuple[int, ...]) -> Torus:
        """Every stride-th position."""
        return torus(tuple(n // s for n, s in zip(self.sizes, stride, strict=True)))

    def fine(self, stride: tuple[int, ...]) -> Torus:
        """The torus of which this is every stride-th position."""
        return torus(tuple(n * s for n, s in zip(self.sizes, stride, strict=True)))

    def phases(self, offsets: tuple[tuple[int, ...], ...]) -> list[torch.Tensor]:
        """exp(i omega offset) of each axis: complex128 [frequencies, offsets of that axis].

        Args:
            offsets: whole numbers, those of each axis.
        """
        found = []
        for axis, (size, along) in enumerate(zip(self.sizes, offsets, strict=True)):
            turns = self.index[:, axis, None] * torch.tensor(along, dtype=torch.long) % size
            angle = turns.to(torch.float64) * (2 * math.pi / size)
            found.append(torch.polar(torch.ones_like(angle), angle))
        return found

    @lru_cache(maxsize=64)  # noqa: B019 - tori are few, and live as long as the process
    def aliases(self, stride: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which frequencies of this torus each one of the coarse torus is made of.

        Args:
            stride: along each axis.

        Returns:
            index: into the kept frequencies, int64 [coarse frequencies, prod(stride)].
            conjugate: whether it is the opposite one that is kept, bool, of the same shape.
        """
        coarse = self.coarse(stride)
        steps = [torch.arange(s) * n for s, n in zip(stride, coarse.sizes, strict=True)]
        shifts = torch.cartesian_prod(*steps).reshape(-1, len(stride))
        return _places(coarse.index[:, None] + shifts, self.sizes)

    @lru_cache(maxsize=64)  # noqa: B019
    def bases(self, stride: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which frequency of the coarse torus each one of this torus is an alias of.

        Args:
            stride: along each axis.

        Returns:
            index: into the kept frequencies of the coarse torus, int64 [frequencies].
            conjugate: whether it is the opposite one that is kept, bool, of the same shape.
        """
        sizes = self.coarse(stride).sizes
        return _places(self.index % torch.tensor(sizes), sizes)


def _places(whole: torch.Tensor, sizes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Where frequencies, or their opposites, are among the kept ones of a torus; and which of both it is.

    Args:
        whole: 2 pi whole / N along each axis, int64 [..., axes].
        sizes: N.

    Returns:
        Two of [...], as of `Torus.aliases`.
    """
    conjugate = whole[..., -1] > sizes[-1] // 2
    kept = torch.where(conjugate[..., None], (-whole) % torch.tensor(sizes), whole)
    place = torch.zeros_like(kept[..., 0])
    for axis, size in enumerate(sizes):
        place = place * (size // 2 + 1 if axis == len(sizes) - 1 else size) + kept[..., axis]
    return place, conjugate


@dataclass(frozen=True, kw_only=True, eq=False)
class Frequencies:
    """Some of the frequencies of a torus.

    Attributes:
        index: into the kept ones, int64 [n].
        conjugate: whether the opposite one is meant, bool [n].
    """

    index: torch.Tensor
    conjugate: torch.Tensor

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """What a real signal has there: [frequencies, ...] -> [n, ...]; what is the same at all stays one."""
        if len(values) == 1:
            return values
        found = values[self.index]
        if not found.is_complex() or not bool(self.conjugate.any()):
            return found
        return torch.where(self.conjugate.reshape(-1, *(1,) * (found.ndim - 1)), found.conj(), found)


@lru_cache(maxsize=256)
def torus(sizes: tuple[int, ...]) -> Torus:
    """The torus of these sizes; one object for each, so that what it computes is computed once."""
    return Torus(sizes)


def transform(
    kernel: torch.Tensor, offsets: tuple[tuple[int, ...], ...], on: Torus
) -> tuple[torch.Tensor, float]:
    """The symbol sum over taps of K_t exp(i omega offset_t).

    Args:
        kernel: real [..., *taps].
        offsets: of the taps along each axis.
        on: the torus.

    Returns:
        The symbol, complex128 [frequencies, ...]; real, with one frequency, where the kernel is one tap at 0.
        A bound of the Frobenius norm of what rounding does to it at any frequency.
    """
    if all(len(along) == 1 and along[0] == 0 for along in offsets):
        return kernel.flatten(kernel.ndim - len(offsets))[..., 0][None] if offsets else kernel[None], 0.0
    taps = math.prod(len(along) for along in offsets)
    apply = _transformed if taps <= kernel.numel() // taps else _transformed_by_axes
    found = apply(kernel.to(torch.complex128), on.phases(offsets))
    magnitudes = kernel.detach().flatten(kernel.ndim - len(offsets)).abs().sum(-1)
    relative = math.sqrt(2) * gamma(4 * taps + 4) + 2 * len(offsets) * PHASE
    return found, relative * float(magnitudes.norm()) * up(kernel.numel() + 8)


def _transformed(kernel: torch.Tensor, phases: Sequence[torch.Tensor]) -> torch.Tensor:
    """All axes at once: where taps are few next to channels, that is one product of matrices.

    The phase of a tap is a product of those of its axes. These are off by `PHASE` each, and a product of two
    by 4 roundings: in all by less than twice `PHASE` an axis.
    """
    whole, *others = phases
    for phase in others:
        whole = (whole[:, :, None] * phase[:, None]).flatten(1)
    channels = kernel.shape[: kernel.ndim - len(phases)]
    found: torch.Tensor = whole @ kernel.reshape(-1, whole.shape[1]).mT
    return found.reshape(-1, *channels)


def _transformed_by_axes(kernel: torch.Tensor, phases: Sequence[torch.Tensor]) -> torch.Tensor:
    """One axis after the other, the last one first: a phase for each tap would take too much room."""
    *others, last = phases
    found = torch.einsum("...t,ft->f...", kernel, last)
    for phase in reversed(others):
        found = torch.einsum("f...t,ft->f...", found, phase)
    return found

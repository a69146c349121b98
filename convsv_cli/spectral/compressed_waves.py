"""Plane waves that a kernel with few large directions amplifies most: estimates, to be proven elsewhere.

Where a few vectors' quadratic forms are largest is seen on a coarse grid; the top vectors of the compressed
symbol (see `compression`) lead further, and those of the symbol itself to a summit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch

from convsv_cli import limits
from convsv_cli.spectral.ascent import nearest, turns_of, uphill
from convsv_cli.spectral.compression import Compression, compression
from convsv_cli.spectral.definition import definition_error, gram_by_definition, phases, symbols_of
from convsv_cli.spectral.eigenpairs import lanczos, powered, start_vector
from convsv_cli.spectral.spectrum import half_grid, unravelled
from convsv_cli.spectral.tiles import Tiling, root_tiles
from convsv_cli.spectral.whole_grid import gram_matrices

VECTORS = 4
"""Of which the quadratic forms are looked at."""
FORMS, REACH = 64, 4
"""Points on an axis where they are, and of a finer grid on either side."""
POWERS = 4
"""Steps of the power method that a vector is improved by."""
STEPS, DIRECT = 6, 2 * 10**6
"""Lanczos steps; multiplications in the time of which powers of the matrices are found instead."""
CLIMBS, CLIMBED = 12, 2e-6
"""Steps to a summit, at most, and the relative gain of one that is the last."""
NOTHING = 1e-30
"""The length of a vector that a kernel takes to zero: it stays so."""
DOUBT = 1e-5
"""Relative error of estimates."""


class Purse:
    """Multiplications that may be taken, by steps that are asked for before they are done."""

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self.taken = 0.0

    def takes(self, products: float) -> bool:
        """Take so many, unless that is more than there are, or the model may take."""
        if self.taken + products > self._most:
            return False
        if products > limits.searchable():
            limits.refuse()
            return False
        self.taken += products
        limits.searched(products)
        return True


def oriented(weight: torch.Tensor) -> torch.Tensor:
    """One kernel [1, c_out, c_in, *k] with the smaller number of channels first: [p, q, *k]."""
    return weight[0] if weight.shape[1] <= weight.shape[2] else weight[0].transpose(0, 1)


def compressed(weight: torch.Tensor) -> Compression | None:
    """The compression of one kernel float64 [1, c_out, c_in, *k], of norm about 1, if it has one."""
    wide = oriented(weight)
    taps = torch.stack(
        wide.flatten(2).unbind(2)
    )  # a copy of the permuted weight would take five times as long
    return compression(taps.view(*wide.shape[2:], *wide.shape[:2]))


@dataclass(frozen=True, kw_only=True)
class Wave:
    """A point of the grid, int64 [axes], and a vector, of which H makes `value` or more."""

    index: torch.Tensor
    vector: torch.Tensor
    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """Of one kernel, on a grid.

    Attributes:
        few: of the kernel.
        wide: float64 [p, q, *k], the kernel.
        tiling: for its size.
        grid: number of points on each axis.
        purse: for proofs.
    """

    few: Compression
    wide: torch.Tensor
    tiling: Tiling
    grid: tuple[int, ...]
    purse: Purse
    _latest: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False
    )

    def guess(self) -> Wave:
        """Near where a few vectors' quadratic forms are largest."""
        coarse = tuple(min(n, FORMS) for n in self.grid)
        vectors = self.few.basis[:, :VECTORS].T
        kernels = (vectors @ self.wide.flatten(1)).view(-1, 1, *self.wide.shape[1:])
        forms, _ = gram_matrices(kernels, coarse)
        best = unravelled(forms.real.flatten().argmax()[None], (len(vectors), *half_grid(coarse)))[0]
        return self.improved(nearest(turns_of(best[1:], coarse), self.grid), vectors[best[0]])

    def tops(self, turns: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest eigenvalues of the D at some frequencies, about, and their vectors: [n], [n, k]."""
        heads = self.few.heads(turns, level)
        if len(heads) * heads.shape[-1] ** 3 < DIRECT:
            return powered(heads)
        start = start_vector(heads.shape[-1], heads.device).to(heads.dtype).expand(len(heads), -1)
        return lanczos(heads, start, STEPS)

    def climbed(self, level: float, finest: int = 1) -> Wave:
        """Where quadratic forms of top vectors are largest: first of those at the centres of tiles.

        On a grid that is made finer down to every `finest`-th point.
        """
        coarse = tuple(min(n, FORMS) for n in self.grid)
        places = torch.arange(math.prod(half_grid(coarse)), device=self.wide.device)
        there = turns_of(unravelled(places, half_grid(coarse)), coarse)
        parts = self.tops(root_tiles(self.tiling, 1, self.wide.device).centre, level)[1]
        parts, turns = self._moved(parts, there, level)
        step = [-(-n // FORMS) for n in self.grid]
        while max(step) > finest:
            step = [-(-each // REACH) for each in step]
            around = [torch.arange(-REACH, REACH + 1, device=places.device) * each for each in step]
            offsets = torch.cartesian_prod(*around).reshape(-1, len(step))
            there = turns_of(nearest(turns, self.grid) + offsets, self.grid)
            parts, turns = self._moved(parts, there, level)
        return self.improved(nearest(turns[0], self.grid), self.few.vectors(parts)[0])

    def _moved(
        self, parts: torch.Tensor, there: torch.Tensor, level: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where, of some frequencies, a form of some vectors is largest, and the top vector there."""
        head, even = self.few.head(level), 1 + len(self.few.lags)
        images = torch.einsum("rij,nj->nri", head.to(parts.dtype), parts)
        forms = torch.einsum("nri,ni->nr", images, parts.conj())
        forms = torch.cat([forms[:, :even].real, -forms[:, even:].imag], 1)
        values = phases(self.few.lags, there).float() @ forms.T
        turns = there[int(values.amax(1).argmax())][None]
        return self.tops(turns, level)[1], turns

    def improved(self, index: torch.Tensor, vector: torch.Tensor) -> Wave:
        """By the power method, in single precision."""
        (symbol, adjoint), vector = self._symbol(index), vector.to(torch.complex64)
        for _ in range(POWERS):
            vector = vector / torch.linalg.vector_norm(vector).clamp_min(NOTHING)
            image = adjoint @ vector
            vector = symbol @ image
        value = float(torch.linalg.vector_norm(image)) ** 2
        vector = (vector / torch.linalg.vector_norm(vector).clamp_min(NOTHING)).to(torch.complex128)
        return Wave(index=index, vector=vector, value=value * (1 - DOUBT))

    def _symbol(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """And its adjoint, in single precision; the latest is kept."""
        place = tuple(index.tolist())
        if place not in self._latest:
            self._latest.clear()
            symbol = symbols_of(self.few.single[None], turns_of(index[None], self.grid))[0]
            self._latest[place] = symbol, symbol.mH.contiguous()
        return self._latest[place]

    def summit(self, wave: Wave) -> Wave:
        """Uphill on the quadratic form of the vector, then a better one there, and so on."""
        for _ in range(CLIMBS):
            forms = self._forms(wave.vector)
            moved = self.improved(
                uphill(self.few.lags, forms[None], wave.index[None], self.grid)[0], wave.vector
            )
            if moved.value <= wave.value:
                break
            gained, wave = moved.value / wave.value - 1, moved
            if gained < CLIMBED:
                break
        return wave

    def _forms(self, vector: torch.Tensor) -> torch.Tensor:
        """Coefficients of v* H v, as of `GramSymbol.forms`: complex [p] -> float64 [rows].

        |G* v|^2 is the sum of a_t* a_s exp(-i <t - s, theta>) over all taps, with a_t = K_t^T v.
        """
        parts = torch.view_as_real(vector.to(torch.complex64))
        images = torch.view_as_complex((self.few.single.flatten(0, -3).mT @ parts).contiguous())
        sums = (images @ images.mH).conj().flatten()[self._pairs[0]].to(torch.complex128)
        found = sums.new_zeros(1 + len(self.few.lags)).index_add_(0, self._pairs[1], sums)
        return torch.cat([found[:1].real, 2 * found[1:].real, 2 * found[1:].imag])

    @cached_property
    def _pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of taps (t, s) with t >= s, and which of zero and the lags t - s is."""
        places = [torch.arange(n, device=self.wide.device) for n in self.wide.shape[2:]]
        taps = torch.cartesian_prod(*places).reshape(-1, len(places)).double()
        lags = torch.cat([self.few.lags.new_zeros(1, len(places)), self.few.lags])
        same = ((taps[:, None] - taps)[:, :, None] == lags).all(-1).flatten(0, 1)
        pairs, lag = same.nonzero().unbind(1)
        return pairs, lag

    def matrices(self, index: torch.Tensor) -> torch.Tensor:
        """H at some points, in double precision: int64 [n, axes] -> complex128 [n, p, p]."""
        return gram_by_definition(
            self.few.taps[None], torch.zeros_like(index[:, 0]), turns_of(index, self.grid)
        )

    def error(self, matrices: torch.Tensor) -> float:
        """Of these, whose traces are off by far less than a thousandth."""
        trace = float(matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1).max())
        return 1.001 * definition_error(self.few.taps[None], 1.001 * self._size, 1.001 * trace)

    @cached_property
    def _size(self) -> float:
        """|S|_F of the sum of the moduli of all taps."""
        return float(torch.linalg.vector_norm(self.few.taps.flatten(0, -3).abs().sum(0)))

r"""The Gram matrix of a convolution with its zero padding, by blocks of one channel matrix each.

On an axis with stride s, dilation d and b zeros at its beginning, output p sees input s p + d t - b by tap t.
So inputs q and q + d e have taps t and t + e in common, where there is the output p that sees q by t; and
outputs p and p + d e / s see one input by t and t - e, where there is that input. Whether tap t counts at a
place is separate by axes. So with the weight of each tap as a matrix M_t, channels of that side first,

    block(q + w, q) = sum_t M_t' M_t^T,    over the taps t that count at q,

of which there are few displacements w. Entry by entry it is off by at most gamma of its roundings times
|A|^T |A| or |A| |A|^T (Higham, section 3.1), in norm by that times | |A| |^2 <= (sum_t |M_t|_F)^2: |A| is a
sum over taps of Kronecker products of |M_t| with matrices that have one 1 in a row or column at most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from convsv_cli.numerics.rounding import gamma, round_up, up
from convsv_cli.spectral.banded import Band
from convsv_cli.spectral.costs import CALL
from convsv_cli.spectral.padded_convolution import PaddedConvolution

FLUSHED = 2.0**-800
"""More than what underflows can do to the norm of a Gram matrix of entries of about 1 and less."""
CALLS = 6
"""Of torch, for a displacement at some columns."""
MOST_BYTES = 2**27
"""Of what is held for several groups at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PaddedGram:
    """A A^T or A^T A of some groups, symmetric [groups, p, p], by places of that side in row-major order.

    Its axes are in the order in which it has the narrowest band.

    Attributes:
        taps: float64 [groups, channels, other channels, *k], scaled to a norm of about 1.
        valid: for each axis [size, k], 1 where a tap counts at a place and 0 elsewhere.
        steps: for each axis and each difference e of taps from 1 - k on, the displacement of places; None
            where there is none.
        forward: whether the other tap is t + e, and not t - e.
    """

    taps: torch.Tensor
    valid: tuple[torch.Tensor, ...]
    steps: tuple[tuple[int | None, ...], ...]
    forward: bool

    @classmethod
    def of(cls, layer: PaddedConvolution, *, outputs: bool) -> PaddedGram:
        """Of all groups of a layer that is not empty: A A^T, of its `outputs`, or A^T A."""
        found = cls.unordered(layer, outputs=outputs)
        orders = itertools.permutations(range(len(layer.size)))
        return min(map(found.permuted, orders), key=lambda gram: gram.reach)

    @classmethod
    def unordered(cls, layer: PaddedConvolution, *, outputs: bool) -> PaddedGram:
        """The same with axes as they are."""
        taps = layer.weight.view(layer.geometry.groups, -1, *layer.weight.shape[1:])
        valid, steps = [], []
        for axis, (n, at) in enumerate(zip(layer.size, layer.places(), strict=True)):
            s, d, k = layer.stride[axis], layer.dilation[axis], taps.shape[3 + axis]
            there = (at >= 0) & (at < n)
            counts = there.double()
            if not outputs:
                counts = torch.zeros(n, k, dtype=torch.float64)
                counts[at[there], there.nonzero()[:, 1]] = 1.0
            valid.append(counts.to(taps.device))
            unit = s if outputs else 1
            apart = (d * e for e in range(1 - k, k))
            steps.append(tuple(None if w % unit else w // unit for w in apart))
        taps = taps if outputs else taps.transpose(1, 2)
        return cls(taps=taps, valid=tuple(valid), steps=tuple(steps), forward=not outputs)

    def permuted(self, order: tuple[int, ...]) -> PaddedGram:
        """With axes in that order."""
        return replace(
            self,
            taps=self.taps.permute(0, 1, 2, *(3 + axis for axis in order)),
            valid=tuple(self.valid[axis] for axis in order),
            steps=tuple(self.steps[axis] for axis in order),
        )

    def of_groups(self, groups: torch.Tensor) -> PaddedGram:
        """Of those of its groups, a mask or indices."""
        return replace(self, taps=self.taps[groups])

    @property
    def channels(self) -> int:
        """Of each place."""
        return self.taps.shape[1]

    @property
    def size(self) -> tuple[int, ...]:
        """Places on each axis."""
        return tuple(len(valid) for valid in self.valid)

    @property
    def places(self) -> int:
        """All of them."""
        return math.prod(self.size)

    @property
    def side(self) -> int:
        """That of the matrix, p."""
        return self.channels * self.places

    @property
    def reach(self) -> int:
        """How many places on the furthest is that shares a block with one."""
        most = 0
        for axis, steps in enumerate(self.steps):
            within = max(w for w in steps if w is not None and w < self.size[axis])
            most += within * math.prod(self.size[axis + 1 :])
        return min(most, self.places - 1)

    @property
    def band(self) -> Band:
        """What a factorization needs to know of its shape."""
        return Band(side=self.side, reach=self.reach * self.channels, unit=self.channels)

    @cached_property
    def absolute(self) -> torch.Tensor:
        """Bounds of | |A| |^2, and so of the largest eigenvalue, [groups]."""
        lengths = torch.linalg.vector_norm(self.taps.flatten(3), dim=(1, 2))
        sums: torch.Tensor = lengths.sum(1) * up(self.taps[0].numel() + lengths.shape[1])
        return sums**2 * up(7) + FLUSHED

    @property
    def error(self) -> float:
        """A bound of the spectral norm of what rounding did to it."""
        roundings = self.taps.shape[2] + math.prod(self.taps.shape[3:]) + 4
        return round_up(gamma(roundings) * float(self.absolute.max()) + FLUSHED)

    @property
    def work(self) -> float:
        """Multiplications of `below`, and to form the matrix for that."""
        groups, c, others = self.taps.shape[:3]
        taps, blocks = math.prod(self.taps.shape[3:]), math.prod(map(len, self.steps))
        formed = (self.places * blocks / 2 + taps * others) * taps * c**2
        return groups * (self.band.work + formed) + CALLS * CALL * blocks / 2 * self.band.steps

    @property
    def bytes(self) -> float:
        """What `below` holds at most."""
        taps, blocks = math.prod(self.taps.shape[3:]), math.prod(map(len, self.steps))
        shared = taps * (taps * self.taps.shape[0] * self.channels**2 + blocks * self.places)
        return 8.0 * shared + max(MOST_BYTES, self.band.bytes)

    def below(self, level: float) -> bool:
        """Whether `lambda_max` of what it stands for is proven to be below a level, in each group."""
        return all(self.band.below(part.columns, level, part.error) for part in self._parts(self.band.bytes))

    def _parts(self, size: float) -> Iterator[PaddedGram]:
        """A few groups at a time, each of which takes so many bytes."""
        count = max(1, int(MOST_BYTES / size))
        for taps in torch.split(self.taps, count):
            yield replace(self, taps=taps)

    def dense(self) -> torch.Tensor:
        """The whole matrices, [groups, p, p]."""
        lower = self.columns(0, self.side).tril()
        return lower + lower.tril(-1).mT

    def columns(self, first: int, last: int) -> torch.Tensor:
        """The columns of whole places between two, with the rows from the first on as far as they reach.

        [groups, rows, columns], of which the upper triangle is zero outside of diagonal blocks.
        """
        start, stop = first // self.channels, last // self.channels
        rows = min(self.places, stop + self.reach) - start
        groups, c = self.taps.shape[:2]
        matrix = self.taps.new_zeros(groups, rows, c, stop - start, c)
        ends = torch.tensor([start, stop], device=self.taps.device)
        for block in self._blocks:
            some = slice(*torch.searchsorted(block.places, ends).tolist())
            column = block.places[some] - start
            values = (block.weights[some] @ block.products).view(groups, -1, c, c)
            matrix[:, column + block.shift, :, column] = values.movedim(1, 0)
        return matrix.view(groups, rows * c, -1)

    @cached_property
    def _blocks(self) -> list[_Block]:
        """What there is on and below the diagonal."""
        spatial = self.taps.shape[3:]
        by_tap = self.taps.flatten(3).permute(0, 3, 1, 2)
        index = torch.arange(by_tap.shape[1], device=self.taps.device).view(spatial)
        found = []
        for steps in itertools.product(*map(enumerate, self.steps)):
            if any(w is None or abs(w) >= n for (_, w), n in zip(steps, self.size, strict=True)):
                continue
            shift = sum((w or 0) * math.prod(self.size[axis + 1 :]) for axis, (_, w) in enumerate(steps))
            if shift < 0:
                continue
            these, those = [], []
            for (place, _), k in zip(steps, spatial, strict=True):
                e = (place + 1 - k) * (1 if self.forward else -1)
                these.append(slice(max(0, -e), k - max(0, e)))
                those.append(slice(max(0, e), k - max(0, -e)))
            left, right = (by_tap[:, index[tuple(taps)].flatten()] for taps in (those, these))
            products = (left @ right.mT).flatten(2)
            within = [w or 0 for _, w in steps]
            places, weights = self._shared(within, these)
            found.append(_Block(shift=shift, places=places, weights=weights, products=products))
        return found

    def _shared(self, steps: list[int], taps: list[slice]) -> tuple[torch.Tensor, torch.Tensor]:
        """The places q for which there is q + w, ascending, and which taps count there, [places, taps]."""
        inside, weights = self.valid[0].new_zeros(1, dtype=torch.int64), self.taps.new_ones(1, 1)
        for valid, w, some in zip(self.valid, steps, taps, strict=True):
            n = len(valid)
            there = torch.arange(max(0, -w), n - max(0, w), device=valid.device)
            inside = (inside[:, None] * n + there).flatten()
            counts = valid[there][:, some]
            weights = (weights[:, None, :, None] * counts[None, :, None, :]).flatten(2).flatten(0, 1)
        return inside, weights


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """What places have in common with those at one displacement w.

    Attributes:
        shift: w, in row-major order.
        places: q, ascending, of which there is q + w.
        weights: 1 for each tap that counts there, else 0, [places, taps].
        products: M_t' M_t^T for each of these, [groups, taps, channels^2]: what stands at q + w, for t at q.
    """

    shift: int
    places: torch.Tensor
    weights: torch.Tensor
    products: torch.Tensor

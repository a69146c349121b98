r"""Tiles of frequency space that shrink by half at every level, and proofs at their centres.

Frequencies count in turns, theta = 2 pi x, so that the torus is [0, 1)^D. A tile of relative size rho
around x is `|y_1 - x_1| N_1 + |y_2 - x_2| N_2 <= rho` on the first two axes, and `|y_i - x_i| N_i <= rho
/ 2` on any further one. In one dimension it is an interval, in two a diamond: the certificates ask for a
small sum of distances, and of all shapes that tile the plane this one covers the most for a given sum.
It splits into tiles of half the size around x +- rho / (2 N_i) on the first two axes and x_i +- rho / (4
N_i) on the others.

Real kernels have the same singular values at opposite frequencies, so one tile of each opposite pair is
enough.

That the largest eigenvalue at a tile's centre lies below a level is proven by moments, then by factorizations
in single, then in double precision.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from convsv_cli import deadline, limits
from convsv_cli.spectral.gram_symbol import GramSymbol
from convsv_cli.spectral.lower_half import Factorizations

PAIR = 2
SLACK = 1e-12  # radians; many times what rounding can move the centres of tiles
ROOT_REACH = 0.8  # radians, about; a maximum is at least cos^2 of it across a tile
SINGLE = 0.7  # of a test in double precision: what one in single precision costs
PAYS = 0.3  # share of the proofs that single precision has to give
PROBES = 16
NARROW = 0.01  # a margin of single precision that needs no probe
DOUBT = 1e-5  # relative error of estimates


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A tiling of the torus by tiles of relative size 1.

    Attributes:
        counts: the N of each axis; even on the first two. 0 for an axis on which the symbol is constant.
        degrees: d of each axis, (k - 1) / 2: the symbol's v* G u is of exponential type d along it.
    """

    counts: tuple[int, ...]
    degrees: tuple[float, ...]

    @property
    def active(self) -> tuple[int, ...]:
        """The axes on which the symbol is not constant."""
        return tuple(axis for axis, count in enumerate(self.counts) if count)

    def radius(self, rho: float) -> float:
        """The largest `sum_i d_i |theta_i|` from the centre of a tile to its edge, in radians, rounded up."""
        steps = [self.degrees[axis] / self.counts[axis] for axis in self.active]
        turns = max(steps[:PAIR], default=0.0) + sum(steps[PAIR:]) / 2
        return 2 * math.pi * rho * turns + SLACK

    @property
    def halves(self) -> int:
        """Into how many tiles one splits."""
        pair = len(self.active[:PAIR])
        return 2 * pair << len(self.active) - pair

    def contains(self, offsets: torch.Tensor, rho: float) -> torch.Tensor:
        """Whether a tile holds points that far, in turns, from its centre: [..., axes] -> bool [...]."""
        scale = offsets.new_tensor(self.counts)
        scaled = (offsets * scale).abs()[..., list(self.active)]
        rest = scaled[..., PAIR:].amax(-1) if len(self.active) > PAIR else 0.0
        return torch.maximum(scaled[..., :PAIR].sum(-1), 2 * torch.as_tensor(rest)) <= rho * (1 + 1e-6)

    def volume(self, rho: float) -> float:
        """The share of the torus that a tile covers."""
        sides = [rho / self.counts[axis] for axis in self.active]
        return (2 if sides else 1) * math.prod(sides)

    def finer(self, rho: float) -> Tiling:
        """A tiling whose tiles of size 1 are of about size `rho` of this one, or a little smaller."""
        counts = (2 * math.ceil(count / rho / 2) for count in self.counts)
        return replace(self, counts=tuple(counts))

    @property
    def places(self) -> int:
        """More than there are tiles of size 1, before one of each opposite pair is left out."""
        return math.prod(self.counts[axis] for axis in self.active)

    @lru_cache(maxsize=8)  # noqa: B019 (a value, not an object with much to keep alive)
    def roots(self, device: torch.device) -> torch.Tensor:
        """Centres of tiles of size 1, one of each opposite pair: float64 [n, axes]."""
        pair, rest = self.active[:PAIR], self.active[PAIR:]
        centres = []
        for index in itertools.product(*(range(self.counts[axis]) for axis in self.active)):
            if sum(index[: len(pair)]) % 2:
                continue
            doubled = [2 * i for i in index[: len(pair)]] + [2 * i + 1 for i in index[len(pair) :]]
            periods = [2 * self.counts[axis] for axis in (*pair, *rest)]
            opposite = [(n - i) % n for i, n in zip(doubled, periods, strict=True)]
            if doubled <= opposite:
                turns = {a: i / n for a, i, n in zip((*pair, *rest), doubled, periods, strict=True)}
                centres.append([turns.get(axis, 0.0) for axis in range(len(self.counts))])
        return torch.tensor(centres, dtype=torch.float64, device=device).reshape(-1, len(self.counts))

    def children(self, centres: torch.Tensor, rho: float) -> torch.Tensor:
        """Centres of the halves of tiles of that size: [n, axes] -> [n, halves, axes]."""
        pair, rest = self.active[:PAIR], self.active[PAIR:]
        first = [{axis: sign / (2 * self.counts[axis])} for axis in pair for sign in (1, -1)]
        others = [[(axis, sign / (4 * self.counts[axis])) for sign in (1, -1)] for axis in rest]
        rows = [
            [{**step, **dict(steps)}.get(axis, 0.0) for axis in range(len(self.counts))]
            for step in first
            for steps in itertools.product(*others)
        ]
        return centres[:, None] + centres.new_tensor(rows) * rho


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Tiles of one size, each of one block.

    Attributes:
        block: int64 [n].
        centre: float64 [n, axes] in turns.
        estimate: float64 [n], of the largest eigenvalue there, hardly above it; minus infinity if unknown.
        rho: their size.
    """

    block: torch.Tensor
    centre: torch.Tensor
    estimate: torch.Tensor
    rho: float = 1.0

    def __len__(self) -> int:
        return len(self.block)

    def __getitem__(self, which: slice | torch.Tensor) -> Tiles:
        """Some of them, by indices or a mask."""
        return replace(
            self, block=self.block[which], centre=self.centre[which], estimate=self.estimate[which]
        )

    def spread(self, count: int) -> Tiles:
        """At most `count` of them, evenly spread."""
        return self[:: -(-len(self) // count) or 1]

    def split(self, tiling: Tiling) -> Tiles:
        """Their halves."""
        children = tiling.children(self.centre, self.rho)
        block = self.block.repeat_interleave(children.shape[1])
        return _new(block, children.flatten(0, 1), self.rho / 2)


def root_tiles(tiling: Tiling, blocks: int, device: torch.device) -> Tiles:
    """The coarsest tiles, for every block."""
    centre = tiling.roots(device)
    block = torch.arange(blocks, device=device).repeat_interleave(len(centre))
    return _new(block, centre.repeat(blocks, 1), 1.0)


def _new(block: torch.Tensor, centre: torch.Tensor, rho: float) -> Tiles:
    estimate = centre.new_full((len(block),), fill_value=-math.inf)
    return Tiles(block=block, centre=centre, estimate=estimate, rho=rho)


def tiling(k: tuple[int, ...]) -> Tiling:
    """The tiling for kernels of size k, with tiles of about `ROOT_REACH`."""
    degrees = tuple((size - 1) / 2 for size in k)
    active = [axis for axis, size in enumerate(k) if size > 1]
    share = ROOT_REACH / (1 + max(0, len(active) - PAIR) / 2)
    counts = {axis: 2 * math.ceil(math.pi * degrees[axis] / share) for axis in active}
    return Tiling(counts=tuple(counts.get(axis, 0) for axis in range(len(k))), degrees=degrees)


class Prover:
    """Proves that largest eigenvalues lie below a level.

    Attributes:
        gram: whose eigenvalues.
        limit: multiplications that may be spent.
        work: multiplications that were.
        cut: whether the model's allowance, or the end of the run, ended the search, and not this limit.
    """

    def __init__(self, gram: GramSymbol, limit: float = math.inf) -> None:
        self.gram = gram
        self.limit = limit
        self.work = 0.0
        self.cut = False
        self._granted = limits.searchable()
        self._paid = True
        self._proofs = Factorizations(gram)

    def affords(self, count: int) -> bool:
        """Whether `count` more tests are within the limit, and what the model may take."""
        if self.work + self.cost(count) * (SINGLE if self._proofs.in_panels else 1) > self.limit:
            return False
        granted = count * self.gram.shape.test <= self._granted and not deadline.ended()
        return granted or self._refused()

    def has_room(self, count: float) -> bool:
        """Whether so many tests in single precision are within the limit, and what the model may take.

        A search that makes its goal coarser because it is not is one that the latter cut short.
        """
        if count * self.cost(SINGLE) > self.limit - self.work:
            return False
        return count * self.gram.shape.test <= self._granted or self._refused()

    def pay(self, count: float) -> None:
        """Take `count` tests, which are within the limit but for a few."""
        self.work += self.cost(count)
        self._take(count * self.gram.shape.test)

    def takes(self, products: float) -> bool:
        """Take so many multiplications for something else, unless the model may not take them."""
        if products > self._granted:
            return self._refused()
        self._take(products)
        return True

    def _refused(self) -> bool:
        self.cut = True
        limits.refuse()
        return False

    def _take(self, products: float) -> None:
        self._granted -= products
        limits.searched(products)

    def cost(self, count: float) -> float:
        """Multiplications for `count` tests in double precision: H and its factorization."""
        p = self.gram.side
        return count * (p * p * (p // 3 + self.gram.rows) + 1)

    def below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, gain: float = 0.0
    ) -> torch.Tensor:
        """Whether lambda_1 < level is proven at each frequency: [n], [n, axes] -> bool [n].

        What single precision leaves open is tried in double precision, unless its margin is small compared
        with `gain`: by how much the level will rise if the caller splits a tile instead.
        """
        proven = torch.zeros_like(block, dtype=torch.bool)
        if len(block) > self.gram.rows and self.gram.has_moments:
            proven = self.gram.moment_bound(turns) < level
        left = (~proven).nonzero()[:, 0]
        proven[left] = self._factorized(block[left], turns[left], level, gain)
        return proven

    def clears(self, tiles: Tiles, level: float, gain: float = 0.0) -> torch.Tensor:
        """The same at the centres of tiles, where their estimates leave hope."""
        hope = (tiles.estimate < level * (1 + DOUBT)).nonzero()[:, 0]
        proven = torch.zeros_like(tiles.block, dtype=torch.bool)
        proven[hope] = self.below(tiles.block[hope], tiles.centre[hope], level, gain)
        return proven

    def above(self, block: torch.Tensor, turns: torch.Tensor, depth: float, beta: float) -> torch.Tensor:
        """Whether lambda_p > beta - depth is proven where lambda_1 <= beta: [n], [n, axes] -> bool [n]."""
        self.pay(len(block))
        return self._proofs.above(block, turns, depth, beta)

    def expect_many(self) -> None:
        """Prepare for many tests."""
        self._proofs.many = True

    def margin(self, level: float) -> float:
        """What rounding can hide in single precision."""
        return self._proofs.margin(level)

    def _factorized(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, gain: float
    ) -> torch.Tensor:
        if not self._single_pays(block, turns, level):
            return self._below(block, turns, level, torch.complex128)
        proven = self._below(block, turns, level, torch.complex64)
        if self.margin(level) > 0.7 * gain and not proven.all():
            cheap, left = int(proven.sum()), (~proven).nonzero()[:, 0]
            proven[left] = self._below(block[left], turns[left], level, torch.complex128)
            self._paid = cheap >= PAYS * int(proven.sum())
        return proven

    def _single_pays(self, block: torch.Tensor, turns: torch.Tensor, level: float) -> bool:
        """Whether it proved enough the last time; for many frequencies, whether it does for some of them."""
        if len(block) <= 4 * PROBES or self.margin(level) < NARROW * level:
            return self._paid
        step = len(block) // PROBES
        proven = self._below(block[::step], turns[::step], level, torch.complex64)
        return int(proven.sum()) >= PAYS * len(proven)

    def _below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, dtype: torch.dtype
    ) -> torch.Tensor:
        self.pay(len(block) * (SINGLE if dtype == torch.complex64 else 1))
        return self._proofs.below(block, turns, level, dtype)

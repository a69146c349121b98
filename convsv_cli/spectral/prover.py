"""Proofs at many frequencies at once: by moments, then factorizations in single, then in double precision."""

from __future__ import annotations

import math
from functools import cached_property

import torch

from convsv_cli.spectral.certify import cholesky_margin, proven_below
from convsv_cli.spectral.cores import CORES, parallel_map
from convsv_cli.spectral.gram_symbol import GramSymbol
from convsv_cli.spectral.moments import Moments, moments
from convsv_cli.spectral.tiles import Tiles

Chunk = tuple[torch.Tensor, torch.Tensor]
CHUNK_BYTES = 2**22
PAYS = 0.3  # share of the proofs that single precision has to give
PROBES = 16
NARROW = 0.01  # a margin of single precision that needs no probe
SMALL = 10**7  # multiplications that are not worth a second core
DOUBT = 1e-5  # relative error of estimates
FEWEST = 16  # frequencies a chunk: the rows are read once for all of them


class Prover:
    """Proves that largest eigenvalues lie below a level.

    Attributes:
        gram: whose eigenvalues.
        limit: multiplications that may be spent.
        work: multiplications that were.
    """

    def __init__(self, gram: GramSymbol, limit: float = math.inf) -> None:
        self.gram = gram
        self.limit = limit
        self.work = 0
        self._paid = True

    def affords(self, count: int) -> bool:
        """Whether so many more tests are within the limit."""
        return self.work + self.cost(count) <= self.limit

    def cost(self, count: int) -> int:
        """Multiplications for so many tests: H and its factorization."""
        p = self.gram.side
        return count * (p * p * (p // 3 + self.gram.rows) + 1)

    def below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, gain: float = 0.0
    ) -> torch.Tensor:
        """Whether lambda_1 < level is proven at each frequency: [n], [n, axes] -> bool [n].

        What single precision leaves open is tried in double precision, unless its margin is small beside
        `gain`: by how much the level will rise if the caller splits a tile instead.
        """
        proven = torch.zeros_like(block, dtype=torch.bool)
        if len(block) > self.gram.rows and self._moments is not None:
            proven = self._moments.upper(turns) < level
        left = (~proven).nonzero()[:, 0]
        proven[left] = self._factorized(block[left], turns[left], level, gain)
        return proven

    def clears(self, tiles: Tiles, level: float, gain: float = 0.0) -> torch.Tensor:
        """The same at the centres of tiles, where their estimates leave hope."""
        hope = (tiles.estimate < level * (1 + DOUBT)).nonzero()[:, 0]
        proven = torch.zeros_like(tiles.block, dtype=torch.bool)
        proven[hope] = self.below(tiles.block[hope], tiles.centre[hope], level, gain)
        return proven

    @cached_property
    def _moments(self) -> Moments | None:
        return moments(self.gram)

    def _factorized(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, gain: float
    ) -> torch.Tensor:
        if not self._single_pays(block, turns, level):
            return self._below(block, turns, level, torch.complex128)
        proven = self._below(block, turns, level, torch.complex64)
        margin = cholesky_margin(self.gram.side, torch.complex64) * level + self.gram.error_single
        if margin > 0.7 * gain and not proven.all():
            cheap, left = int(proven.sum()), (~proven).nonzero()[:, 0]
            proven[left] = self._below(block[left], turns[left], level, torch.complex128)
            self._paid = cheap >= PAYS * int(proven.sum())
        return proven

    def _single_pays(self, block: torch.Tensor, turns: torch.Tensor, level: float) -> bool:
        """Whether it proved enough the last time; for many frequencies, whether it does for some of them."""
        if len(block) <= 4 * PROBES or cholesky_margin(self.gram.side, torch.complex64) < NARROW:
            return self._paid
        step = len(block) // PROBES
        proven = self._below(block[::step], turns[::step], level, torch.complex64)
        return int(proven.sum()) >= PAYS * len(proven)

    def _below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, dtype: torch.dtype
    ) -> torch.Tensor:
        self.work += self.cost(len(block))
        error = self.gram.error_of(dtype)

        def prove(chunk: Chunk) -> torch.Tensor:
            return proven_below(self.gram.at(*chunk, dtype), level, error)

        self.gram.prepare(len(block), dtype)
        size = chunk_size(len(block), self.gram.side, dtype)
        chunks = list(zip(torch.split(block, size), torch.split(turns, size), strict=True))
        return torch.cat([block.new_zeros(0, dtype=torch.bool), *parallel_map(prove, chunks)])


def chunk_size(count: int, side: int, dtype: torch.dtype) -> int:
    """How many of `count` matrices [side, side] to form at a time, on one core."""
    fits = max(FEWEST, CHUNK_BYTES // (dtype.itemsize * side**2))
    return fits if count * side**3 < SMALL else max(1, min(fits, -(-count // CORES)))

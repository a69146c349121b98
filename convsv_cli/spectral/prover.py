"""Proofs at many frequencies at once: in single precision as long as it pays, then in double; counted."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

from convsv_cli.spectral.certify import MIDDLE, cholesky_margin, proven_below
from convsv_cli.spectral.gram_symbol import GramSymbol

CHUNK_BYTES = 2**22
PAYS = 0.3  # share of what is proven that single precision has to prove


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
        self._single_pays = True

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
        if not self._single_pays or not len(block):
            return self._below(block, turns, level, torch.complex128)
        proven = self._below(block, turns, level, torch.complex64)
        margin = cholesky_margin(self.gram.side, torch.complex64) * level + self.gram.error_single
        if margin > 0.7 * gain and not proven.all():
            cheap, left = int(proven.sum()), (~proven).nonzero()[:, 0]
            proven[left] = self._below(block[left], turns[left], level, torch.complex128)
            self._single_pays = cheap >= PAYS * int(proven.sum())
        return proven

    def _below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, dtype: torch.dtype
    ) -> torch.Tensor:
        self.work += self.cost(len(block))
        error = self.gram.error_of(dtype)

        def prove(chunk: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return proven_below(self.gram.at(*chunk, dtype), level, error)

        size = max(1, CHUNK_BYTES // (dtype.itemsize * self.gram.side**2))
        if self.gram.side > MIDDLE:
            size = max(1, min(size, -(-len(block) // _workers())))
        chunks = zip(torch.split(block, size), torch.split(turns, size), strict=True)
        one_by_one = block.device.type == "cpu" and self.gram.side > MIDDLE
        parts = _pool().map(prove, chunks) if one_by_one else map(prove, chunks)
        return torch.cat([block.new_zeros(0, dtype=torch.bool), *parts])


def _workers() -> int:
    return torch.get_num_threads()


@cache
def _pool() -> ThreadPoolExecutor:
    """LAPACK factorizes small matrices on one core each; torch lets go of the interpreter meanwhile."""
    return ThreadPoolExecutor(_workers(), thread_name_prefix="convsv")

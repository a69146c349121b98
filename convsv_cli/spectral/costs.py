"""What a search takes, in time and memory, from the shape of its kernels alone.

Time counts in multiplications as large products do them, some 1e10 a second on one core. What else there is
takes longer than the multiplications in it: so the factors below, which are measured, and rather too large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.spectral.cores import CORES

if TYPE_CHECKING:
    import torch

CALL = 1e5
"""Multiplications in the time of one of torch's operations on nearly nothing."""
LAG = 4 * CALL
"""For the two rows of the polynomial that one lag has, beside their products."""
PLACE = CALL / 4
"""For a tile that is made in Python."""
MATRIX, COLUMN = 2e4, 3e3
"""For a matrix that is factorized, and for each of its columns, however small they are."""
PHASE = 60.0
"""For the sine or cosine of one lag at one frequency."""
FACTOR, GATHERED = 6.0, 12.0
"""For a multiplication of a factorization; of a product whose operand is gathered for each frequency."""
SEARCH = 800 * CALL
"""For what every search does."""
UNFOLDING = 30 * CALL
"""For what the norm of every unfolding needs."""
EIGENVALUES = 10.0
"""For an entry of a Gram matrix, times its side, of which all eigenvalues are found."""
CLIMBS = 8
"""How often, about, a search looks at the corners around its peaks."""
PEAKS = 6
"""How many of these there are."""
CHUNK_BYTES = 2**22
"""Of the matrices that are formed at a time, on one core, where they are small."""
FEWEST = 16
"""Frequencies at a time otherwise: the rows are read once for all of them."""
SMALL = 10**7
"""Multiplications that are not worth a second core."""
WORKING_BYTES, PHASE_BYTES = 2**30, 2**26
"""What matrices and phases, respectively, may take on all cores together."""
COPIES = 6
"""Of a complex matrix, while it is formed and factorized; some of them are free, but not given back."""
MOST_TILES = 2**18
"""At a level of a search; what a proof wants more of is beyond the memory of many machines."""
OTHERS = 2**25
"""Bytes of what is small."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Kernels, as far as the cost of a search is concerned.

    Attributes:
        blocks: number of kernels.
        side, across: the smaller and the larger number of channels.
        spatial: size on each axis.
    """

    blocks: int
    side: int
    across: int
    spatial: tuple[int, ...]

    @classmethod
    def of(cls, weight: torch.Tensor) -> Shape:
        """That of [blocks, c_out, c_in, *k]."""
        blocks, *channels = weight.shape[:3]
        return cls(blocks=blocks, side=min(channels), across=max(channels), spatial=tuple(weight.shape[3:]))

    @property
    def taps(self) -> int:
        """Of one kernel."""
        return math.prod(self.spatial)

    @property
    def rows(self) -> int:
        """Terms of the Gram symbol's polynomial."""
        return math.prod(2 * k - 1 for k in self.spatial)

    @property
    def test(self) -> float:
        """Multiplications for a proof at one frequency."""
        square = float(self.side) ** 2
        products = square * self.rows * (1 if self.blocks == 1 else GATHERED)
        factorization = MATRIX + COLUMN * self.side + FACTOR * square * self.side / 3
        return PHASE * self.rows + products + (factorization if self.side > 1 else 0)

    def setup(self, places: int) -> float:
        """Multiplications before the first proof: the polynomial, estimates at so many tiles, climbs."""
        square = float(self.side) ** 2
        polynomial = LAG * self.rows / 2 + 1.5 * self.blocks * self.taps**2 * square * self.across
        corners = CLIMBS * PEAKS * (2.0 ** len(self.spatial) + 1) * self.rows * PHASE
        return SEARCH + polynomial + corners + PLACE * places + self.blocks * places / 2 * 2 * self.test

    def memory(self, places: int) -> float:
        """Bytes of a search that begins with so many tiles a kernel."""
        square, tiles = float(self.side) ** 2, self.blocks * places / 2
        kernels = 16.0 * self.blocks * self.taps * self.side * self.across
        polynomial = (18.0 * self.rows + 8.0 * self.taps) * self.blocks * square
        corners = PEAKS * (2.0 ** len(self.spatial) + 1) * self.rows * 40
        gathered = 0.0 if self.blocks == 1 else PEAKS * self.rows * square * 20
        working = CORES * max(
            chunk_size(10**9, self, size) * (size * COPIES * square + 2 * self.each) for size in (8, 16)
        )
        points = 4 * MOST_TILES * (24 + 8.0 * len(self.spatial)) + tiles * 24.0 * self.side + 200.0 * places
        points += tiles * (100 + 16.0 * len(self.spatial))
        return OTHERS + kernels + polynomial + corners + gathered + working + points

    @property
    def each(self) -> float:
        """Bytes for one frequency, beside its matrix: phases, and rows where they are gathered."""
        return 40.0 * self.rows + (0.0 if self.blocks == 1 else 16.0 * self.rows * self.side**2)


def chunk_size(count: int, shape: Shape, itemsize: int) -> int:
    """How many of `count` matrices, of so many bytes an entry, to form at a time, on one core."""
    square = shape.side**2
    fits = max(FEWEST, CHUNK_BYTES // (itemsize * square))
    most = WORKING_BYTES // (CORES * COPIES * itemsize * square)
    fits = max(1, min(fits, most, int(PHASE_BYTES / CORES / shape.each)))
    return fits if count * shape.side**3 < SMALL else max(1, min(fits, -(-count // CORES)))


def unfolding_cost(blocks: int, height: int, width: int) -> float:
    """Multiplications for the norms of matrices [blocks, height, width]: one by their Gram matrices."""
    side, across = float(min(height, width)), max(height, width)
    eigenvalues = 0.0 if blocks == 1 else EIGENVALUES * side
    return UNFOLDING + blocks * (MATRIX + side**2 * (across + FACTOR * 4 * side / 3 + eigenvalues))

"""Valid covariances of live fields: in blocks, with an account of rounding.

A covariance is kept as blocks, one for each pair of fields that may vary together, plus at most one product
B M^-1 B*, which is what an activation adds to all of them and is multiplied out when the next step needs it:
linear maps then act on the few columns of B only. Blocks that are equal at all frequencies are kept once.

Rounding, where something is to be proven. A computed block is off by a known amount in the Frobenius norm;
the error of the whole, a Hermitian matrix of blocks, is below a diagonal one, which is added: what is kept is
above what a valid covariance would be, and so is valid itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from convsv_cli.lipschitz.density.blocks import Blocks, Errors, above, rounded
from convsv_cli.lipschitz.density.quadratic import Quadratic
from convsv_cli.lipschitz.density.sizes import InfeasibleError, size
from convsv_cli.lipschitz.density.torus import Frequencies
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, up

MODERATE = 2.0**16
"""Variances between this and its inverse stay as they are."""
LEAST_SCALE, MOST_SCALE = 2.0**-1000, 2.0**1000
LEAST_FACTOR = 2.0**-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariance:
    """Of some live fields: scale * (blocks + product).

    Attributes:
        fields: their names.
        blocks: Hermitian where both names are equal, [frequencies or 1, channels, channels]; no entry for
            those that vary independently of each other, and one for each other pair, in either order.
        product: what is to be added to the blocks; None for nothing.
        scale: a factor of the whole.
        proof: whether rounding is accounted for.
    """

    fields: tuple[str, ...]
    blocks: Blocks
    product: Quadratic | None = None
    scale: float = 1.0
    proof: bool = False

    def __post_init__(self) -> None:
        """Refuse a scale that floats hardly hold: InfeasibleError."""
        if not LEAST_SCALE <= self.scale <= MOST_SCALE:
            raise InfeasibleError

    def block(self, first: str, second: str) -> torch.Tensor | None:
        """Without the product and the scale, [frequencies or 1, channels, channels]; None for zero."""
        if (first, second) in self.blocks:
            return self.blocks[first, second]
        return self.blocks[second, first].mH if (second, first) in self.blocks else None

    def only(self, fields: Sequence[str]) -> Covariance:
        """Of these fields alone: a principal submatrix, which bounds them whatever the others are."""
        if tuple(fields) == self.fields:
            return self
        kept = set(fields)
        blocks = {pair: block for pair, block in self.blocks.items() if kept.issuperset(pair)}
        product = None if self.product is None else self.product.only(fields)
        return replace(self, fields=tuple(fields), blocks=blocks, product=product)

    def at(self, frequencies: Frequencies) -> Covariance:
        """At some of the frequencies."""
        blocks = {pair: frequencies.of(block) for pair, block in self.blocks.items()}
        product = None if self.product is None else self.product.at(frequencies)
        return replace(self, blocks=blocks, product=product)

    def multiplied_out(self) -> Covariance:
        """The same, or more, without a product.

        Raises:
            InfeasibleError: the product has no value, or numbers are too large, or too small, for a proof.
        """
        if self.product is None:
            return self
        blocks, growth = self._summed() if torch.is_grad_enabled() else self._sum
        return replace(self, blocks=blocks, product=None, scale=self.scale * growth)

    @cached_property
    def _sum(self) -> tuple[Blocks, float]:
        """Kept for all that ask for it: a mark on the way, a trace, and the next step."""
        return self._summed()

    def _summed(self) -> tuple[Blocks, float]:
        """Blocks with the product, and what the scale grows by."""
        assert self.product is not None  # noqa: S101 - who asks has seen that
        blocks, added = dict(self.blocks), self.product.value()
        errors = dict(added.errors)
        for pair, block in added.blocks.items():
            before = self.block(*pair)
            if pair[0] != pair[1]:
                blocks.pop(pair[::-1], None)
            blocks[pair] = block if before is None else before + block
            if self.proof and before is not None:
                errors[pair] += UNIT_ROUNDOFF * (size(before) + size(block)) * up(4)
        return above(blocks, self.fields, errors, own=True) if self.proof else blocks, added.growth

    def rescaled(self, scale: float) -> Covariance:
        """The same with another scale, and with its product, multiplied out if it was.

        Args:
            scale: positive.

        Raises:
            InfeasibleError: floats hardly hold it.
        """
        found = replace(self, scale=scale)
        if "_sum" in vars(self):
            vars(found)["_sum"] = self._sum  # which the scale is no part of
        return found

    def with_scale(self, scale: float) -> Covariance:
        """The same, or more, with another scale, and without a product.

        Args:
            scale: positive.

        Raises:
            InfeasibleError: as of `multiplied_out`.
        """
        plain = self.multiplied_out()
        if plain.scale == scale:
            return plain
        factor = max(plain.scale / scale * up(2), LEAST_FACTOR)  # more is sound, and no block vanishes
        blocks = {pair: block * factor for pair, block in plain.blocks.items()}
        return replace(plain, scale=scale).of_rounded(blocks)

    def normalised(self) -> Covariance:
        """The same, or more, without a product, with variances of about 1: the scale takes a power of two.

        So that neither single precision nor a deep network leaves the range of floats.

        Raises:
            InfeasibleError: as of `multiplied_out`.
        """
        plain = self.multiplied_out()
        diagonals = (plain.blocks.get((name, name)) for name in plain.fields)
        sizes = [float(b.detach().diagonal(dim1=-2, dim2=-1).real.max()) for b in diagonals if b is not None]
        largest = max(sizes, default=0.0)
        if not 0 < largest < math.inf or 1 / MODERATE <= largest <= MODERATE:
            return plain
        unit = 2.0 ** round(math.log2(largest))
        blocks = {pair: block * (1 / unit) for pair, block in plain.blocks.items()}
        return replace(plain, blocks=blocks, scale=plain.scale * unit)

    def plus(self, other: Covariance) -> Covariance:
        """The sum, or more: both without a product, with the same blocks.

        Args:
            other: of the same fields.

        Raises:
            InfeasibleError: numbers are too large, or too small, for a proof.
        """
        blocks = {pair: block + other.blocks[pair] for pair, block in self.blocks.items()}
        return replace(self, scale=max(self.scale, other.scale)).of_rounded(blocks)

    def of_rounded(self, blocks: Blocks) -> Covariance:
        """A covariance above that of blocks whose entries have been rounded once, without a product.

        Args:
            blocks: as in `Covariance`.

        Raises:
            InfeasibleError: numbers are too large, or too small, for a proof.
        """
        found = replace(self, blocks=blocks, product=None)
        return found.absorbing(rounded(blocks)) if self.proof else found

    def absorbing(self, errors: Errors) -> Covariance:
        """A covariance above every one whose blocks are off by so much.

        Args:
            errors: of the blocks that have any; without a proof they do not matter.

        Raises:
            InfeasibleError: numbers are too large, or too small, for a proof.
        """
        return replace(self, blocks=above(self.blocks, self.fields, errors)) if self.proof else self

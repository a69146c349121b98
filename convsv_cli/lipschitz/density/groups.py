"""Fields that vary together, apart from others: bounded independently, and put together again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.numerics.rounding import up

TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Fields that vary together; those of different groups are bounded independently of each other.

    All groups together are valid: sum over groups of d* X^+ d <= |difference of the inputs|^2.

    Attributes:
        covariance: X, of its fields.
        families: the splits that it comes from, by number, the last one last; the two groups of a split that
            have the same families hold all that it gave.
    """

    covariance: Covariance
    families: tuple[int, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Their names."""
        return self.covariance.fields

    def only(self, fields: Sequence[str]) -> Group:
        """Of these fields alone: the others are dead."""
        kept = [name for name in self.fields if name in fields]
        return self if len(kept) == len(self.fields) else replace(self, covariance=self.covariance.only(kept))

    def split(self, first: Sequence[str], second: Sequence[str], number: int) -> tuple[Group, Group]:
        """Two groups with twice the covariance each: [A B; B* C] <= 2 [A 0; 0 C].

        Args:
            first, second: their fields; one may be in both.
            number: of the split.
        """
        families = (*self.families, number)
        twice = replace(self.covariance, scale=2 * self.covariance.scale)
        one, other = (Group(covariance=twice.only(names), families=families) for names in (first, second))
        return one, other


def merged(groups: Sequence[Group], *, exact: bool = False) -> Group:
    """One group; where two are all that a split gave, with the best weights for what they are now.

    Args:
        groups: at least one.
        exact: these weights have derivatives, too; without a proof.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    left = sorted(groups, key=lambda group: group.families)
    while len(left) > 1:
        left[-2:] = [_joined(*left[-2:], exact=exact)]
    return left[0]


def _joined(one: Group, other: Group, *, exact: bool) -> Group:
    """The block-diagonal covariance of both.

    That of a split is as valid with A / p and C / (1 - p) for any 0 < p < 1 as with p = 1 / 2. The trace is
    least with p proportional to its root, and what came after the split was homogeneous in the scale.
    """
    families: tuple[int, ...] = ()
    first, second = one.covariance, other.covariance
    if one.families and one.families == other.families:
        families = one.families[:-1]
        traces = [_trace(each) for each in (first, second)]
        a, b = (math.sqrt(max(float(trace.detach()), TINY)) for trace in traces)
        if exact:
            ratio = (traces[0].clamp_min(TINY) / traces[1].clamp_min(TINY)).sqrt()
            first, second = _varying(first, 1 + 1 / ratio), _varying(second, 1 + ratio)
        first = first.rescaled(first.scale / 2 * (a + b) / a * up(8))
        second = second.rescaled(second.scale / 2 * (a + b) / b * up(8))
    scale = max(first.scale, second.scale)
    first, second = first.with_scale(scale), second.with_scale(scale)
    blocks, fields = {**first.blocks, **second.blocks}, (*first.fields, *second.fields)
    joint = Covariance(fields=fields, blocks=blocks, scale=scale, proof=first.proof)
    return Group(covariance=joint, families=families)


def _varying(covariance: Covariance, factor: torch.Tensor) -> Covariance:
    """The same, with the derivatives that it has times a factor, of which the scale takes the value."""
    plain, unit = covariance.multiplied_out(), factor / factor.detach()
    return replace(plain, blocks={pair: b * unit.to(b.real.dtype) for pair, b in plain.blocks.items()})


def _trace(covariance: Covariance) -> torch.Tensor:
    """The mean variance of all fields together, roughly: float64 []."""
    plain = covariance.multiplied_out()
    blocks = (plain.blocks.get((name, name)) for name in plain.fields)
    traces = [b.diagonal(dim1=-2, dim2=-1).real.sum(-1).mean().double() for b in blocks if b is not None]
    found = torch.zeros((), dtype=torch.float64)
    for trace in traces:
        found = found + trace
    return found * plain.scale

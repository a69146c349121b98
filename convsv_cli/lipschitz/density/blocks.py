"""Hermitian matrices at each frequency, by blocks for pairs of fields, and bounds of the blocks' errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from convsv_cli.lipschitz.density.sizes import size
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, up

Pair = tuple[str, str]
"""Names of the fields that the rows and the columns of a block belong to."""
Blocks = Mapping[Pair, torch.Tensor]
"""[frequencies or 1, channels, channels] each: of a pair in either order, the other one is its adjoint."""
Errors = Mapping[Pair, float]
"""Bounds of the Frobenius norms of the errors of blocks, at any frequency."""


def cut(block: torch.Tensor, widths: Sequence[int], axis: int) -> tuple[torch.Tensor, ...]:
    """A tensor, [..], in parts of these widths along an axis: torch's `split`, with a type."""
    parts: tuple[torch.Tensor, ...] = block.split(list(widths), axis)  # type: ignore[no-untyped-call]
    return parts


def pairs(whole: torch.Tensor, widths: Mapping[str, int]) -> dict[Pair, torch.Tensor]:
    """The upper triangle of blocks.

    Args:
        whole: Hermitian, [frequencies or 1, c, c].
        widths: by field, in the order of rows and columns.
    """
    names, sizes = list(widths), list(widths.values())
    found: dict[Pair, torch.Tensor] = {}
    for i, (one, row) in enumerate(zip(names, cut(whole, sizes, 1), strict=True)):
        others = zip(names[i:], cut(row, sizes, 2)[i:], strict=True)
        found |= {(one, other): block for other, block in others}
    return found


def by_pairs(whole: torch.Tensor, widths: Mapping[str, int]) -> dict[Pair, torch.Tensor]:
    """The same of what is Hermitian but for rounding: those on the diagonal are made so."""
    found = pairs(whole, widths)
    return found | {(name, name): hermitian(found[name, name]) for name in widths}


def hermitian(block: torch.Tensor) -> torch.Tensor:
    """The mean of a block and its adjoint, [frequencies or 1, c, c]: Hermitian to the last digit."""
    if torch.is_grad_enabled():
        return (block + block.mH) / 2
    found = block.mH.clone(memory_format=torch.contiguous_format)  # torch adds up what lies alike much faster
    found += block
    (torch.view_as_real(found) if found.is_complex() else found).mul_(0.5)
    return found


def rounded(blocks: Blocks) -> dict[Pair, float]:
    """Bounds of the errors of blocks whose entries have been rounded once."""
    return {pair: UNIT_ROUNDOFF * size(block) * up(8) for pair, block in blocks.items()}


def above(
    blocks: Blocks, fields: Sequence[str], errors: Errors, *, own: bool = False
) -> dict[Pair, torch.Tensor]:
    """Blocks of a matrix above every one whose blocks differ from these by so much in the Frobenius norm.

    For tau > 0, a Hermitian matrix whose blocks have norms of at most e_ij is below the block-diagonal one
    with sum_j e_ij tau_j / tau_i on the diagonal, as 2 |x_i| |x_j| <= |x_i|^2 tau_j / tau_i + |x_j|^2
    tau_i / tau_j. Here tau_i is the root of the norm of the field's own block.

    Args:
        blocks: of a Hermitian matrix.
        fields: of its rows.
        errors: of the blocks that have any.
        own: nobody else has the blocks of the fields in `errors`, which may be overwritten.

    Raises:
        InfeasibleError: a norm is neither 0 nor from `LEAST` to `MOST`.
    """
    roots = {name: math.sqrt(size(blocks[name, name])) or 1.0 for name in fields if (name, name) in blocks}
    excess = dict.fromkeys(fields, 0.0)
    for (first, second), error in errors.items():
        ratio = roots.get(second, 1.0) / roots.get(first, 1.0)
        excess[first] += error * ratio
        if first != second:
            excess[second] += error / ratio
    found = dict(blocks)
    for name, amount in excess.items():
        if amount:
            block = found[name, name] if own else found[name, name].clone()
            _raise(block, amount * up(4 * len(fields)))
            found[name, name] = block
    return found


def _raise(block: torch.Tensor, amount: float) -> None:
    """Add at least so much on the diagonal."""
    diagonal = block.diagonal(dim1=-2, dim2=-1)
    rounding = 2 * UNIT_ROUNDOFF * float(diagonal.abs().max())
    diagonal += amount * up(2) + rounding

"""What linear maps of fields make of a covariance: on one torus, on a coarser one, on a finer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from convsv_cli.lipschitz.density.blocks import Pair, hermitian
from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.symbols import Maps, Terms, summed
from convsv_cli.lipschitz.density.torus import Frequencies, Torus
from convsv_cli.numerics.rounding import up

LEAST_SHARE = 1e-6
"""Of the largest root of a variance; an alias with less is taken to have that."""
TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """Of an output and an old field, or of two outputs: their block, and a bound of its error."""

    block: torch.Tensor
    error: float


def mapped(covariance: Covariance, outputs: Maps, kept: Sequence[str] = ()) -> Covariance:
    """With linear maps y = G d of fields beside the old ones: [I; G] X [I; G]*, valid as X is.

    Args:
        covariance: X; its product is mapped by itself.
        outputs: G.
        kept: which of the old fields are kept.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    sides: dict[Pair, _Side] = {}
    for output, terms in outputs.items():
        for name in covariance.fields:
            side = _with_old(covariance, terms, name)
            if side is not None:
                sides[output, name] = side
    found = {pair: side for pair, side in sides.items() if pair[1] in kept}
    names = list(outputs)
    for i, other in enumerate(names):
        for output in names[i:]:
            side = _with_output(covariance, outputs[output], other, sides)
            if side is not None:
                found[output, other] = side if output != other else _hermitian(side)
    old = {pair: block for pair, block in covariance.blocks.items() if set(kept).issuperset(pair)}
    product = None if covariance.product is None else covariance.product.mapped(outputs, kept)
    new = replace(
        covariance,
        fields=(*kept, *outputs),
        blocks=old | {pair: side.block for pair, side in found.items()},
        product=product,
    )
    return new.absorbing({pair: side.error for pair, side in found.items()})


def _with_old(covariance: Covariance, terms: Terms, name: str) -> _Side | None:
    """G X[:, name]; None for zero."""
    parts = [
        (symbol, block, 0.0)
        for source, symbol in terms
        if (block := covariance.block(source, name)) is not None
    ]
    if not parts:
        return None
    block, error = summed(parts, proof=covariance.proof)
    return _Side(block=block, error=error)


def _with_output(
    covariance: Covariance, terms: Terms, other: str, sides: Mapping[Pair, _Side]
) -> _Side | None:
    """G (H X)* of two outputs, the second one by its sides; None for zero."""
    parts = [
        (symbol, sides[other, source].block.mH, sides[other, source].error)
        for source, symbol in terms
        if (other, source) in sides
    ]
    if not parts:
        return None
    block, error = summed(parts, proof=covariance.proof)
    return _Side(block=block, error=error)


def _hermitian(side: _Side) -> _Side:
    return replace(side, block=hermitian(side.block))


def subsampled(covariance: Covariance, outputs: Maps, on: Torus, stride: tuple[int, ...]) -> Covariance:
    """Of every stride-th position of linear maps of fields: a coarse frequency has the mean of its aliases.

    A signal's coarse frequency is the sum of its aliases over the root of their number, and positions vary
    independently of the shift: the blocks between aliases are zero.

    Args:
        covariance: of the fields.
        outputs: the maps.
        on: the torus of the fields.
        stride: along each axis.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    index, conjugate = on.aliases(stride)
    whole: Covariance | None = None
    for alias, opposite in zip(index.unbind(1), conjugate.unbind(1), strict=True):
        at = Frequencies(index=alias, conjugate=opposite)
        maps = {name: [(x, symbol.at(at)) for x, symbol in terms] for name, terms in outputs.items()}
        part = mapped(covariance.at(at), maps).multiplied_out()
        if len(index) > 1 and all(len(block) == 1 for block in part.blocks.values()):
            return part  # the same at all frequencies
        whole = part if whole is None else whole.plus(part)
    assert whole is not None  # noqa: S101 - a stride is at least 1
    return whole.of_rounded({pair: block / index.shape[1] for pair, block in whole.blocks.items()})


def upsampled(
    covariance: Covariance, outputs: Maps, on: Torus, stride: tuple[int, ...], *, exact: bool = False
) -> Covariance:
    """Of one linear map of fields to a finer torus, of which theirs has every stride-th position.

    Args:
        covariance: of the fields, on the coarse torus.
        outputs: the map, from fields that are zero between these positions: each fine frequency has what its
            coarse one has.
        on: the finer torus.
        stride: along each axis.
        exact: the parts that aliases have in it have derivatives, too; without a proof.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    index, conjugate = on.bases(stride)
    fine = covariance.multiplied_out().at(Frequencies(index=index, conjugate=conjugate))
    return _decoupled(mapped(fine, outputs), on, stride, exact=exact)


def _decoupled(covariance: Covariance, on: Torus, stride: tuple[int, ...], *, exact: bool) -> Covariance:
    """Above the covariance of one field whose aliases on a torus vary together.

    Where sum_a p_a <= 1, a covariance of several parts is below the block-diagonal one of X_aa / p_a; here
    p_a is proportional to the root of the trace, per frequency.
    """
    (name,) = covariance.fields
    plain = covariance.multiplied_out()
    block = plain.blocks[name, name]
    if len(block) == 1:
        block = block.expand(on.count, -1, -1)
    traces = block.diagonal(dim1=-2, dim2=-1).real.sum(-1).to(torch.float64)
    roots = traces.clamp_min(TINY).sqrt() if exact else traces.detach().clamp_min(0).sqrt()
    roots = roots + float(roots.detach().max()) * LEAST_SHARE + TINY
    index, _ = on.aliases(stride)
    base, _ = on.bases(stride)
    factors = roots[index].sum(1)[base] / roots * up(index.shape[1] + 16)
    return plain.of_rounded({(name, name): block * factors[:, None, None].to(block.real.dtype)})

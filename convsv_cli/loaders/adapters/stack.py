"""Several adapters that are active at the same time: what they add to one weight is added up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from convsv_cli import limits
from convsv_cli.loaders.adapters.base import COPIES, plain_module
from convsv_cli.model.factored import Factored, Product, factored, formed, frobenius_size, shifted
from convsv_cli.model.layer import Layer, UnsupportedLayer, Update
from convsv_cli.numerics.rounding import gamma, round_up

Row = Layer | UnsupportedLayer
NO_SUM = "several adapters change it, and of one of them {}"
SHAPES = "the update has another shape: {} beside {}"
NO_FIGURES = "the update has no figures: {}"


def stacked(adapters: Iterable[Sequence[Row]]) -> Iterator[Row]:
    """The rows of adapters, those of updates of one module as one row, in the order of the first of each.

    Args:
        adapters: the rows of each.
    """
    groups: dict[object, list[Row]] = {}
    for number, rows in enumerate(adapters):
        for row in rows:
            own = plain_module(row.update.module) if row.update else (number, row.name)
            groups.setdefault(own, []).append(row)
    names: set[str] = set()
    for first, *others in groups.values():
        row = _sum_of(first, others) if others else first
        name = row.name if row.name not in names else f"{row.name} ({len(names)})"
        names.add(name)
        yield replace(row, name=name)


def _sum_of(first: Row, others: Sequence[Row]) -> Row:
    """The row of several updates of a module."""
    rows = (first, *others)
    updates = [row.update for row in rows if row.update]
    why = next((NO_FIGURES.format(row.reason) for row in rows if isinstance(row, UnsupportedLayer)), "")
    other = next((row.kernel_shape for row in others if row.kernel_shape != first.kernel_shape), None)
    if other is not None:
        why = why or SHAPES.format(*("x".join(map(str, shape)) for shape in (other, first.kernel_shape)))
    if why or not isinstance(first, Layer):
        return UnsupportedLayer(
            name=first.name,
            weight=first.weight,
            op=first.op,
            kernel_shape=first.kernel_shape,
            dtype=first.dtype,
            reason=NO_SUM.format(why),
        )
    ranks = [update.rank for update in updates]
    update = Update(
        module=updates[0].module,
        kind=" + ".join(dict.fromkeys(update.kind for update in updates)),
        rank=None if None in ranks else sum(rank for rank in ranks if rank),
        factors=partial(_sum, updates),
        flat=any(update.flat for update in updates),
        transposed=any(update.transposed for update in updates),
        no_base=next((update.no_base for update in updates if update.no_base), ""),
    )
    assumed = dict.fromkeys(line for row in rows if isinstance(row, Layer) for line in row.assumed)
    return replace(first, assumed=tuple(assumed), update=update, read=lambda: update.factors().dense())


def _sum(updates: Sequence[Update]) -> Factored:
    """The sum: by factors beside each other, where all are products of two; else formed."""
    terms = [term for term in (update.factors() for update in updates) if _is_something(term)]
    if not terms:
        return updates[0].factors()
    if all(len(term.parts) == 1 and term.parts[0].left is not None for term in terms):
        return _beside(terms)
    limits.hold(8 * COPIES * math.prod(terms[0].shape), "a sum of updates")
    whole, size, lost = torch.zeros(terms[0].shape, dtype=torch.float64), 0.0, 0.0
    for term in terms:
        own = term.dense()
        whole += own
        size, lost = size + frobenius_size(own), lost + term.lost
    return formed(whole, round_up(lost + gamma(len(terms) + 4) * size))


def _is_something(term: Factored) -> bool:
    return bool(term.scale) and all(tensor.any() for tensor in term.factors)


def _beside(terms: Sequence[Factored]) -> Factored:
    """L K + M N = [L M] [K; N], with their scales in K and N: these are rounded once more."""
    most = max(term.exponent for term in terms)
    left, kernels, error = [], [], 0.0
    for term in terms:
        (part,) = term.parts
        if part.left is not None:
            left.append(part.left)
        kernels.append(shifted(part.kernel * term.scale, term.exponent - most))
        error += math.ldexp(part.error * abs(term.scale), term.exponent - most)
    product = Product(left=torch.cat(left, 1), kernel=torch.cat(kernels), error=error * (1 + 1e-12))
    return factored(product, exponent=most)

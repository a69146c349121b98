"""The norms of convolutions with their zero padding, proven by factorizations of their Gram matrices."""

from __future__ import annotations

import math
from contextlib import suppress

import torch

from convsv_cli import limits
from convsv_cli.numerics.rounding import gamma, round_down, round_up, up
from convsv_cli.report import Interval
from convsv_cli.spectral.eigenpairs import lanczos, largest_pair, start_vector
from convsv_cli.spectral.matrix_norm import TINY, cholesky_margin, proven_below, proven_level
from convsv_cli.spectral.padded_convolution import Found, PaddedConvolution
from convsv_cli.spectral.padded_directions import Directions
from convsv_cli.spectral.padded_gram import PaddedGram

DENSE, MOST = 512, 2**24
"""The side of Gram matrices, and numbers, in those of all groups, that are worked with as a whole."""
COPIES = 4
"""Of these, at a time."""
GUESSES = 12
"""Lanczos steps that find about the group with the largest norm."""
FINE, WIDER = 1e-9, 32
"""How far above what was found the square is tried first, relative, and how many times that next."""
FEW, SPARE, WIDE = 1e-4, 3, 3e-3
"""The same of the norm, where a few directions prove it: these do not determine it to all digits."""
GOOD = 1e-3
"""Relative width that is good enough where a finer one takes long."""
CHEAP, WORK = 1.5e9, 1e10
"""Multiplications that are spent on any width, and on one that is not good enough."""
SMALL, SMALL_WORK = 4096, 4e10
"""The side of Gram matrices that may take more."""
ROWS = 1024
"""Of the matrix that directions are proven by."""
SHARE = 8
"""One of so many directions is enough where more would fit."""
PROOF = "a proof of the norm with the layer's own zero padding"


def whole_norm(layer: PaddedConvolution) -> Interval | None:
    """The norm of a scaled layer that is small; None of others.

    Raises:
        LimitError: the model may not take as much.
    """
    groups, side = layer.geometry.groups, min(layer.sides)
    if side > DENSE or groups * side**2 > MOST or layer.seen > MOST:
        return None
    gram = PaddedGram.of(layer, outputs=side == layer.sides[1])
    limits.hold(COPIES * 8 * groups * side**2 + gram.bytes, PROOF)
    limits.multiply(gram.work + 2 * groups * side**3, PROOF)
    matrices, error = gram.dense(), gram.error
    best = _likely(matrices)
    vector = torch.nn.functional.normalize(largest_pair(matrices[best])[1], dim=0)
    top = float(vector @ (matrices[best] @ vector))
    lost = error + cholesky_margin(side, torch.float64) * top
    above = proven_below(matrices.clone(), top + 2 * lost, error).logical_not().nonzero()
    for other in above.flatten().tolist():  # of another group, or equal eigenvalues that Lanczos steps mix up
        with suppress(RuntimeError):  # LAPACK gives up on some matrices
            values, vectors = torch.linalg.eigh(matrices[other])
            if values[-1] > top:
                best, top, vector = other, float(values[-1]), vectors[:, -1]
    upper = round_up(math.sqrt(proven_level(matrices, top, error, max(2 * lost, TINY))))
    lower = _lower(matrices[best], vector, error, float(gram.absolute[best]))
    return Interval(lower=min(lower, upper), upper=upper)


def _likely(matrices: torch.Tensor) -> int:
    """About the one of [n, p, p] with the largest eigenvalue."""
    if len(matrices) == 1:
        return 0
    start = start_vector(matrices.shape[1], matrices.device).expand(len(matrices), -1)
    return int(lanczos(matrices, start, GUESSES)[0].argmax())


def _lower(matrix: torch.Tensor, vector: torch.Tensor, error: float, absolute: float) -> float:
    """A proven lower end of |A| from x [p], and M [p, p] as it was computed of A A^T or A^T A.

    As of `Gram.lower`: | |M| | is at most `absolute`, a bound of | |A| |^2, up to the error.
    """
    p = len(vector)
    length = float(torch.linalg.vector_norm(vector)) * up(p + 2)
    quotient = round_down(float(vector @ (matrix @ vector)) / length**2)
    lost = error + gamma(2 * p + 2) * (absolute + error)
    return round_down(math.sqrt(max(0.0, quotient - round_up(lost))))


def narrowest(layer: PaddedConvolution) -> PaddedGram | None:
    """The Gram matrix of a layer that takes less work; None of sizes that are out of reach."""
    if layer.seen > MOST:
        return None
    return min((PaddedGram.of(layer, outputs=outputs) for outputs in (True, False)), key=lambda g: g.work)


def upper_end(
    layer: PaddedConvolution,
    gram: PaddedGram,
    found: Found,
    *,
    ceiling: float,
    tolerance: float,
    limit: float,
) -> float:
    """An upper end of the norm of a scaled layer above what was found; infinite where none is proven.

    A narrow band is factorized whole; of others, a few directions of the channels first.

    Args:
        layer: not empty.
        gram: the `narrowest` of this layer.
        found: by Lanczos steps on this layer.
        ceiling: what is known from above.
        tolerance: relative width that is good enough.
        limit: multiplications that may be taken each time.

    Raises:
        LimitError: the model may not take as much.
    """
    if not found.lower:
        return math.inf
    gram = gram.of_groups(gram.absolute >= found.lower**2)  # what is left out has a smaller norm
    if gram.work <= CHEAP:
        return _by_band(gram, found, ceiling, limit)
    enough = found.lower * (1 + GOOD)
    if enough >= ceiling or found.lower * (1 + tolerance) >= ceiling:
        return math.inf
    upper = _by_directions(layer, found, max(SPARE * tolerance, FEW), min(ceiling, enough), limit)
    most = min(limit, SMALL_WORK if gram.side <= SMALL else WORK)
    if upper == math.inf or (tolerance < FEW and gram.work <= most):
        upper = min(upper, _by_band(gram, found, ceiling, most))
    return upper if upper < math.inf else _by_directions(layer, found, WIDE, ceiling, limit)


def _by_band(gram: PaddedGram, found: Found, ceiling: float, limit: float) -> float:
    """From a factorization just above what was found, or of a matrix further above."""
    square = found.lower**2
    excess = max(FINE, (4 * found.missing + 2 * gram.error) / square + 2 * gram.band.margin)
    spent = gram.work
    while square * (1 + excess) < ceiling**2 and spent <= limit:
        limits.hold(gram.bytes, PROOF)
        limits.multiply(gram.work, PROOF)
        if gram.below(square * (1 + excess)):
            return round_up(math.sqrt(square * (1 + excess)))
        excess *= WIDER
        spent += gram.work
    return math.inf


def _by_directions(
    layer: PaddedConvolution, found: Found, excess: float, ceiling: float, limit: float
) -> float:
    """From a few directions of the channels, at levels from so far above what was found to the ceiling."""
    inputs = layer.weight.shape[1]
    first = min(inputs - 1, -(-inputs // SHARE), ROWS // math.prod(layer.size))
    if first < 1 or not Directions.fit(layer):
        return math.inf
    proof = Directions.of(layer, found.leading, first)
    if proof.work > min(limit, WORK):
        return math.inf
    limits.hold(proof.bytes, PROOF)
    while found.lower * (1 + excess) <= ceiling:
        limits.multiply(proof.work, PROOF)
        upper = proof.upper(found.lower * (1 + excess))
        if upper < math.inf:
            return upper
        excess *= SPARE
    return math.inf

"""Backward linear bounds that prove something: in float64, less whatever rounding can have done.

Each vector that goes backwards is taken as it is computed, so that errors do not pile up. What an affine step
hands on, v' = fl(W' v), is off by at most gamma |W|' |v|, entry by entry, and that costs at most its product
with the largest absolute values of the tensor that it meets: those of its box. Sums of n numbers cost gamma_n
times the sum of their absolute values (Higham, section 3.1), as does each product of vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsv_cli.local.choices import Choice
from convsv_cli.local.pieces import Coefficient
from convsv_cli.local.region import Piece, Region, chunks, is_number
from convsv_cli.local.rows import Around, Rows
from convsv_cli.local.steps import Affine, Elementwise
from convsv_cli.numerics.intervals import TINY
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UP_MANY, gamma

UNDERFLOW = 1e-290
"""More than what all products that underflow can lose."""
NORMAL = 1e-290
"""What is larger has not lost digits to underflow."""


@dataclass(kw_only=True, eq=False)
class _Ledger:
    """Terms of a lower bound, and bounds of the errors of each.

    Attributes:
        terms: [n] each.
        errors: [n] each, at least 0.
        cotangents: of tensors that are still to be gone through, by name.
        lost: bounds of the error of each entry of these.
    """

    terms: list[Tensor] = field(default_factory=list)
    errors: list[Tensor] = field(default_factory=list)
    cotangents: dict[str, Tensor] = field(default_factory=dict)
    lost: dict[str, Tensor] = field(default_factory=dict)

    def product(self, v: Tensor, other: Tensor) -> None:
        """Add <v, other>."""
        products = (v * other).flatten(1)
        self.terms.append(products.sum(1))
        self.errors.append(products.abs().sum(1) * gamma(products.shape[1] + 2) * UP_MANY)

    def cost(self, v: Tensor, most: Tensor) -> None:
        """Take off <|v|, most>, where `most` is at least 0."""
        self._cost(v.abs(), most)

    def _cost(self, size: Tensor, most: Tensor) -> None:
        products = (size * most).flatten(1)
        self.errors.append(products.sum(1) * (1 + gamma(products.shape[1] + 8)))

    def hand_on(self, name: str, v: Tensor, lost: Tensor | None) -> None:
        """Add to the cotangent of a tensor, and to what is lost of it."""
        old = self.cotangents.get(name)
        if old is not None:
            total = old + v
            rounding = total.abs() * gamma(2)
            lost = rounding if lost is None else lost + rounding
            v = total
        self.cotangents[name] = v
        if lost is not None:
            self.lost[name] = lost + self.lost[name] if name in self.lost else lost

    def taken(self, name: str, rows: Rows) -> Tensor | None:
        """The cotangent of a tensor, when all of it is there; what is lost of it is paid."""
        lost = self.lost.pop(name, None)
        if lost is not None:
            self._cost(lost * UP_MANY, rows.magnitude(name))
        return self.cotangents.pop(name, None)

    def bound(self) -> Tensor:
        """All terms, less all errors, rounded down: [n]."""
        terms, errors = torch.stack(self.terms), torch.stack(self.errors)
        rounding = gamma(len(terms) + 4) * terms.abs().sum(0)
        total = terms.sum(0) - (errors.sum(0) * (1 + gamma(len(errors) + 4)) + rounding) * UP_MANY
        return total - total.abs() * gamma(8) - UNDERFLOW


@torch.no_grad()
def certified(rows: Rows, choices: Sequence[Choice]) -> Tensor:
    """Proven lower bounds of <direction, output> while the input is in a ball: float64 [n].

    Args:
        rows: directions at samples, in float64, with the magnitudes of all tensors.
        choices: of any quality; float64.
    """
    program = rows.program
    ledger = _Ledger(cotangents={program.output: rows.direction})
    at = len(choices)
    for step in reversed(program.steps):
        at -= isinstance(step, Elementwise)
        v = ledger.taken(step.output, rows)
        if v is None:
            continue
        if step.output in rows.off:
            ledger.cost(v, rows.off[step.output][rows.sample])
        if isinstance(step, Affine):
            _affine(step, v, ledger)
        else:
            _elementwise(step, v, rows.around[at], choices[at], ledger)
    v = ledger.taken(program.source, rows)
    if v is not None:
        _input(v, rows, ledger)
    bound = ledger.bound()
    return torch.where(bound.isnan(), -torch.inf, bound)


def _input(v: Tensor, rows: Rows, ledger: _Ledger) -> None:
    ledger.product(v, rows.x)
    flat = v.flatten(1)
    length = torch.linalg.vector_norm(flat, dim=1) * (1 + gamma(flat.shape[1] + 16))
    ledger.errors.append(length * rows.radius * UP_MANY)


def _affine(step: Affine, v: Tensor, ledger: _Ledger) -> None:
    if step.shift is not None:
        ledger.product(v, step.shift)
    if step.shift_error is not None:
        ledger.cost(v, step.shift_error)
    size = v.abs()
    for name, map_ in zip(step.inputs, step.maps, strict=True):
        lost = None
        if map_.roundings:
            lost = map_.absolute.adjoint(size) * (gamma(map_.roundings + 2) * UP_MANY)
        ledger.hand_on(name, map_.adjoint(v), lost)


def _elementwise(step: Elementwise, v: Tensor, around: Around, choice: Choice, ledger: _Ledger) -> None:
    g, multiplier = choice.slopes_of(v), choice.multiplier(v, around)
    least = minimum_below(v[:, None], g[:, None], multiplier[:, None], around.region)
    ledger.terms.append(least[:, 0])
    ledger.errors.append(multiplier * around.radius.square() / 2 * UP_MANY)
    ledger.hand_on(step.input, g, None)


@torch.no_grad()
def minimum_below(v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """Below what `dual.minimum` rounds, in real arithmetic; with `lam` as it is.

    Each element is bounded as `_on_piece` proves. A sum of n numbers in any order is off by at most
    gamma_(n-1) times that of their absolute values (Higham, section 4.2); what is left of gamma_(n+8) covers
    that this sum is rounded too, and the last subtraction.

    Args:
        v, g: float64 [batch, rows, *shape], exact; what is not finite gives -inf.
        lam: float64 [batch, rows], at least 0, exact.
        region: of float64 tensors, exact, with scales between 1e-100 and 1e100.

    Returns:
        float64 [batch, rows]; -inf where nothing is proven.
    """
    flat_v, flat_g = v.flatten(2), g.flatten(2)
    total, size = torch.zeros_like(lam), torch.zeros_like(lam)
    for samples, rows, elements in chunks(flat_v):
        index, here = (samples, rows, elements), region.part(samples, elements)
        least = _least(flat_v[index], flat_g[index], lam[samples, rows, None], here)
        total[samples, rows] += least.sum(2)
        size[samples, rows] += least.abs().sum(2)
    below = total - size * gamma(flat_v.shape[2] + 8)
    return below.nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)


def _least(v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """Below the minimum of each element; [batch, rows, elements] like v."""
    below, *above = (_over(pieces, v, g, lam, region) for pieces in region.sides)
    return torch.where(v > 0, below, above[0]) if above else below


def _over(pieces: tuple[Piece, ...], v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """With one function for both signs of v."""
    least = torch.full_like(v, math.inf)
    stops = (*(piece.knot for piece in pieces[1:]), math.inf)
    for piece, stop in zip(pieces, stops, strict=True):
        first, last = region.lower.clamp(min=piece.knot), region.upper.clamp(max=stop)
        found = _on_piece(piece, (first, last), v, g, lam, region).nan_to_num_(nan=-math.inf)
        least = torch.minimum(least, found.masked_fill_(first > last, math.inf))
    return least


def _on_piece(  # noqa: PLR0917 - those of its caller
    piece: Piece, ends: tuple[Tensor, Tensor], v: Tensor, g: Tensor, lam: Tensor, region: Region
) -> Tensor:
    """Below F(t) = v intercept - w t + e/2 (t - centre)^2 between the ends; w = g - slope v, e = lam/scale^2.

    *Proof.* F is convex, so for any t of the piece and D = F'(t) = e (t - centre) - w, at any other s of it,
    F(s) >= F(t) + D (s - t) + e/2 (s - t)^2. To the right of t, F falls by at most q (last - t) and by at
    most q^2 / (2 e), for any q >= max(-D, 0); to the left likewise. So t need not be the minimiser, and the
    one that is computed loses next to nothing. What is rounded: w is off by at most `doubt`; e by gamma_3; D
    by `doubt` and gamma_8 (|e (t - centre)| + |w|); F(t) by gamma_16 times the absolute values of its terms,
    and `doubt` |t|. What underflows is less than TINY. The ends are floats, as t is: no rounding.
    """
    w, doubt = _linear(piece, v, g)
    e = lam if is_number(region.scale, 1.0) else lam / (region.scale * region.scale)
    t = torch.where(w == 0, region.centre, region.centre + w / e).clamp(*ends)
    offset = t - region.centre
    curved = (e * offset).mul_(offset).mul_(0.5)
    level = v * piece.intercept
    value = level - w * t + curved
    lost = gamma(16) * (level.abs() + (w * t).abs() + curved) + doubt * t.abs() + TINY
    lost += (lam > 0) * TINY * (1 + offset * offset)
    slope = e * offset - w
    unsure = doubt + gamma(8) * ((e * offset).abs() + w.abs()) + (lam > 0) * TINY * (1 + offset.abs())
    lost += torch.maximum(
        _fall(unsure - slope, ends[1] - t, e),
        _fall(unsure + slope, t - ends[0], e),
    )
    return value - lost * UP_MANY


def _linear(piece: Piece, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """G - slope v, and by how much it is off: products with 0 and 1 are exact."""
    product = v * piece.slope
    w = g - product
    doubt = w.abs() * UNIT_ROUNDOFF
    if not _exact(piece.slope):
        doubt += product.abs() * gamma(2) + TINY
    return w, doubt


def _exact(slope: Coefficient) -> bool:
    return not isinstance(slope, Tensor) and abs(slope) in {0.0, 1.0}


def _fall(steepness: Tensor, room: Tensor, e: Tensor) -> Tensor:
    """How far a parabola that falls with this slope at first can fall within that distance, at most.

    Args:
        steepness: not positive where it rises. [batch, rows, elements].
        room: at least 0, maybe infinite. [batch, 1 or rows, elements].
        e: its second derivative. [batch, rows, 1 or elements].
    """
    q = steepness.clamp(min=0)
    curved = torch.where(e > NORMAL, q * q / (2 * e), math.inf)
    fall = torch.minimum(q * room, curved * UP_MANY)
    return fall.masked_fill_((q == 0) | (room == 0), 0.0)
